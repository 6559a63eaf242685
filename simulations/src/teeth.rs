//! Whether the properties can fail: each guard is taken away, and the runs must turn red.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use crate::runner;
use crate::scenarios::Scenario;
use crate::trial::{self, RUN, VACUOUS};
use crate::world::store::guards::{Guard, Guards};

/// What noticed that a guard was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bite {
    /// The properties that broke, the first one first.
    pub properties: Vec<&'static str>,
    /// In this scenario.
    pub scenario: &'static str,
    /// At this seed.
    pub seed: u64,
    /// Runs until then, this one included.
    pub runs: u64,
}

/// Plays each scenario at each seed, seed after seed, until one is red without the guard and green with it.
/// `None` when nothing misses the guard.
#[must_use]
pub fn bite(guard: Guard, scenarios: &[Scenario], seeds: Range<u64>, at_once: NonZeroUsize) -> Option<Bite> {
    let plays = seeds.flat_map(|seed| scenarios.iter().map(move |scenario| (seed, scenario)));
    let (mut runs, mut found) = (0, None);
    let without = |(seed, scenario): &(u64, &Scenario)| broken(scenario, *seed, Guards::without(guard));
    runner::play(plays, at_once, without, |(seed, scenario), properties| {
        runs += 1;
        if !properties.is_empty() && broken(scenario, seed, Guards::default()).is_empty() {
            found = Some(Bite { properties, scenario: scenario.name, seed, runs });
        }
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

/// The properties that break. A run that broke off, or in which nothing was at
/// stake, notices nothing.
fn broken(scenario: &Scenario, seed: u64, guards: Guards) -> Vec<&'static str> {
    let mut names = Vec::new();
    for violation in trial::run(scenario, seed, guards).violations {
        if violation.property != VACUOUS && violation.property != RUN && !names.contains(&violation.property)
        {
            names.push(violation.property);
        }
    }
    names
}
