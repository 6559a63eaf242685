//! The store forgets its last seconds, and one schedule would rather lose a firing than have it twice. Fault 20 of
//! the catalogue, for `on_store_rollback = "skip"`: whoever remembers what was decided skips it.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "rollback_is_skipped",
    story: "5 nodes; the store forgets some seconds, a schedule skips what was decided in them, the Beat may crash",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..24_000;

/// What is forgotten: more than the seconds that a stand-in may be behind, so that there is something left that
/// each node remembers.
const FORGETS_MS: std::ops::Range<u64> = 4_000..9_000;

/// A Beat that comes back just when the store has forgotten acts at once, and in its first moments it has not heard the
/// others yet: then nobody remembers.
const JUST_BEFORE: Duration = Duration::from_secs(1);
const HEARS: Duration = Duration::from_secs(3);

fn script(dice: &mut StdRng) -> Script {
    let mut faults = vec![within(dice, &WINDOW, FORGETS_MS, FaultKind::StoreForgets)];
    if dice.random() {
        let mut crash = within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::BeatOwner));
        let (forgotten, back) = (faults[0].at + faults[0].lasts, crash.at + crash.lasts);
        if (forgotten..forgotten + HEARS).contains(&(back + JUST_BEFORE)) {
            crash.lasts += JUST_BEFORE + HEARS;
        }
        faults.push(crash);
    }
    Script { skips_rollbacks: true, ..Script::around(NODES, faults) }
}
