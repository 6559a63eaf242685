//! Two sides that only one node connects, or a ring in which each node hears its two neighbours alone: every node
//! sees another majority. Fault 16 of the catalogue.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, group, within};
use crate::faults::{Fault, FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "bridge",
    story: "5 nodes; one node connects two sides, or each node hears only its neighbours in a ring",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let faults = if dice.random() {
        let side = group(dice, NODES, 2);
        let bridge = (0..NODES).find(|node| !side.has(*node)).expect("three are on the other side");
        vec![within(
            dice,
            &WINDOW,
            3_000..15_000,
            FaultKind::Network(Links::Bridged(side, bridge), Harm::Cut),
        )]
    } else {
        let ring = |node| FaultKind::Network(Links::Between(node, (node + 2) % NODES), Harm::Cut);
        let first = within(dice, &WINDOW, 3_000..15_000, ring(0));
        (0..NODES).map(|node| Fault { kind: ring(node), ..first }).collect()
    };
    Script::around(NODES, faults)
}
