//! A cut lasts so long that each side has forgotten the other. Neither is alone, so neither looks into the node
//! table more often than usual; still they must find each other as soon as they can. Fault 9 of the catalogue.

use std::time::Duration;

use beatmesh_mesh::detector::REMEMBERED;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::group;
use crate::faults::{Fault, FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "split_longer_than_remembered",
    story: "4 nodes; two and two are cut off from each other until they have forgotten each other",
    script,
};

const NODES: usize = 4;

fn script(dice: &mut StdRng) -> Script {
    let side = group(dice, NODES, 2);
    let at = Duration::from_millis(dice.random_range(6_000..8_000));
    let lasts = REMEMBERED + Duration::from_millis(dice.random_range(5_000..30_000));
    let kind = FaultKind::Network(Links::Across(side), Harm::Cut);
    Script::around(NODES, vec![Fault { at, lasts, kind }])
}
