//! Which nodes chitchat may learn of: as many as its digest has room for. chitchat 0.11 states all of them in one
//! message of at most 65,507 bytes and panics when its own digest leaves no room for facts in an answer, so a
//! member that invents names, or a mesh that has grown too large, would end everybody's gossip.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::FORGOTTEN;

/// Bytes of a digest. What is left of a message is for facts: two nodes' at their largest take more than one
/// message anyway.
const MOST_BYTES: usize = 56 * 1024;

/// chitchat itself has forgotten by then, too.
const KEPT: Duration = FORGOTTEN;

/// The nodes that were let in, each life by itself.
#[derive(Debug, Default)]
pub(super) struct Ids {
    seen: BTreeMap<(String, u64), Seen>,
    bytes: usize,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    bytes: usize,
}

impl Ids {
    /// Whether there is room for a node that takes so many bytes of a digest.
    pub(super) fn admit(&mut self, now: Instant, node: &str, generation: u64, bytes: usize) -> bool {
        let id = (node.to_owned(), generation);
        if let Some(seen) = self.seen.get_mut(&id) {
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
            self.seen.insert(id, Seen { last: now, bytes });
        }
        has_room
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_others_when_some_were_not_heard_of_for_long() {
        let (mut ids, began) = (Ids::default(), Instant::now());
        let most = MOST_BYTES / 50;
        let admitted = (0..10_000).filter(|n| ids.admit(began, &format!("n{n}"), 1, 50));
        assert_eq!(admitted.count(), most);
        let later = began + KEPT / 2;
        assert!(ids.admit(later, "n0", 1, 50), "it is known");
        assert!(!ids.admit(later, "n0", 2, 50), "another life is another node");
        let over = began + KEPT;
        let admitted = (0..10_000).filter(|n| ids.admit(over, &format!("m{n}"), 1, 50));
        assert_eq!(admitted.count(), most - 1, "one was heard of lately");
    }
}
