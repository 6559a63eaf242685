//! Times as distributions: measured in every run, joined over seeds.

use std::fmt;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use crate::history::{Event, Record};

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

    /// The smallest value that `share` of all values do not exceed; `None` without values.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
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

/// How late ticks were fired, by the store's clock.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// Every tick that was fired.
    pub all: Distribution,
    /// Those that were due within three seconds after the Beat was crashed.
    pub after_crash: Distribution,
}

impl Lateness {
    /// Measures one run. `crashes` says when the Beat was crashed.
    #[must_use]
    pub fn of(records: &[Record], crashes: &[UnixMs]) -> Self {
        let mut lateness = Self::default();
        for record in records {
            let Event::TickCommitted { due, skipped: None, .. } = &record.event else { continue };
            let late = record.at.millis_since(*due);
            lateness.all.add(late);
            if crashes.iter().any(|crash| due >= crash && *due < crash.plus(AFTER_CRASH)) {
                lateness.after_crash.add(late);
            }
        }
        lateness
    }

    /// Adds the ticks of another run.
    pub fn join(&mut self, other: &Self) {
        self.all.join(&other.all);
        self.after_crash.join(&other.after_crash);
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
