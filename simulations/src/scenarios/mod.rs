//! Scenarios: one file each, named by their story.

mod beat_owner_crashes;

use std::time::Duration;

use rand::rngs::StdRng;

use crate::faults::Fault;

/// A story that any seed can tell.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// What happens, in one sentence.
    pub story: &'static str,
    /// Draws what this seed's run is like.
    pub script: fn(&mut StdRng) -> Script,
}

/// One run, before it begins. Times count from the world's start.
#[derive(Clone, Debug)]
pub struct Script {
    /// How many nodes.
    pub nodes: usize,
    /// What goes wrong; all of it is healed before [`Script::settled`].
    pub faults: Vec<Fault>,
    /// Until then clients enqueue tasks.
    pub work_until: Duration,
    /// What was due or acknowledged by then must be done at the end.
    pub settled: Duration,
    /// The end.
    pub length: Duration,
}

/// All scenarios.
pub const ALL: [Scenario; 1] = [beat_owner_crashes::SCENARIO];

/// The scenario of this name, or the nearest name there is.
///
/// # Errors
/// The name to try instead.
pub fn find(name: &str) -> Result<Scenario, &'static str> {
    let known = ALL.into_iter().find(|scenario| scenario.name == name);
    let nearness = |scenario: &Scenario| (strsim::jaro(scenario.name, name) * 1e6) as u64;
    let nearest = || ALL.into_iter().max_by_key(nearness).expect("there is a scenario").name;
    known.ok_or_else(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
        assert_eq!(find("beat_owner_crash").err(), Some("beat_owner_crashes"));
        assert!(find("beat_owner_crashes").is_ok());
    }
}
