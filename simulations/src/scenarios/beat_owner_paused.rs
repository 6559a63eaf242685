//! The Beat's process is stopped around a commit, and goes on as if nothing had been. Fault 2 of the catalogue.
//! What it had sent arrives, what it was about to send comes late, and others have acted meanwhile.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "beat_owner_paused",
    story: "5 nodes; the Beat is stopped for 0.5, 3 or 15 s around a commit and goes on, twice",
    script,
};

const NODES: usize = 5;

/// How long it is stopped: unnoticed, about as long as it takes to be noticed, past a lease, and, more seldom, for
/// as long as a debugger stands still.
const STOPPED_MS: [u64; 7] = [500, 500, 3_000, 3_000, 15_000, 15_000, 60_000];

/// Due times are whole seconds; a commit takes some milliseconds after one. Plans are drawn with steps of 5 ms.
const AROUND_COMMIT_MS: std::ops::Range<u64> = 0..60;

fn script(dice: &mut StdRng) -> Script {
    let mut at = Duration::from_secs(dice.random_range(6..10));
    let mut faults = Vec::new();
    for _ in 0..2 {
        // From 30 ms before a due time to 30 ms after it.
        let begin =
            at - Duration::from_millis(30) + Duration::from_millis(dice.random_range(AROUND_COMMIT_MS));
        let lasts = Duration::from_millis(STOPPED_MS[dice.random_range(0..STOPPED_MS.len())]);
        faults.push(Fault { at: begin, lasts, kind: FaultKind::Pause(Target::BeatOwner) });
        at += Duration::from_secs(lasts.as_secs() + dice.random_range(2..6));
    }
    Script::around(NODES, faults)
}
