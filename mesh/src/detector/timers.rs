//! What is to happen when. A timer names what it was set for, so one that comes too late finds nothing and does
//! nothing.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::id::{Generation, Incarnation, NodeId};

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next member is to be probed.
    Period,
    /// The next of the dead is to be probed.
    Dead,
    /// The direct ping of this probe has waited long enough.
    Unanswered(u32),
    /// This probe has waited long enough.
    Failed(u32),
    /// A ping for somebody else has waited long enough.
    Relay(u32),
    /// A suspect may have used up its time.
    Suspicion { node: NodeId, generation: Generation, incarnation: Incarnation },
    /// News has gathered.
    Flush,
}

/// One timer that was set: when it is due, and a number, because timers of one instant keep the order in which
/// they were set.
pub(super) type Key = (Instant, u64);

/// All timers of a detector.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<Key, Timer>,
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> Key {
        self.set += 1;
        self.queue.insert((at, self.set), timer);
        (at, self.set)
    }

    /// One that is of no use any more: it would wake the node for nothing.
    pub(super) fn cancel(&mut self, key: Key) {
        self.queue.remove(&key);
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop_first().map(|(_, timer)| timer)
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}
