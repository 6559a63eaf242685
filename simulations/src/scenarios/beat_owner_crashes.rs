//! The Beat crashes, and while others take its place, two nodes lose sight of each other and the Beat's
//! way to the store may be in trouble. Faults 1, 10 and 13 of the catalogue, and the store's `Unknown`.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::{Fault, FaultKind, Harm, Links, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "beat_owner_crashes",
    story: "3 nodes; the Beat is crashed and restarted, a pair of nodes is cut apart, the store is in trouble",
    script,
};

const NODES: usize = 3;

/// Faults begin between these, in milliseconds: after the schedule is in, and so that the last lease that
/// they break has run out and been swept before the end.
const BEGIN_MS: std::ops::Range<u64> = 6_000..16_000;

fn script(dice: &mut StdRng) -> Script {
    let mut faults = vec![fault(dice, 500..8_000, FaultKind::Crash(Target::BeatOwner)), partition(dice)];
    faults.extend(store_trouble(dice));
    Script {
        work_until: Duration::from_secs(25),
        settled: Duration::from_secs(40),
        length: Duration::from_secs(46),
        ..Script::around(NODES, faults)
    }
}

fn partition(dice: &mut StdRng) -> Fault {
    let a = dice.random_range(0..NODES);
    let b = (a + dice.random_range(1..NODES)) % NODES;
    fault(dice, 500..6_000, FaultKind::Network(Links::Between(a, b), Harm::Cut))
}

/// In three of four seeds: the others show the crash alone.
fn store_trouble(dice: &mut StdRng) -> Option<Fault> {
    let trouble = match dice.random_range(0..8) {
        0 | 1 => return None,
        2 => Trouble::Cut,
        3 => Trouble::Refusing,
        4 => Trouble::Mute,
        // The one in which two nodes commit the same due time: the slow one began, a stand-in is faster.
        _ => Trouble::Slow(Duration::from_millis(dice.random_range(300..3_000))),
    };
    Some(fault(dice, 1_000..6_000, FaultKind::Store(Target::BeatOwner, trouble)))
}

fn fault(dice: &mut StdRng, lasts_ms: std::ops::Range<u64>, kind: FaultKind) -> Fault {
    let (at, lasts) = (dice.random_range(BEGIN_MS), dice.random_range(lasts_ms));
    Fault { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), kind }
}
