//! The Beat leaves as it was asked to, right around a due time, and comes back; again and again. Nothing else is
//! wrong, so nobody may notice (L2).

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "beat_owner_leaves",
    story: "3 nodes; whoever is the Beat leaves around a due time and comes back",
    script,
};

const NODES: usize = 3;

fn script(dice: &mut StdRng) -> Script {
    let leaves = (0..5).map(|turn| {
        // Due times come at full seconds: from before it is told to stop until after all know.
        let due_ms = 7_000 + 4_000 * turn;
        let at = Duration::from_millis(due_ms - 60 + dice.random_range(0..80));
        let lasts = Duration::from_millis(dice.random_range(2_000..3_000));
        Fault { at, lasts, kind: FaultKind::Leave(Target::BeatOwner) }
    });
    let leaves = leaves.collect();
    Script::around(NODES, leaves)
}
