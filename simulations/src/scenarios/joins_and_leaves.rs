//! Every few seconds a node leaves with a goodbye and comes back, the Beat among them. Fault 33 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "joins_and_leaves",
    story: "5 nodes, one of which joins late; every 5 s another one leaves and comes back",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let leaves = (0..5).map(|turn| {
        let at = Duration::from_millis(6_000 + 5_000 * turn + dice.random_range(0..500));
        let lasts = Duration::from_millis(dice.random_range(3_000..4_400));
        let target =
            if dice.random() { Target::BeatOwner } else { Target::Node(dice.random_range(0..NODES - 1)) };
        Fault { at, lasts, kind: FaultKind::Leave(target) }
    });
    let leaves: Vec<_> = leaves.collect();
    // The last node is switched on for the first time when the others are at work.
    let late = Duration::from_millis(dice.random_range(7_000..12_000));
    let join = Fault { at: Duration::ZERO, lasts: late, kind: FaultKind::Crash(Target::Node(NODES - 1)) };
    let faults = leaves.into_iter().chain([join]).collect();
    Script::around(NODES, faults)
}
