//! The mesh splits, and the minority does not reach the store either. Fault 11 of the catalogue: whoever reaches the
//! store fires, how many that may be.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, group, within};
use crate::faults::{Fault, FaultKind, Harm, Links, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "minority_without_store",
    story: "5 nodes; two and three of them lose sight of each other, the minority does not reach the store",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

/// How many are without the store.
const WITHOUT: usize = 2;

fn script(dice: &mut StdRng) -> Script {
    let side = group(dice, NODES, WITHOUT);
    let split = FaultKind::Network(Links::Across(side), Harm::Cut);
    let split = within(dice, &WINDOW, 3_000..15_000, split);
    let trouble = if dice.random() { Trouble::Cut } else { Trouble::Refusing };
    let without = FaultKind::Store(Target::Group(side), trouble);
    Script::around(NODES, vec![split, Fault { kind: without, ..split }])
}
