//! The Beat dies together with the last writes of the queue's Redis, and nobody else has seen them: all others were cut
//! off from it meanwhile. That the Beat had committed them its successor knows only from the Beat's own word.

use std::time::Duration;

use beatmesh_node::config::Durability;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Queue, Scenario, Script};
use crate::faults::{Fault, FaultKind, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_loses_with_the_beat",
    story: "3 nodes; the Redis fails over and loses what only the Beat knew, which crashes at the same moment",
    script,
};

const NODES: usize = 3;

/// A word about what was committed may be two seconds old, and due times come every second.
const LOSES_MS: std::ops::Range<u64> = 5_000..9_000;

/// By then its successor has acted. One that is back before that has lost its memory and, in its first moments, has not
/// heard the others yet.
const STAYS_AWAY_MS: std::ops::Range<u64> = 4_000..8_000;

fn script(dice: &mut StdRng) -> Script {
    let millis = Duration::from_millis;
    let (at, lasts) = (millis(dice.random_range(8_000..14_000)), millis(dice.random_range(LOSES_MS)));
    let fault = |at, lasts, kind| Fault { at, lasts, kind };
    let (just_before, end) = (millis(20), at + lasts);
    let faults = vec![
        // They see nothing of what is lost.
        fault(at - just_before, lasts + 2 * just_before, FaultKind::Store(Target::AllButBeat, Trouble::Cut)),
        fault(at, lasts, FaultKind::QueueFailsOver(dice.random())),
        fault(
            end - just_before,
            millis(dice.random_range(STAYS_AWAY_MS)),
            FaultKind::Crash(Target::BeatOwner),
        ),
    ];
    let queue = Queue::Replicated(Durability::Fast);
    Script { queue, skips_rollbacks: true, ..Script::around(NODES, faults) }
}
