//! All nodes are restarted one after the other, as for an upgrade, while users go on. Fault 34 of the catalogue, in
//! small.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "rolling_restart",
    story: "5 nodes; all of them leave and come back, one after the other",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let restarts = (0..NODES).map(|node| {
        let at = Duration::from_millis(6_000 + 3_500 * node as u64 + dice.random_range(0..200));
        let lasts = Duration::from_millis(dice.random_range(2_400..3_000));
        Fault { at, lasts, kind: FaultKind::Leave(Target::Node(node)) }
    });
    let restarts = restarts.collect();
    Script::around(NODES, restarts)
}
