//! Somebody breaks what the queue's Redis holds: entries are missing, others are too many, counts are wrong. The scan
//! finds it, and by the end every task stands where it belongs and has been run.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script, redis_again};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_damaged",
    story: "the queue is in a Redis; 4 nodes; somebody breaks what it holds, a little everywhere, the Beat may crash",
    script,
};

const NODES: usize = 4;

/// When it happens, in milliseconds.
const WINDOW: Window = 7_000..16_000;

/// A scan begins a minute after the one before, and this is time for its pieces as well.
const SCANNED_AFTER: Duration = Duration::from_secs(75);

fn script(dice: &mut StdRng) -> Script {
    let mut faults = vec![within(dice, &WINDOW, 10..20, FaultKind::QueueDamaged)];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 500..5_000, FaultKind::Crash(Target::BeatOwner)));
    }
    let queue = redis_again::any(dice);
    let script = Script::around(NODES, faults);
    let (settled, length) = (script.settled + SCANNED_AFTER, script.length + SCANNED_AFTER);
    Script { queue, settled, length, ..script }
}
