//! The line between a client and a server, with somebody on it who can make answers vanish.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to the next answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It arrives.
    Pass,
    /// It does not, and the connection breaks.
    Break,
    /// It does not, nor does any later one of that connection, which stays open.
    Vanish,
}

/// Passes bytes on in both directions until it is dropped.
#[derive(Debug)]
pub struct Line {
    addr: SocketAddr,
    fault: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Line {
    /// To this server, from a port of its own.
    ///
    /// # Panics
    /// When there is none.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there are ports");
        let addr = listener.local_addr().expect("it is bound");
        let (fault, lost) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let task = tokio::spawn(accept(listener, server, fault.clone(), lost.clone()));
        Self { addr, fault, lost, task }
    }

    /// Where it begins.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What happens to the next answer, once; those after it pass.
    pub fn next_answer(&self, answers: Answers) {
        self.fault.store(answers as u32, Ordering::SeqCst);
    }

    /// How many answers got lost.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, fault: Arc<AtomicU32>, lost: Arc<AtomicU32>) {
    while let Ok((client, _)) = listener.accept().await {
        let (fault, lost) = (fault.clone(), lost.clone());
        // It ends with its connections, which end with whoever holds them.
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::select! {
                () = questions(from_client, to_server) => {}
                () = answers(from_server, to_client, &fault, &lost) => {}
            }
        });
    }
}

async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: &AtomicU32, lost: &AtomicU32) {
    let mut bytes = vec![0; 64 << 10];
    let mut vanish = false;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let now = fault.swap(Answers::Pass as u32, Ordering::SeqCst);
        if now != Answers::Pass as u32 || vanish {
            lost.fetch_add(1, Ordering::SeqCst);
        }
        if now == Answers::Break as u32 {
            return;
        }
        vanish |= now == Answers::Vanish as u32;
        if !vanish && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
