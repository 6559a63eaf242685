//! Virtual time, as one node sees it.
#![expect(clippy::disallowed_methods, reason = "this file implements the clock seam")]

use std::time::Duration;

use beatmesh_mesh::env::{Clock, UnixMs};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::EPOCH;

/// Monotonic time is the paused clock of the host's runtime; the wall clock is true time and a skew.
pub struct SimClock {
    skew_ms: i64,
    /// For code that runs while its host is being dropped, when nobody knows the time.
    last: Mutex<Duration>,
}

impl SimClock {
    /// A clock whose wall time is wrong by `skew_ms`.
    #[must_use]
    pub fn new(skew_ms: i64) -> Self {
        Self { skew_ms, last: Mutex::default() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> UnixMs {
        let mut last = self.last.lock();
        *last = turmoil::sim_elapsed().unwrap_or(*last);
        UnixMs(EPOCH.plus(*last).0 + self.skew_ms)
    }
}
