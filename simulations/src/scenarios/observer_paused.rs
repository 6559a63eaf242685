//! A node that is not the Beat is stopped long enough that all others hold it for dead, and goes on: it has heard
//! nobody for as long. Fault 4 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "observer_paused",
    story: "5 nodes; one that is not the Beat is stopped for 15 s and goes on",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let at = Duration::from_millis(dice.random_range(6_000..9_000));
    let kind = FaultKind::Pause(Target::Observer);
    Script::around(NODES, vec![Fault { at, lasts: Duration::from_secs(15), kind }])
}
