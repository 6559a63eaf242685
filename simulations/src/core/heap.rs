//! What happens when. Whatever is to be simulated puts its own happenings in: plans their wakes, the network
//! its messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Happenings by time; what happens together happens in the order in which it was planned.
#[derive(Debug)]
pub(super) struct Heap<T> {
    now: Duration,
    planned: u64,
    heap: BinaryHeap<Reverse<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: (Duration, u64),
    happening: T,
}

impl<T> Heap<T> {
    pub(super) fn new() -> Self {
        Self { now: Duration::ZERO, planned: 0, heap: BinaryHeap::new() }
    }

    /// Virtual time since the start.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// How many happenings were planned so far.
    pub(super) fn planned(&self) -> u64 {
        self.planned
    }

    pub(super) fn push_in(&mut self, delay: Duration, happening: T) {
        self.planned += 1;
        self.heap.push(Reverse(Entry { at: (self.now + delay, self.planned), happening }));
    }

    /// Nothing happens until then.
    pub(super) fn wait_until(&mut self, end: Duration) {
        assert!(self.heap.peek().is_none_or(|next| next.0.at.0 >= end));
        self.now = self.now.max(end);
    }

    /// The next happening up to `end`; time goes on to it.
    pub(super) fn pop(&mut self, end: Duration) -> Option<T> {
        if self.heap.peek()?.0.at.0 > end {
            return None;
        }
        let Reverse(Entry { at: (at, _), happening }) = self.heap.pop()?;
        self.now = at;
        Some(happening)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_equal_times_keep_their_order() {
        let mut heap = Heap::new();
        for (ms, name) in [(5, "b"), (1, "a"), (5, "c"), (9, "late")] {
            heap.push_in(Duration::from_millis(ms), name);
        }
        let end = Duration::from_millis(8);
        let order: Vec<_> = std::iter::from_fn(|| heap.pop(end)).collect();
        assert_eq!((order, heap.now()), (vec!["a", "b", "c"], Duration::from_millis(5)));
    }
}
