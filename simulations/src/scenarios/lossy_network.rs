//! Four packets of five are lost at one node, one of twenty everywhere. Fault 15 of the catalogue.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Harm, Links, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "lossy_network",
    story: "5 nodes; 80 % of packets are lost at one of them, 5 % everywhere",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let one = Target::Node(dice.random_range(0..NODES));
    let much = FaultKind::Network(Links::Of(one), Harm::Loss(80));
    let little = FaultKind::Network(Links::All, Harm::Loss(5));
    let much = within(dice, &WINDOW, 3_000..15_000, much);
    let little = within(dice, &WINDOW, 10_000..19_000, little);
    Script::around(NODES, vec![much, little])
}
