//! The Redis loses what it held: it is emptied, comes back empty, or with an older snapshot. Fault 20 of the catalogue:
//! definitions are in the database, so schedules go on from the present, and everything is kept from then on.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script, redis_again};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_forgets",
    story: "5 nodes; the Redis is emptied, comes back empty or with an older snapshot, the Beat may crash meanwhile",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 7_000..22_000;

fn script(dice: &mut StdRng) -> Script {
    let (lasts, kind) = match dice.random_range(0..3) {
        0 => (100..200, FaultKind::QueueEmptied),
        1 => (200..5_000, FaultKind::QueueAway(true)),
        _ => (300..5_000, FaultKind::StoreForgets),
    };
    let mut faults = vec![within(dice, &WINDOW, lasts, kind)];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner)));
    }
    // Where a replica must have what is acknowledged, it is lost with both.
    let queue = match redis_again::any(dice) {
        super::Queue::Replicated(_) => super::Queue::Replicated(beatmesh_node::config::Durability::Fast),
        queue => queue,
    };
    Script { queue, ..Script::around(NODES, faults) }
}
