//! One node crashes again and again, also while it starts. Fault 8 of the catalogue: each start is a new
//! generation, and none may be taken for an earlier one.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "crash_loop",
    story: "5 nodes; one of them crashes 100 times, sometimes before it has started",
    script,
};

const NODES: usize = 5;

/// All of them within a minute.
const CRASHES: usize = 100;

fn script(dice: &mut StdRng) -> Script {
    let target = Target::Node(dice.random_range(0..NODES));
    let mut at = Duration::from_millis(dice.random_range(6_000..8_000));
    let mut faults = Vec::new();
    for _ in 0..CRASHES {
        let lasts = Duration::from_millis(dice.random_range(20..200));
        let kind = match dice.random_range(0..4) {
            0 => FaultKind::PowerCut(target),
            _ => FaultKind::Crash(target),
        };
        faults.push(Fault { at, lasts, kind });
        at += lasts + Duration::from_millis(dice.random_range(20..600));
    }
    Script::around(NODES, faults)
}
