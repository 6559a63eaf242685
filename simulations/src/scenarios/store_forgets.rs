//! The store forgets its last writes, as when a replica takes over that had not heard of them, or a backup is put
//! back. Fault 20 of the catalogue, for one store that holds all: nobody's promise is kept for what it forgot, and
//! everything is kept from then on.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "store_forgets",
    story: "5 nodes; the store forgets what it took in the last seconds, the Beat may crash meanwhile",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..20_000;

/// And of a second time.
const LATER: Window = 20_500..25_000;

fn script(dice: &mut StdRng) -> Script {
    if dice.random() {
        let little = shortly_before_a_due_time(dice);
        let much = within(dice, &LATER, 1_000..3_000, FaultKind::StoreForgets);
        // There may be nothing in the little that it forgets.
        return Script { each_fault_counts: false, ..Script::around(NODES, vec![little, much]) };
    }
    let mut faults = vec![within(dice, &WINDOW, 1_000..5_000, FaultKind::StoreForgets)];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner)));
    }
    Script::around(NODES, faults)
}

/// One edit is forgotten, most often, and another one is made before the next due time: what nodes know of the
/// first must not be taken for the second.
fn shortly_before_a_due_time(dice: &mut StdRng) -> Fault {
    let due_ms = 1_000 * dice.random_range(8..20);
    let end_ms = due_ms - dice.random_range(50..400);
    let lasts_ms = dice.random_range(200..450);
    let (at, lasts) = (Duration::from_millis(end_ms - lasts_ms), Duration::from_millis(lasts_ms));
    Fault { at, lasts, kind: FaultKind::StoreForgets }
}
