//! Nodes come back at another address, the Beat among them. Fault 26 of the catalogue: whoever looks for them at
//! the old one finds nobody there.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "address_changes",
    story: "5 nodes; the Beat and others are crashed and come back at another address",
    script,
};

const NODES: usize = 5;

/// When each of them happens, in milliseconds: one after the other, because the Beat may be any of them.
const WINDOWS: [Window; 3] = [6_000..12_000, 12_000..18_000, 18_000..24_000];

fn script(dice: &mut StdRng) -> Script {
    let node = dice.random_range(0..NODES);
    let targets = [Target::BeatOwner, Target::Node(node), Target::Node((node + 1) % NODES)];
    let moves = targets.into_iter().zip(&WINDOWS);
    let moves = moves.map(|(target, window)| within(dice, window, 100..5_500, FaultKind::Move(target)));
    let moves = moves.collect();
    Script::around(NODES, moves)
}
