//! A mesh in the middle of an upgrade. Some nodes are of a later version and say what the others do not know:
//! facts, kinds of messages, rumours, topics, services. One is of a version that cannot be understood, with the
//! same store: it must stay outside and do no harm. Fault 35 of the catalogue.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, group, within};
use crate::faults::{FaultKind, Harm, Links, Target};
use crate::world::kin::Kin;

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "mixed_versions",
    story: "5 nodes, some of a later version, and one of a version that cannot be understood; two crash, packets are lost",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 5_000..16_000;

fn script(dice: &mut StdRng) -> Script {
    let count = dice.random_range(1..NODES);
    let later = group(dice, NODES, count);
    let mut kin: Vec<_> =
        (0..NODES).map(|node| if later.has(node) { Kin::Later } else { Kin::Ordinary }).collect();
    kin.push(Kin::OtherVersion);
    // One of each version.
    let one = later.nodes().next().unwrap_or(0);
    let other = (0..NODES).find(|node| !later.has(*node)).unwrap_or(0);
    let mut crash = |node| within(dice, &WINDOW, 200..6_000, FaultKind::Crash(Target::Node(node)));
    let mut faults = vec![crash(one), crash(other)];
    let loss = Harm::Loss(dice.random_range(1..5));
    faults.push(within(dice, &WINDOW, 4_000..9_000, FaultKind::Network(Links::All, loss)));
    Script { kin, ..Script::around(NODES, faults) }
}
