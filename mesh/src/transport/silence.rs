//! Finds links on which this node speaks into silence, and closes them: whatever waits on such a link fails
//! then, and the next message dials anew.
//!
//! quinn repeats what is not acknowledged, so packets that go out while none come in are questions without an
//! answer. A link on which somebody waits for a long answer gets a packet now and then, so that it cannot fall
//! silent unnoticed; quiet links cost nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::links::Link;
use super::{CLOSE_SILENT, Transport};
use crate::wire::{self, message::kind};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks without a packet from the other side after which a link is given up: two seconds of this node's own
/// running time, so one that was stopped misjudges nobody.
const SILENT_LOOKS: u32 = 2;

/// Packets that went out meanwhile. Fewer may be acknowledgements, which nobody answers; in two seconds quinn
/// repeats an unanswered packet about six times.
const UNANSWERED: u64 = 4;

/// What was seen of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ear {
    heard: u64,
    /// Packets that had gone out when something was heard last.
    said: u64,
    silent_looks: u32,
}

impl Ear {
    /// Takes the counts of packets in and out; answers whether the link has fallen silent.
    fn look(&mut self, heard: u64, said: u64) -> bool {
        if heard != self.heard {
            *self = Self { heard, said, silent_looks: 0 };
            return false;
        }
        if said > self.said {
            self.silent_looks += 1;
        }
        self.silent_looks >= SILENT_LOOKS && said.saturating_sub(self.said) >= UNANSWERED
    }
}

/// Looks at all links until the transport closes.
pub(crate) async fn watch(transport: Arc<Transport>) {
    let sign_of_life = wire::encode(kind::SIGN_OF_LIFE, &[]);
    while transport.closing.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let links: Vec<Arc<Link>> = transport.links.lock().all().cloned().collect();
        for link in links {
            let stats = link.connection.stats();
            let mut ear = link.ear.lock();
            let was_heard = stats.udp_rx.datagrams != ear.heard;
            if ear.look(stats.udp_rx.datagrams, stats.udp_tx.datagrams) {
                tracing::debug!(peer = %link.node, "a link has fallen silent");
                link.connection.close(CLOSE_SILENT, b"you do not answer");
            } else if !was_heard && link.waiting.load(Ordering::Relaxed) > 0 {
                // Dropped when the buffer is full: then enough is under way.
                let _ = link.connection.send_datagram(sign_of_life.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_packets_out_and_none_in() {
        let mut ear = Ear::default();
        assert!(!ear.look(10, 10));
        assert!(!ear.look(10, 14));
        assert!(ear.look(10, 18));
        assert!(!ear.look(11, 18), "it was not silent after all");
    }

    #[test]
    fn a_quiet_link_is_not_silent() {
        let mut ear = Ear::default();
        ear.look(10, 10);
        assert!((0..100).all(|_| !ear.look(10, 10)));
        assert!((0..100).all(|_| !ear.look(10, 12)), "the last acknowledgements want no answer");
    }
}
