//! Two meshes with one secret: somebody has copied a whole installation. Rows of the node table of each lead to
//! machines of the other. A node joins late, then everybody is alone for a while and has to look into the table.
//! Faults 23 and 25 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Harm, Links, Target};
use crate::world::kin::Kin;

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "other_mesh_in_the_table",
    story: "4 nodes and 3 of another mesh with the same secret, whose addresses stand in each other's node tables",
    script,
};

const NODES: usize = 4;

const STRANGERS: usize = 3;

fn script(dice: &mut StdRng) -> Script {
    let stranger = if dice.random() { Kin::OtherMesh } else { Kin::OtherStore };
    let kin = [[Kin::Ordinary; NODES].as_slice(), &[stranger; STRANGERS]].concat();
    let mut draw = |ms: std::ops::Range<u64>| Duration::from_millis(dice.random_range(ms));
    let joined = draw(5_000..7_000);
    let late = FaultKind::Crash(Target::Node(NODES - 1));
    let late = Fault { at: Duration::ZERO, lasts: joined, kind: late };
    let alone = FaultKind::Network(Links::All, Harm::Cut);
    let alone = Fault { at: joined + draw(2_000..4_000), lasts: draw(4_000..7_000), kind: alone };
    // Each machine stands in the table several times.
    Script { kin, stale_rows: 200, ..Script::around(NODES, vec![late, alone]) }
}
