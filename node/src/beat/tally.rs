//! What the Beat of this node has done since it started, for metrics.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::metrics::histogram::Histogram;

use crate::queue::StoreError;
use crate::queue::counted::Count;
use crate::queue::tick::{SkipReason, TickCommit, TickOutcome, Verdict};

/// Seconds by which firings are late: a healthy Beat takes milliseconds, a stand-in a second, what comes after that is
/// an outage.
const LATENESS: [f64; 13] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 60.0];

/// Why this node's own commits skip: edits and pauses skip in the store.
const REASONS: [SkipReason; 5] = [
    SkipReason::Superseded,
    SkipReason::OverMisfireCap,
    SkipReason::PastGrace,
    SkipReason::Overlap,
    SkipReason::StoreRolledBack,
];

/// Counts of one driver.
#[derive(Debug)]
pub struct BeatTally {
    /// Due times that it fired.
    pub fired: Count,
    /// By [`REASONS`].
    skipped: [Count; REASONS.len()],
    /// Commits that changed nothing because another node was faster, or an edit came between.
    pub conflicts: Count,
    /// Commits that the store's clock found too early.
    pub early: Count,
    /// Commits of which the store did not say that they were done.
    pub errors: Count,
    /// Times that the store was found to have gone back.
    pub rollbacks: Count,
    /// How late what it fired was, by the store's clock.
    pub lateness: Histogram,
    /// Schedules that it knows and that are to run.
    pub schedules: Gauge,
    /// Commits on their way.
    pub pending: Gauge,
}

/// A number that goes both ways.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// It is this now.
    pub fn set(&self, value: usize) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for BeatTally {
    fn default() -> Self {
        Self {
            fired: Count::default(),
            skipped: Default::default(),
            conflicts: Count::default(),
            early: Count::default(),
            errors: Count::default(),
            rollbacks: Count::default(),
            lateness: Histogram::new(LATENESS),
            schedules: Gauge::default(),
            pending: Gauge::default(),
        }
    }
}

impl BeatTally {
    /// Due times that it skipped, by the reasons' names.
    #[must_use]
    pub fn skipped(&self) -> [(&'static str, u64); REASONS.len()] {
        std::array::from_fn(|at| (REASONS[at].as_str(), self.skipped[at].get()))
    }

    /// Notes how a commit ended.
    pub(super) fn note(&self, commit: &TickCommit, outcome: &Result<TickOutcome, StoreError>) {
        match outcome {
            Ok(TickOutcome::Committed { fired }) => {
                self.fired.add(fired.len() as u64);
                let mut asked = 0_u64;
                for decision in &commit.decisions {
                    match decision.verdict {
                        Verdict::Fire => asked += 1,
                        Verdict::Skip(reason) => self.skip(reason, decision.count.into()),
                    }
                }
                // The store alone knows what an overlap is.
                self.skip(SkipReason::Overlap, asked.saturating_sub(fired.len() as u64));
            }
            Ok(TickOutcome::Moved(_)) => self.conflicts.add(1),
            Ok(TickOutcome::TooEarly { .. }) => self.early.add(1),
            Err(_) => self.errors.add(1),
        }
    }

    fn skip(&self, reason: SkipReason, count: u64) {
        if let Some(at) = REASONS.iter().position(|known| *known == reason) {
            self.skipped[at].add(count);
        }
    }
}
