//! The owner of many schedules dies at the moment at which all of them are due. Fault 32 of the catalogue: another
//! node fires what it had not, and nothing that it had.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "many_schedules_at_once",
    story: "3 nodes; the Beat dies when 1,000 schedules are due at :00",
    script,
};

const NODES: usize = 3;

/// The catalogue speaks of 10,000; these are a tenth of them, because each task is run through the whole node.
const SCHEDULES: usize = 1_000;

/// Before and after the full minute, in milliseconds.
const AROUND: std::ops::Range<u64> = 59_900..60_600;

fn script(dice: &mut StdRng) -> Script {
    let crash = FaultKind::Crash(Target::BeatOwner);
    let (at, lasts) = (dice.random_range(AROUND), dice.random_range(500..6_000));
    let crash = Fault { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), kind: crash };
    Script { schedules: SCHEDULES, ..Script::around(NODES, vec![crash]) }
}
