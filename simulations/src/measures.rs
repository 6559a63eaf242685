//! Times as distributions: measured in every run, joined over seeds.

use std::fmt;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use crate::history::{Event, Record};
use crate::properties::l4_no_false_deaths;
use crate::properties::l5_views_agree::{calm_since, converged_at};

/// Ticks due this soon after a crash of the Beat wait for its stand-in; later ones should not.
const AFTER_CRASH: Duration = Duration::from_secs(3);

/// Milliseconds, sorted only when asked.
#[derive(Clone, Debug, Default)]
pub struct Distribution(Vec<i64>);

impl Distribution {
    /// Adds one value.
    pub fn add(&mut self, value: i64) {
        self.0.push(value);
    }

    /// Adds all of another one.
    pub fn join(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// All values, from the smallest.
    #[must_use]
    pub fn sorted(&self) -> Vec<i64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The smallest value that `share` of all values do not exceed; `None` without values.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let sorted = self.sorted();
        let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.quantile(0.5), self.quantile(0.99), self.quantile(1.0)) {
            (Some(p50), Some(p99), Some(max)) => {
                write!(f, "n={} p50={p50} ms p99={p99} ms max={max} ms", self.0.len())
            }
            _ => f.write_str("no values"),
        }
    }
}

/// What one run measured, or many.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// How late ticks were fired, by the store's clock.
    pub lateness: Distribution,
    /// Of those that were due within three seconds after the Beat was crashed.
    pub lateness_after_crash: Distribution,
    /// From a crash of the Beat until another node had decided something: also the wait for what is due next.
    pub takeover: Distribution,
    /// From the last fault's end, or the last start, stop or end of a process, until all nodes' views were equal,
    /// for good.
    pub convergence: Distribution,
    /// How often a member that ran and could be heard was held for dead.
    pub false_deaths: u64,
}

impl Measures {
    /// Measures one run. `crashes` says when the Beat was crashed.
    #[must_use]
    pub fn of(records: &[Record], crashes: &[UnixMs]) -> Self {
        let mut measures = Self::default();
        for record in records {
            let Event::TickCommitted { due, skipped: None, store_now, .. } = &record.event else { continue };
            let late = store_now.millis_since(*due);
            measures.lateness.add(late);
            if crashes.iter().any(|crash| due >= crash && *due < crash.plus(AFTER_CRASH)) {
                measures.lateness_after_crash.add(late);
            }
        }
        for crash in crashes {
            let crashed = records.iter().find_map(|record| match &record.event {
                Event::NodeDown { node, .. } if record.at == *crash => Some(node),
                _ => None,
            });
            let is_decided = |record: &&Record| match &record.event {
                Event::TickCommitted { node, .. } => {
                    record.at > *crash && !node.is_empty() && Some(node) != crashed
                }
                _ => false,
            };
            if let Some(first) = records.iter().find(is_decided) {
                measures.takeover.add(first.at.millis_since(*crash));
            }
        }
        measures.false_deaths = l4_no_false_deaths::count(records);
        if let (Some(calm), Some(agreed)) = (calm_since(records), converged_at(records)) {
            measures.convergence.add(agreed.millis_since(calm).max(0));
        }
        measures
    }

    /// Adds those of another run.
    pub fn join(&mut self, other: &Self) {
        self.lateness.join(&other.lateness);
        self.lateness_after_crash.join(&other.lateness_after_crash);
        self.takeover.join(&other.takeover);
        self.convergence.join(&other.convergence);
        self.false_deaths += other.false_deaths;
    }
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  lateness of all ticks:                       {}", self.lateness)?;
        writeln!(f, "  of those due within 3 s after the crash:     {}", self.lateness_after_crash)?;
        writeln!(f, "  crash of the Beat until another one decides: {}", self.takeover)?;
        writeln!(f, "  last fault healed until all views are equal: {}", self.convergence)?;
        writeln!(f, "  held for dead while they ran and were not cut: {}", self.false_deaths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut times = Distribution::default();
        assert_eq!(times.quantile(0.5), None);
        (1..=100).rev().for_each(|value| times.add(value));
        assert_eq!(
            [0.0, 0.5, 0.99, 1.0].map(|share| times.quantile(share)),
            [Some(1), Some(50), Some(99), Some(100)]
        );
    }
}
