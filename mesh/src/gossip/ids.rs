//! Which nodes chitchat may learn of, and how far their numbers may go.
//!
//! As many nodes as its digest has room for: chitchat 0.11 states all of them in one message of at most 65,507
//! bytes and panics when its own digest leaves no room for facts in an answer, so a member that invents nodes, or a
//! mesh that has grown too large, would end everybody's gossip. Numbers that leap are made up: chitchat keeps the
//! highest, and after the highest there is none, so nothing true about the node would ever be heard again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::FORGOTTEN;

/// Bytes of a digest. What is left of a message is for facts, which come in as many messages as they need.
const MOST_BYTES: usize = 56 * 1024;

/// chitchat itself has forgotten by then, too.
const KEPT: Duration = FORGOTTEN;

/// Heartbeats come some times a second and versions once; the numbers of who was not heard of for [`KEPT`], because
/// of a long cut say, are taken as they are.
const LONGEST_LEAP: u64 = 100_000;

/// No life of a node counts so far: a thousand years of heartbeats.
const FIRST_MOST: u64 = 1 << 40;

/// The nodes that were let in. Whoever differs in anything, be it its address, is another one to chitchat.
#[derive(Debug, Default)]
pub(super) struct Ids {
    seen: BTreeMap<Vec<u8>, Seen>,
    bytes: usize,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    bytes: usize,
    heartbeat: Option<u64>,
    version: Option<u64>,
}

/// A number that chitchat keeps the highest of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Heartbeat,
    Version,
}

impl Ids {
    /// Whether there is room for a node: `id` as it stands on the wire, and the bytes of its entry in a digest.
    pub(super) fn has_room(&mut self, now: Instant, id: &[u8], bytes: usize) -> bool {
        if let Some(seen) = self.seen.get_mut(id) {
            if now.saturating_duration_since(seen.last) >= KEPT {
                (seen.heartbeat, seen.version) = (None, None);
            }
            seen.last = now;
            return true;
        }
        if self.bytes + bytes > MOST_BYTES {
            self.seen.retain(|_, seen| now.saturating_duration_since(seen.last) < KEPT);
            self.bytes = self.seen.values().map(|seen| seen.bytes).sum();
        }
        let has_room = self.bytes + bytes <= MOST_BYTES;
        if has_room {
            self.bytes += bytes;
            self.seen.insert(id.to_vec(), Seen { last: now, bytes, heartbeat: None, version: None });
        }
        has_room
    }

    /// Whether a node that has room may have counted so far; then it has.
    pub(super) fn may_count(&mut self, id: &[u8], count: Count, to: u64) -> bool {
        let Some(seen) = self.seen.get_mut(id) else { return false };
        let known = match count {
            Count::Heartbeat => &mut seen.heartbeat,
            Count::Version => &mut seen.version,
        };
        let may = to <= known.map_or(FIRST_MOST, |known| known.saturating_add(LONGEST_LEAP));
        if may {
            *known = (*known).max(Some(to));
        }
        may
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_others_when_some_were_not_heard_of_for_long() {
        let (mut ids, began) = (Ids::default(), Instant::now());
        let id = |n: u32| n.to_le_bytes();
        let most = MOST_BYTES / 50;
        assert_eq!((0..10_000).filter(|n| ids.has_room(began, &id(*n), 50)).count(), most);
        assert!(ids.has_room(began + KEPT / 2, &id(0), 50), "it is known");
        let over = began + KEPT;
        let admitted = (20_000..30_000).filter(|n| ids.has_room(over, &id(*n), 50));
        assert_eq!(admitted.count(), most - 1, "one was heard of lately");
    }

    #[test]
    fn numbers_may_grow_and_not_leap() {
        let mut ids = Ids::default();
        assert!(!ids.may_count(b"a", Count::Version, 1), "nobody");
        assert!(ids.has_room(Instant::now(), b"a", 50));
        for (count, to, may) in [
            (Count::Heartbeat, u64::MAX, false),
            (Count::Heartbeat, 7, true),
            (Count::Version, FIRST_MOST, true),
            (Count::Heartbeat, 5, true),
            (Count::Heartbeat, 8 + LONGEST_LEAP, false),
            (Count::Heartbeat, 7 + LONGEST_LEAP, true),
            (Count::Heartbeat, 8 + LONGEST_LEAP, true),
        ] {
            assert_eq!(ids.may_count(b"a", count, to), may, "{count:?} {to}");
        }
    }

    #[test]
    fn after_a_long_cut_numbers_are_taken_as_they_are() {
        let (mut ids, began) = (Ids::default(), Instant::now());
        let mut counts = |at, to| ids.has_room(at, b"a", 50) && ids.may_count(b"a", Count::Heartbeat, to);
        assert!(counts(began, 7));
        assert!(!counts(began + KEPT / 2, 1_000_000));
        assert!(counts(began + KEPT / 2 + KEPT, 1_000_000));
        assert!(!counts(began + KEPT / 2 + KEPT, 2_000_000));
    }
}
