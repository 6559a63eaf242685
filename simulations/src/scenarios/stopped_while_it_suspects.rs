//! A node is stopped at a moment at which it suspects another one, which has gone on by the time it wakes: what it
//! held against the other is long refuted. Faults 2 and 4 of the catalogue, together.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::pair;
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "stopped_while_it_suspects",
    story: "5 nodes; three times one is stopped for a moment, and another one for 12 s while it suspects the first",
    script,
};

const NODES: usize = 5;

/// From one time to the next, in milliseconds: the longer stop, and time to be well again.
const EVERY_MS: u64 = 25_000;

fn script(dice: &mut StdRng) -> Script {
    let mut faults = Vec::new();
    for turn in 0..3 {
        let (suspect, observer) = pair(dice, NODES);
        let begin = 6_000 + turn * EVERY_MS + dice.random_range(0..1_000);
        let mut pause = |node, at_ms, lasts_ms| {
            let [at, lasts] = [at_ms, lasts_ms].map(Duration::from_millis);
            faults.push(Fault { at, lasts, kind: FaultKind::Pause(Target::Node(node)) });
        };
        // Shorter than a suspect has, longer than it takes to become one.
        pause(suspect, begin, dice.random_range(400..700));
        pause(observer, begin + dice.random_range(250..600), 12_000);
    }
    Script::around(NODES, faults)
}
