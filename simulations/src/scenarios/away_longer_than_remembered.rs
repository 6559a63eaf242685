//! A node is stopped for so long that the others have forgotten it, and goes on with its old view of the mesh.
//! Fault 9 of the catalogue.

use std::time::Duration;

use beatmesh_mesh::detector::REMEMBERED;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "away_longer_than_remembered",
    story: "3 nodes; one is stopped until the others have forgotten it, and goes on",
    script,
};

const NODES: usize = 3;

fn script(dice: &mut StdRng) -> Script {
    let target = if dice.random() { Target::BeatOwner } else { Target::Node(dice.random_range(0..NODES)) };
    let at = Duration::from_millis(dice.random_range(6_000..8_000));
    let lasts = REMEMBERED + Duration::from_millis(dice.random_range(5_000..60_000));
    let away = Fault { at, lasts, kind: FaultKind::Pause(target) };
    Script::around(NODES, vec![away])
}
