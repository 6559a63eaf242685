//! How many nodes believe to be the Beat, over time. More than one is allowed, none for long is not good.

use std::time::Duration;

/// The count, and for how long it was what.
#[derive(Clone, Debug, Default)]
pub(super) struct Beliefs {
    since: Duration,
    now: i64,
    /// The most at one moment.
    pub(super) most: i64,
    /// With two or more.
    pub(super) several: Duration,
    /// With none.
    pub(super) none: Duration,
}

impl Beliefs {
    /// The count changes by `change`, which may be nothing.
    pub(super) fn note(&mut self, at: Duration, change: i64) {
        let span = at.saturating_sub(self.since);
        match self.now {
            0 => self.none += span,
            1 => {}
            _ => self.several += span,
        }
        self.since = at;
        self.now += change;
        self.most = self.most.max(self.now);
    }
}
