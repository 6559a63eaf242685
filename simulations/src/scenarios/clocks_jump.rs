//! Wall clocks jump by seconds and by an hour, run fast or slow, and a node whose clock has gone back an hour is
//! started again. Faults 27 and 7 of the catalogue: due times go by the store's clock, and generations never go
//! back.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, pair, within};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "clocks_jump",
    story: "5 nodes; wall clocks jump by 5 s and by an hour and drift by 10 %, a node restarts while its clock is an hour back",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let jumps_ms = [-3_600_000, -5_000, 5_000, 3_600_000];
    let by_ms = jumps_ms[dice.random_range(0..jumps_ms.len())];
    let gain_ms = if dice.random() { 100 } else { -100 };
    let (one, other) = pair(dice, NODES);
    let back = within(dice, &WINDOW, 8_000..12_000, FaultKind::ClockJump(Target::Node(one), -3_600_000));
    // Inside of the time in which the clock is back.
    let restart = FaultKind::Crash(Target::Node(one));
    let restart = Fault { at: back.at + back.lasts / 4, lasts: back.lasts / 4, kind: restart };
    let beat = within(dice, &WINDOW, 2_000..12_000, FaultKind::ClockJump(Target::BeatOwner, by_ms));
    let drift = within(dice, &WINDOW, 5_000..15_000, FaultKind::ClockDrift(Target::Node(other), gain_ms));
    Script::around(NODES, vec![back, restart, beat, drift])
}
