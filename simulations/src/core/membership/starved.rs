//! A machine with too little time for its nodes: each of them runs for a moment now and then, for some minutes.
//!
//! No pause is so long that a node would take itself for stopped: what protects the others from it here is that its
//! timers come late, and that it knows what that means.

use std::time::Duration;

use super::town::Town;
use super::{Book, Setting};

/// A node runs for so long at a time.
const RUNS: Duration = Duration::from_millis(20);

/// And then does not, for something between these parts of the time after which it would take itself for stopped.
const PAUSES: (f64, f64) = (0.1, 0.95);

/// How finely the machine shares its time.
const SLICE: Duration = Duration::from_millis(5);

const LENGTH: Duration = Duration::from_secs(600);

/// Of a thousand probes so many may make a suspect, at a loss of one packet in twenty. A lost answer is missed
/// sooner by whoever does not wait longer: it would be twenty (simulated).
const SUSPICIONS: f64 = 5.0;

#[derive(Clone, Copy)]
struct Turn {
    ends: Duration,
    runs: bool,
}

pub(super) fn play(book: &mut Book, setting: &Setting, seed: u64) {
    let mut town = Town::new(setting, seed);
    let end = town.now() + LENGTH;
    let mut turns = vec![Turn { ends: town.now(), runs: true }; setting.nodes];
    while town.now() < end {
        for (node, turn) in turns.iter_mut().enumerate() {
            if town.now() < turn.ends {
                continue;
            }
            let length = if turn.runs {
                town.stop(node);
                setting.pace.stopped_after.mul_f64(PAUSES.0 + town.chance() * (PAUSES.1 - PAUSES.0))
            } else {
                // Late timers let in first what has come.
                town.resume(node, false);
                RUNS
            };
            *turn = Turn { ends: town.now() + length, runs: !turn.runs };
        }
        town.run_for(SLICE);
    }
    let (suspected, buried) = (town.views.suspected.len(), town.views.buried.len());
    let probes = town.traffic.probes;
    let rate = suspected as f64 / probes.max(1) as f64 * 1_000.0;
    book.value("starved: suspicions of a thousand probes", setting, "", rate, Some(SUSPICIONS));
    book.rare("starved: false deaths, of probes", setting, (buried, probes), Some(0.0));
}
