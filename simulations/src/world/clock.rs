//! Virtual time, as one node sees it.
#![expect(clippy::disallowed_methods, reason = "this file implements the clock seam")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Clock, UnixMs};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::EPOCH;

/// A machine's wall clock: true time, a skew, and what faults do to it.
pub struct WallClock(Mutex<Wall>);

struct Wall {
    skew_ms: i64,
    /// By the number of the fault.
    wrong: BTreeMap<usize, Wrong>,
    /// For code that runs while its host is being dropped, when nobody knows the time.
    last: Duration,
}

/// One reason why the clock is wrong.
struct Wrong {
    error: ClockError,
    since: Duration,
    /// How often the node has looked at the wrong time.
    looks: u64,
}

/// How a fault makes a wall clock wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// By so many milliseconds.
    Jump(i64),
    /// By so many milliseconds more in each second.
    Drift(i64),
}

impl WallClock {
    /// Wrong by `skew_ms` all the time.
    #[must_use]
    pub fn new(skew_ms: i64) -> Self {
        Self(Mutex::new(Wall { skew_ms, wrong: BTreeMap::new(), last: Duration::ZERO }))
    }

    /// A new life of the machine finds the clock so wrong.
    pub fn set_skew(&self, skew_ms: i64) {
        self.0.lock().skew_ms = skew_ms;
    }

    /// A fault begins.
    pub fn begin(&self, fault: usize, error: ClockError, now: Duration) {
        self.0.lock().wrong.insert(fault, Wrong { error, since: now, looks: 0 });
    }

    /// It ends; answers how often the node looked at the wrong time.
    pub fn end(&self, fault: usize) -> u64 {
        self.0.lock().wrong.remove(&fault).map_or(0, |wrong| wrong.looks)
    }

    fn look(&self) -> UnixMs {
        let mut wall = self.0.lock();
        let now = turmoil::sim_elapsed().unwrap_or(wall.last);
        wall.last = now;
        let mut shown = EPOCH.plus(now).0 + wall.skew_ms;
        for wrong in wall.wrong.values_mut() {
            wrong.looks += 1;
            shown += match wrong.error {
                ClockError::Jump(by_ms) => by_ms,
                ClockError::Drift(gain_ms) => {
                    let millis = i64::try_from(now.saturating_sub(wrong.since).as_millis());
                    millis.unwrap_or(i64::MAX).saturating_mul(gain_ms) / 1_000
                }
            };
        }
        UnixMs(shown)
    }
}

/// Monotonic time is the paused clock of the host's runtime; wall time is the machine's.
pub struct SimClock(Arc<WallClock>);

impl SimClock {
    /// For one process on the machine with this clock.
    #[must_use]
    pub fn new(wall: Arc<WallClock>) -> Self {
        Self(wall)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UnixMs {
        self.0.look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_and_was_set_right_shows_what_it_showed_before() {
        let clock = WallClock::new(7);
        let before = clock.look();
        clock.begin(3, ClockError::Jump(-60_000), Duration::ZERO);
        assert_eq!(clock.look().0, before.0 - 60_000);
        assert_eq!(clock.end(3), 1);
        assert_eq!(clock.look(), before);
    }
}
