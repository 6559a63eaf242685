//! Nothing more reaches the replica of the Redis, then it takes the master's place: what was written meanwhile is lost.
//! Fault 18 of the catalogue: with `fast` durability what was acknowledged then is lost as well, with `replicated`
//! nothing that was acknowledged is, because nothing was acknowledged then.

use beatmesh_node::config::Durability;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Queue, Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_fails_over",
    story: "5 nodes; the replica of the Redis hears nothing more and takes its place, the Beat may crash meanwhile",
    script,
};

const NODES: usize = 5;

/// When it happens, in milliseconds.
const WINDOW: Window = 7_000..16_000;

/// And a second time, back to where it was.
const LATER: Window = 16_500..24_000;

fn script(dice: &mut StdRng) -> Script {
    let crashes = dice.random();
    let mut faults = vec![within(dice, &WINDOW, 30..5_000, FaultKind::QueueFailsOver(crashes))];
    if dice.random() {
        faults.push(within(dice, &LATER, 30..3_000, FaultKind::QueueFailsOver(!crashes)));
    }
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner)));
    }
    let durability = if dice.random() { Durability::Fast } else { Durability::Replicated };
    Script { queue: Queue::Replicated(durability), ..Script::around(NODES, faults) }
}
