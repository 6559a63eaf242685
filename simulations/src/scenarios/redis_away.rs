//! The Redis is away for a while and comes back with what it held; the Beat may crash meanwhile. Fault 21 of the
//! catalogue: everything waits, nothing is lost, and what was due is made up for.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script, redis_again};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_away",
    story: "5 nodes; the Redis is away for up to 12 s, the Beat may crash meanwhile",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let mut faults = vec![within(dice, &WINDOW, 300..12_000, FaultKind::QueueAway(false))];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner)));
    }
    Script { queue: redis_again::any(dice), ..Script::around(NODES, faults) }
}
