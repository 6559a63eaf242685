//! Everything that can go wrong, a random part of it in each seed.

use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, swarm};

/// This file's scenario.
pub const SCENARIO: Scenario =
    Scenario { name: "swarm", story: "5 nodes; a random subset of all faults, at random times", script };

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    Script { each_fault_counts: false, ..Script::around(NODES, swarm(dice, NODES, &WINDOW)) }
}
