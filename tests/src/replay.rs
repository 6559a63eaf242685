//! Somebody on the line: a proxy in front of a node that writes down each datagram in both directions, to be sent
//! again from another port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Packets that are kept.
const MOST: usize = 20_000;

/// The largest UDP datagram.
const LARGEST: usize = 65_536;

/// Passes datagrams on in both directions until it is dropped.
#[derive(Debug)]
pub struct Tap {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// In front of `node`, on a socket that others take for it.
    ///
    /// # Panics
    /// When the socket cannot be used.
    #[must_use]
    pub fn before(node: SocketAddr, socket: std::net::UdpSocket) -> Self {
        socket.set_nonblocking(true).expect("sockets can");
        let socket = Arc::new(UdpSocket::from_std(socket).expect("a good socket"));
        let (addr, heard) =
            (socket.local_addr().expect("it is bound"), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let task = tokio::spawn(pass_on(socket, node, heard.clone()));
        Self { addr, heard, task }
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What came by so far, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(front: Arc<UdpSocket>, node: SocketAddr, heard: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut lines: Vec<(SocketAddr, Arc<UdpSocket>, AbortOnDrop)> = Vec::new();
    let mut datagram = vec![0; LARGEST];
    loop {
        // An error of one send is told by the next receive; it is not this socket's end.
        let Ok((length, from)) = front.recv_from(&mut datagram).await else { continue };
        let bytes = &datagram[..length];
        keep(&heard, bytes);
        let known = lines.iter().find(|(client, ..)| *client == from).map(|(_, line, _)| line.clone());
        let line = match known {
            Some(line) => line,
            None => {
                let Ok(line) = UdpSocket::bind("127.0.0.1:0").await else { continue };
                let line = Arc::new(line);
                let back = tokio::spawn(answer(line.clone(), front.clone(), from, heard.clone()));
                lines.push((from, line.clone(), AbortOnDrop(back)));
                line
            }
        };
        let _ = line.send_to(bytes, node).await;
    }
}

fn keep(heard: &Mutex<Vec<Vec<u8>>>, bytes: &[u8]) {
    let mut kept = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < MOST {
        kept.push(bytes.to_vec());
    }
}

async fn answer(
    line: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let mut datagram = vec![0; LARGEST];
    loop {
        if let Ok(length) = line.recv(&mut datagram).await {
            keep(&heard, &datagram[..length]);
            let _ = front.send_to(&datagram[..length], client).await;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Dice that fall the same way in each run (xorshift64*; Vigna 2016).
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed that is not zero.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("less than a usize")
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_le_bytes()[7]).collect()
    }
}
