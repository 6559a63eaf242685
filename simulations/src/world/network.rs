//! turmoil's network behind the seam: QUIC over its UDP, HTTP over its TCP.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use beatmesh_mesh::env::{ByteStream, Listener, Network};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use turmoil::net::{TcpListener, UdpSocket};

use crate::history::History;

/// Pairs of hosts that do not hear each other. turmoil drops the packets; this counts them, because a
/// partition that nobody ran into proves nothing.
#[derive(Clone, Default)]
pub struct Cuts(Arc<Mutex<CutState>>);

#[derive(Default)]
struct CutState {
    pairs: BTreeSet<(IpAddr, IpAddr)>,
    swallowed: u64,
}

impl Cuts {
    /// Begins to count packets between the two.
    pub fn begin(&self, a: IpAddr, b: IpAddr) {
        self.0.lock().pairs.insert((a.min(b), a.max(b)));
    }

    /// Ends that.
    pub fn end(&self, a: IpAddr, b: IpAddr) {
        self.0.lock().pairs.remove(&(a.min(b), a.max(b)));
    }

    /// Packets that were sent into a cut.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.0.lock().swallowed
    }

    fn note(&self, from: IpAddr, to: IpAddr) {
        let mut state = self.0.lock();
        if state.pairs.contains(&(from.min(to), from.max(to))) {
            state.swallowed += 1;
        }
    }
}

/// The network of one host.
pub struct SimNetwork {
    host: IpAddr,
    cuts: Cuts,
    history: History,
}

impl SimNetwork {
    /// For the host with this address.
    #[must_use]
    pub fn new(host: IpAddr, cuts: Cuts, history: History) -> Self {
        Self { host, cuts, history }
    }
}

#[async_trait]
impl Network for SimNetwork {
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let bound = UdpSocket::bind(addr).now_or_never();
        let socket = bound.expect("turmoil binds without waiting")?;
        let (host, cuts, history) = (self.host, self.cuts.clone(), self.history.clone());
        let socket = Arc::new(socket);
        Ok(Arc::new(SimUdpSocket { socket, host, cuts, history, readable: Mutex::default() }))
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        // Its tasks and timers are the host's, and its clock is tokio's, hence virtual. A panic in one of
        // its tasks ends the run, because turmoil's runtimes shut down on an unhandled panic.
        Arc::new(quinn::TokioRuntime)
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SimListener(TcpListener::bind(addr).await?)))
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
    host: IpAddr,
    cuts: Cuts,
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
            self.cuts.note(self.host, to.ip());
            self.history.sent(self.host, to, packet);
            match self.socket.try_send_to(packet, to) {
                // No such host: a real network says nothing either, or too late to matter.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                sent => drop(sent?),
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

/// turmoil takes every packet at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
