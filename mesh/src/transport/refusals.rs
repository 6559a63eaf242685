//! Tells about refused peers, but not more than once a minute for each address and topic: a foreign node
//! that keeps dialling must not fill the disk with log lines.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::hello::LinkError;
use crate::env::Clock;
use crate::wire::message::Refusal;

/// One line per address and topic in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Different lines in this time; further ones are not told, so that somebody who dials from everywhere
/// fills neither memory nor disk.
const MOST: usize = 64;

/// What a refusal is about. A stranger is dialled and dials, and each direction fails at another step with
/// words of its own; to the operator that is one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// No common secret, or no beatmesh there at all.
    Handshake,
    /// Another version of the protocol.
    Version,
    /// Another mesh.
    Mesh,
    /// Another store.
    Store,
    /// The node id, the certificate for it, or an outdated life of it.
    Identity,
    /// What the peer says about itself.
    Facts,
    /// There is no room for it.
    Room,
    /// A member's message or channel that could not be read.
    Message,
}

impl Topic {
    /// All, as they are counted.
    const ALL: [Self; 8] = [
        Self::Handshake,
        Self::Version,
        Self::Mesh,
        Self::Store,
        Self::Identity,
        Self::Facts,
        Self::Room,
        Self::Message,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Version => "version",
            Self::Mesh => "mesh",
            Self::Store => "store",
            Self::Identity => "identity",
            Self::Facts => "facts",
            Self::Room => "room",
            Self::Message => "message",
        }
    }
}

impl From<&LinkError> for Topic {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::NoConnection(_) | LinkError::Channel(_) | LinkError::NoHello => Self::Handshake,
            LinkError::OtherVersion(_) => Self::Version,
            LinkError::TwinIsLinked(_) => Self::Identity,
            LinkError::Refused(refusal) | LinkError::RefusedByPeer(refusal) => refusal.into(),
        }
    }
}

impl From<&Refusal> for Topic {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::OtherMesh(_) => Self::Mesh,
            Refusal::OtherStore(_) => Self::Store,
            Refusal::Myself
            | Refusal::SameIdentity(_)
            | Refusal::NotItsCertificate
            | Refusal::OldGeneration(_) => Self::Identity,
            Refusal::Malformed | Refusal::OnlyItsOwn(_) => Self::Facts,
            Refusal::Full(_) => Self::Room,
        }
    }
}

pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    told: Mutex<BTreeMap<(IpAddr, Topic), Instant>>,
    /// In the order of [`Topic::ALL`], which is that of the declaration.
    counts: [AtomicU64; Topic::ALL.len()],
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, told: Mutex::default(), counts: Default::default() }
    }

    /// Counts the refusal, and logs it unless one like it was logged within the last minute.
    pub(crate) fn tell(&self, peer: SocketAddr, topic: Topic, reason: &str) {
        self.counts[topic as usize].fetch_add(1, Ordering::Relaxed);
        if self.is_new(peer, topic) {
            tracing::warn!(%peer, reason, "refused a peer (further ones like it are not logged for a minute)");
        }
    }

    /// How many there were since the start, by topic, those that were not logged included.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = Topic::ALL.iter().zip(&self.counts);
        counts.map(|(topic, count)| (topic.as_str(), count.load(Ordering::Relaxed))).collect()
    }

    fn is_new(&self, peer: SocketAddr, topic: Topic) -> bool {
        let now = self.clock.now();
        let mut told = self.told.lock();
        told.retain(|_, at| now.duration_since(*at) < QUIET);
        // Not the port: each dial comes from a new one.
        let key = (peer.ip(), topic);
        if told.contains_key(&key) || told.len() >= MOST {
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
        assert!(refusals.is_new(peer, Topic::Mesh));
        assert!(!refusals.is_new(peer, Topic::Mesh));
        assert!(
            !refusals.is_new("127.0.0.1:2".parse().unwrap(), Topic::Mesh),
            "another port is the same peer"
        );
        assert!(refusals.is_new(peer, Topic::Store));
        tokio::time::advance(QUIET).await;
        assert!(refusals.is_new(peer, Topic::Mesh));
    }

    #[test]
    fn each_refusal_is_counted_under_its_topic_also_when_it_is_not_told() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        for (times, topic) in (1..).zip(Topic::ALL) {
            (0..times).for_each(|_| refusals.tell("127.0.0.1:1".parse().unwrap(), topic, "a test"));
        }
        let wanted: Vec<_> = Topic::ALL.iter().map(|topic| topic.as_str()).zip(1..).collect();
        assert_eq!(refusals.counts(), wanted);
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory() {
        let refusals = Refusals::new(Arc::new(SystemClock));
        let told = (0..2_000_u16).filter(|n| {
            let [high, low] = n.to_be_bytes();
            refusals.is_new(SocketAddr::from(([127, 0, high, low], 1)), Topic::Mesh)
        });
        assert_eq!(told.count(), MOST);
        assert_eq!(refusals.told.lock().len(), MOST);
    }
}
