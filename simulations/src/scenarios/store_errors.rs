//! The store answers errors now and then, to everybody, and some of what it calls an error it has done. Fault 40 of
//! the catalogue, by chance instead of one call after the other.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, trouble, within};
use crate::faults::{FaultKind, Group, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "store_errors",
    story: "5 nodes; 10 to 50 % of requests to the store end in an error, some of them done all the same",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let failing = Trouble::Failing(dice.random_range(10..=50));
    let all = FaultKind::Store(Target::Group(Group::first(NODES)), failing);
    let all = within(dice, &WINDOW, 5_000..15_000, all);
    let other = trouble(dice);
    let beat = within(dice, &WINDOW, 1_000..5_000, FaultKind::Store(Target::BeatOwner, other));
    Script::around(NODES, vec![all, beat])
}
