//! turmoil's network behind the seam: QUIC over its UDP, HTTP over its TCP. What faults do to packets between
//! nodes is decided where they are sent; turmoil adds latency.
#![expect(clippy::disallowed_methods, reason = "packets that are on their way are no task of a node")]

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::{ByteStream, Listener, Network};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::rngs::StdRng;
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

use super::gate::{Gate, GatedRuntime};
use super::weather::Weather;
use crate::history::History;

/// The network of one process.
pub struct SimNetwork {
    node: usize,
    host: IpAddr,
    weather: Weather,
    gate: Gate,
    /// For what faults do to packets by chance.
    dice: Arc<Mutex<StdRng>>,
    history: History,
}

impl SimNetwork {
    /// For a process of this node.
    #[must_use]
    pub fn new(
        node: usize,
        host: IpAddr,
        weather: Weather,
        gate: Gate,
        dice: StdRng,
        history: History,
    ) -> Self {
        Self { node, host, weather, gate, dice: Arc::new(Mutex::new(dice)), history }
    }
}

#[async_trait]
impl Network for SimNetwork {
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let bound = UdpSocket::bind(addr).now_or_never();
        let socket = bound.expect("turmoil binds without waiting")?;
        Ok(Arc::new(SimUdpSocket {
            socket: Arc::new(socket),
            node: self.node,
            host: self.host,
            weather: self.weather.clone(),
            dice: self.dice.clone(),
            history: self.history.clone(),
            readable: Mutex::default(),
        }))
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(GatedRuntime(self.gate.clone()))
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SimListener(TcpListener::bind(addr).await?)))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        Ok(Box::new(TcpStream::connect(addr).await?))
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        let addr = host_port.parse().map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such name"))?;
        Ok(vec![addr])
    }
}

struct SimListener(TcpListener);

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// quinn's socket over turmoil's.
struct SimUdpSocket {
    socket: Arc<UdpSocket>,
    node: usize,
    host: IpAddr,
    weather: Weather,
    dice: Arc<Mutex<StdRng>>,
    history: History,
    /// Waits for a packet; while it waits, it holds the socket's receiving side.
    readable: Mutex<Option<BoxFuture<'static, io::Result<()>>>>,
}

impl fmt::Debug for SimUdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncUdpSocket for SimUdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(size) {
            // Outside of a step nobody knows the time: the host is being dropped.
            let Some(now) = turmoil::sim_elapsed() else { return Ok(()) };
            self.history.sent(self.host, to, packet);
            let fate = self.weather.fate(self.node, to.ip(), now, &mut self.dice.lock());
            if fate.is_lost {
                continue;
            }
            if fate.late.is_zero() {
                send(&self.socket, packet, to)?;
            } else {
                send_later(&self.socket, packet, to, fate.late);
            }
            if let Some(again) = fate.again {
                send_later(&self.socket, packet, to, fate.late + again);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock();
        loop {
            let waiting = readable.get_or_insert_with(|| {
                let socket = self.socket.clone();
                Box::pin(async move { socket.readable().await })
            });
            match waiting.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                // Dropped before receiving: it holds what receiving needs.
                Poll::Ready(ready) => {
                    *readable = None;
                    ready?;
                }
            }
            let mut filled = 0;
            for (buffer, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                match self.socket.try_recv_from(buffer) {
                    Ok((len, addr)) => *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Poll::Ready(Err(error)),
                }
                filled += 1;
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn may_fragment(&self) -> bool {
        // As on Linux: quinn probes for larger packets.
        false
    }
}

fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> io::Result<()> {
    match socket.try_send_to(packet, to) {
        // No such host: a real network says nothing either, or too late to matter.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        sent => sent.map(drop),
    }
}

/// The network holds the packet back. It is the host's task and not the node's: a stopped process does not
/// stop what it has sent.
fn send_later(socket: &Arc<UdpSocket>, packet: &[u8], to: SocketAddr, after: Duration) {
    let (socket, packet) = (socket.clone(), packet.to_vec());
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // A packet that cannot be sent is a packet that is lost.
        let _ = send(&socket, &packet, to);
    });
}

/// turmoil takes every packet at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
