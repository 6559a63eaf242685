//! Pairs of nodes lose sight of each other while both hear all others. Fault 13 of the catalogue: who is dead for
//! one is alive for the rest.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, pair, within};
use crate::faults::{FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "partial_partition",
    story: "5 nodes; one to four pairs of them lose sight of each other, all hear the others",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let cuts = (0..dice.random_range(1..=4)).map(|_| {
        let (a, b) = pair(dice, NODES);
        within(dice, &WINDOW, 2_000..15_000, FaultKind::Network(Links::Between(a, b), Harm::Cut))
    });
    let cuts = cuts.collect();
    Script::around(NODES, cuts)
}
