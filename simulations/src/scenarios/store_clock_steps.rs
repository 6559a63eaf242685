//! The store's clock steps forward or back and later to where it should be, while the Beat crashes. Fault 27 of
//! the catalogue: due times go by the store's clock, and what it showed twice fires once.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "store_clock_steps",
    story: "5 nodes; the store's clock steps by up to 8 s and back, the Beat crashes meanwhile",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let off_ms = if dice.random() { dice.random_range(100..8_000) } else { -dice.random_range(100..8_000) };
    let step = within(dice, &WINDOW, 500..12_000, FaultKind::StoreClock(off_ms));
    let crash = within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner));
    Script::around(NODES, vec![step, crash])
}
