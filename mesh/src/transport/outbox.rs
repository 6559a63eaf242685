//! One bounded outbox per peer address, emptied by a task of its own.
//!
//! Senders never wait: a full outbox drops the new message and counts it. What goes through here
//! (gossip, facts, notices) is either repeated anyway or only a hint, so a slow peer costs itself
//! freshness and costs nobody else anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Transport;
use super::links::Link;
use crate::env::OnExit;

/// Messages that wait for one peer. A gossip round sends about ten to one peer; ten rounds behind, the
/// oldest news is worth nothing.
const WAITING: usize = 128;

/// An outbox that nobody used for so long is closed. Longer than any period of ours.
const UNUSED: Duration = Duration::from_secs(60);

/// A peer that does not take one message in this time has lost it.
const SEND_WITHIN: Duration = Duration::from_secs(2);

pub(crate) enum Outgoing {
    /// Dial if there is no link.
    Connect,
    /// A whole frame. It may be lost.
    Frame(Bytes),
    /// A whole frame that QUIC repeats until it has arrived, or the link is gone.
    Letter(Bytes),
}

#[derive(Default)]
pub(crate) struct Outboxes {
    by_addr: Mutex<BTreeMap<SocketAddr, mpsc::Sender<Outgoing>>>,
    dropped: AtomicU64,
}

impl Outboxes {
    /// Puts a message into the outbox of `addr`, opening one if there is none.
    pub(crate) fn put(&self, addr: SocketAddr, message: Outgoing, transport: &Arc<Transport>) {
        let mut by_addr = self.by_addr.lock();
        let outbox = by_addr.entry(addr).or_insert_with(|| open(addr, transport));
        match outbox.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.count_if_dropped(true),
            // Its task ended between two messages: begin anew.
            Err(mpsc::error::TrySendError::Closed(message)) => {
                let fresh = open(addr, transport);
                self.count_if_dropped(fresh.try_send(message).is_err());
                by_addr.insert(addr, fresh);
            }
        }
    }

    /// Counts a message that went nowhere.
    pub(crate) fn count_if_dropped(&self, is_dropped: bool) {
        self.dropped.fetch_add(u64::from(is_dropped), Ordering::Relaxed);
    }

    /// Messages dropped since the start because a peer was slower than its news, or not to be reached.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn forget(&self, addr: SocketAddr) {
        self.by_addr.lock().retain(|known, outbox| *known != addr || !outbox.is_closed());
    }
}

fn open(addr: SocketAddr, transport: &Arc<Transport>) -> mpsc::Sender<Outgoing> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let task = empty(addr, receiver, Arc::downgrade(transport));
    transport.spawner.spawn("mesh outbox", OnExit::Fine, Box::pin(task));
    sender
}

/// Empties one outbox until nobody uses it or the transport is gone.
async fn empty(addr: SocketAddr, mut outbox: mpsc::Receiver<Outgoing>, transport: Weak<Transport>) {
    while let Ok(Some(message)) = tokio::time::timeout(UNUSED, outbox.recv()).await {
        let Some(transport) = transport.upgrade() else { return };
        if transport.closing.is_cancelled() {
            return;
        }
        let link = transport.link_to(None, addr).await;
        // During the pause after a failed dial messages are dropped rather than kept: they would arrive stale.
        let Ok(link) = link else {
            transport.outboxes.count_if_dropped(!matches!(message, Outgoing::Connect));
            continue;
        };
        match message {
            Outgoing::Connect => {}
            Outgoing::Frame(frame) => transport.outboxes.count_if_dropped(!send(&link, frame).await),
            Outgoing::Letter(frame) => {
                transport.outboxes.count_if_dropped(!send_on_stream(&link, frame).await)
            }
        }
    }
    close(addr, outbox, &transport);
}

/// Nobody used it for long. What came in at the last moment is lost: a new outbox may be open by now, and behind
/// what that one sends it would arrive late.
fn close(addr: SocketAddr, mut outbox: mpsc::Receiver<Outgoing>, transport: &Weak<Transport>) {
    outbox.close();
    let Some(transport) = transport.upgrade() else { return };
    while let Ok(message) = outbox.try_recv() {
        transport.outboxes.count_if_dropped(!matches!(message, Outgoing::Connect));
    }
    transport.outboxes.forget(addr);
}

/// Sends one frame: as a datagram when it fits, else on a stream of its own. Answers whether it went out: a lost
/// message is repeated by the protocol above or was only a hint, so errors end here.
async fn send(link: &Link, frame: Bytes) -> bool {
    let connection = &link.connection;
    let fits = connection.max_datagram_size().is_some_and(|most| frame.len() <= most);
    // quinn drops the *oldest* datagram when its buffer is full: look first.
    if fits && connection.datagram_send_buffer_space() >= frame.len() {
        return connection.send_datagram(frame).is_ok();
    }
    send_on_stream(link, frame).await
}

async fn send_on_stream(link: &Link, frame: Bytes) -> bool {
    let on_stream = async {
        let Ok(mut stream) = link.connection.open_uni().await else { return false };
        stream.write_all(&frame).await.is_ok() && stream.finish().is_ok()
    };
    tokio::time::timeout(SEND_WITHIN, on_stream).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::process;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_does_not_go_out_is_counted() {
        let ((here, _here), (there, _there)) = (process("a", 1, 64), process("b", 2, 64));
        let addr = there.identity.advertise;
        let link = here.link_to(None, addr).await.unwrap();
        let frame = Bytes::from_static(b"frame");
        assert!(send(&link, frame.clone()).await && send_on_stream(&link, frame.clone()).await);
        link.connection.close(0_u32.into(), b"");
        assert!(!send(&link, frame.clone()).await && !send_on_stream(&link, frame.clone()).await);

        // What came into an outbox while it closed.
        let (sender, outbox) = mpsc::channel(WAITING);
        for message in [Outgoing::Frame(frame.clone()), Outgoing::Connect, Outgoing::Letter(frame)] {
            assert!(sender.try_send(message).is_ok());
        }
        close(addr, outbox, &Arc::downgrade(&here));
        assert_eq!(here.outboxes.dropped(), 2, "a wish for a link is no message");
    }
}
