//! Two nodes and three nodes lose sight of each other; both sides have a Beat and both reach the store. Fault 10 of
//! the catalogue: each due time is still decided once.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, group, within};
use crate::faults::{FaultKind, Harm, Links, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "split_brain",
    story: "5 nodes; two and three of them lose sight of each other, both reach the store; in half of the seeds one crashes",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let side = group(dice, NODES, 2);
    let split = FaultKind::Network(Links::Across(side), Harm::Cut);
    let mut faults = vec![within(dice, &WINDOW, 3_000..15_000, split)];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..5_000, FaultKind::Crash(Target::BeatOwner)));
    }
    Script::around(NODES, faults)
}
