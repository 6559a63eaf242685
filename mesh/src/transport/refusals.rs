//! Tells about refused peers, but not more than once a minute for each address and reason: a foreign
//! node that keeps dialling must not fill the disk with log lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::env::Clock;

/// One line per address and reason in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Addresses remembered at most; past it the oldest is forgotten, so memory stays bounded when
/// somebody dials from everywhere.
const MOST: usize = 256;

pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    told: Mutex<BTreeMap<(SocketAddr, String), Instant>>,
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, told: Mutex::default() }
    }

    /// Logs the refusal unless it was logged within the last minute.
    pub(crate) fn tell(&self, peer: SocketAddr, reason: &str) {
        if self.is_new(peer, reason) {
            tracing::warn!(%peer, reason, "refused a peer (further ones like it are not logged for a minute)");
        }
    }

    fn is_new(&self, peer: SocketAddr, reason: &str) -> bool {
        let now = self.clock.now();
        let mut told = self.told.lock();
        told.retain(|_, at| now.duration_since(*at) < QUIET);
        let key = (peer, reason.to_owned());
        if told.contains_key(&key) {
            return false;
        }
        if told.len() >= MOST {
            let oldest = told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.map(|key| told.remove(&key));
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn the_same_refusal_is_told_once_a_minute() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        let peer = "127.0.0.1:1".parse().unwrap();
        assert!(refusals.is_new(peer, "a"));
        assert!(!refusals.is_new(peer, "a"));
        assert!(refusals.is_new(peer, "b"));
        tokio::time::advance(QUIET).await;
        assert!(refusals.is_new(peer, "a"));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        for port in 1..2_000 {
            refusals.is_new(SocketAddr::from(([127, 0, 0, 1], port)), "a");
        }
        assert_eq!(refusals.told.lock().len(), MOST);
    }
}
