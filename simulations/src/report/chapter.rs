//! What many seeds of one scenario brought, without keeping all their histories.

use std::collections::BTreeMap;

use crate::measures::Measures;
use crate::properties::Violation;
use crate::scenarios::Scenario;
use crate::trial::Outcome;

/// Failing seeds of which a report tells the details; the table counts all.
const MOST_TOLD: usize = 20;

/// The results of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Chapter {
    /// Its name on the command line.
    pub name: String,
    /// Its story.
    pub story: String,
    /// Seeds that were run.
    pub runs: u64,
    /// Of those, seeds with a violation.
    pub failed: u64,
    /// By property: seeds that broke it.
    pub broken: BTreeMap<&'static str, u64>,
    /// Some of the failing seeds: the seed, its first violation and how many there were.
    pub failures: Vec<(u64, Violation, usize)>,
    /// Joined over all seeds.
    pub measures: Measures,
    /// The run to draw: a failing one if there is one; of equals the one with the latest tick.
    pub drawn: Option<Outcome>,
}

impl Chapter {
    /// No runs yet.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Self { name: scenario.name.to_owned(), story: scenario.story.to_owned(), ..Self::default() }
    }

    /// Takes one run.
    pub fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.measures.join(&outcome.measures);
        let mut broken: Vec<_> = outcome.violations.iter().map(|violation| violation.property).collect();
        broken.sort_unstable();
        broken.dedup();
        broken.into_iter().for_each(|property| *self.broken.entry(property).or_default() += 1);
        if let Some(first) = outcome.violations.first() {
            self.failed += 1;
            if self.failures.len() < MOST_TOLD {
                self.failures.push((outcome.seed, first.clone(), outcome.violations.len()));
            }
        }
        let tells_more = |drawn: &Outcome| interest(&outcome) > interest(drawn);
        if self.drawn.as_ref().is_none_or(tells_more) {
            self.drawn = Some(outcome);
        }
    }
}

fn interest(outcome: &Outcome) -> (bool, Option<i64>) {
    (!outcome.violations.is_empty(), outcome.measures.lateness.quantile(1.0))
}
