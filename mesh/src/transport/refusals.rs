//! Tells about refused peers, but not more than once a minute for each address: a foreign node that keeps
//! dialling must not fill the disk with log lines. One address for all reasons: both sides dial, and each
//! direction fails with words of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::env::Clock;

/// One line per address in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Addresses remembered at most; past it the oldest is forgotten, so memory stays bounded when
/// somebody dials from everywhere.
const MOST: usize = 256;

pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    told: Mutex<BTreeMap<SocketAddr, Instant>>,
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, told: Mutex::default() }
    }

    /// Logs the refusal unless it was logged within the last minute.
    pub(crate) fn tell(&self, peer: SocketAddr, reason: &str) {
        if self.is_new(peer) {
            tracing::warn!(%peer, reason, "refused a peer (further refusals of this address are not logged for a minute)");
        }
    }

    fn is_new(&self, peer: SocketAddr) -> bool {
        let now = self.clock.now();
        let mut told = self.told.lock();
        told.retain(|_, at| now.duration_since(*at) < QUIET);
        if told.contains_key(&peer) {
            return false;
        }
        if told.len() >= MOST {
            let oldest = told.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            oldest.map(|peer| told.remove(&peer));
        }
        told.insert(peer, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_told_of_once_a_minute() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        let [peer, other] = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
        assert!(refusals.is_new(peer));
        assert!(!refusals.is_new(peer));
        assert!(refusals.is_new(other));
        tokio::time::advance(QUIET).await;
        assert!(refusals.is_new(peer));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        for port in 1..2_000 {
            refusals.is_new(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        assert_eq!(refusals.told.lock().len(), MOST);
    }
}
