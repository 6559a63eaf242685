//! Nobody hears anybody, all reach the store: five Beats. Fault 17 of the catalogue, shorter; when it heals, all must
//! find each other again although each holds all others for dead.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "everybody_isolated",
    story: "5 nodes; nobody hears anybody for 8 to 19 s or for 5 minutes, all reach the store",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

/// Five minutes, now and then: whoever has been away so long comes back as well.
const LONG_MS: u64 = 300_000;

fn script(dice: &mut StdRng) -> Script {
    let alone = FaultKind::Network(Links::All, Harm::Cut);
    let alone = if dice.random_bool(0.1) {
        within(dice, &(WINDOW.start..WINDOW.start + LONG_MS + 2_000), LONG_MS..LONG_MS + 1_000, alone)
    } else {
        within(dice, &WINDOW, 8_000..19_000, alone)
    };
    Script::around(NODES, vec![alone])
}
