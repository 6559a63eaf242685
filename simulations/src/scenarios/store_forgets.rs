//! The store forgets its last writes, as when a replica takes over that had not heard of them, or a backup is put
//! back. Fault 20 of the catalogue, for one store that holds all: nobody's promise is kept for what it forgot, and
//! everything is kept from then on.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "store_forgets",
    story: "5 nodes; the store forgets what it took in the last seconds, the Beat may crash meanwhile",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..20_000;

fn script(dice: &mut StdRng) -> Script {
    let mut faults = vec![within(dice, &WINDOW, 50..5_000, FaultKind::StoreForgets)];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner)));
    }
    Script::around(NODES, faults)
}
