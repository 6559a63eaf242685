//! The node table is full of rows that lead nowhere, or to a port where another node is now. A node joins late, and
//! then everybody is alone for a while and has to look into the table. Fault 23 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Harm, Links, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "stale_rows",
    story: "5 nodes and 10,000 stale rows in the node table; one joins late, then nobody hears anybody for a while",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let joined = Duration::from_millis(dice.random_range(5_000..8_000));
    let join = Fault { at: Duration::ZERO, lasts: joined, kind: FaultKind::Crash(Target::Node(NODES - 1)) };
    let [calm, lasts] = [3_000..6_000, 5_000..12_000].map(|ms| Duration::from_millis(dice.random_range(ms)));
    let alone = Fault { at: joined + calm, lasts, kind: FaultKind::Network(Links::All, Harm::Cut) };
    Script { stale_rows: 10_000, ..Script::around(NODES, vec![join, alone]) }
}
