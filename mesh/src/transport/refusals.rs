//! Tells about refused peers, but not more than once a minute for each address and reason: a foreign
//! node that keeps dialling must not fill the disk with log lines.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::env::Clock;

/// One line per address and reason in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Different lines in this time; further ones are not told, so that somebody who dials from everywhere
/// fills neither memory nor disk.
const MOST: usize = 64;

pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    told: Mutex<BTreeMap<(IpAddr, String), Instant>>,
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
        // Not the port: each dial comes from a new one.
        let key = (peer.ip(), reason.to_owned());
        if told.contains_key(&key) {
            return false;
        }
        if told.len() >= MOST {
            return false;
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
        assert!(!refusals.is_new("127.0.0.1:2".parse().unwrap(), "a"), "another port is the same peer");
        assert!(refusals.is_new(peer, "b"));
        tokio::time::advance(QUIET).await;
        assert!(refusals.is_new(peer, "a"));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        let told = (0..2_000_u16).filter(|n| {
            let [high, low] = n.to_be_bytes();
            refusals.is_new(SocketAddr::from(([127, 0, high, low], 1)), "a")
        });
        assert_eq!(told.count(), MOST);
        assert_eq!(refusals.told.lock().len(), MOST);
    }
}
