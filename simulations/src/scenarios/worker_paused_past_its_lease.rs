//! Workers are stopped past their leases and go on: they complete tasks that others have by then. Fault 29 of the
//! catalogue: a completion counts once, by whoever holds the lease.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::group;
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "worker_paused_past_its_lease",
    story: "5 nodes; three of them are stopped for longer than a lease and go on",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let workers = group(dice, NODES, 3);
    let stops = workers.nodes().map(|worker| {
        // Ticks are due at whole seconds, so most functions run right after one.
        let at =
            Duration::from_secs(dice.random_range(6..9)) + Duration::from_millis(dice.random_range(0..80));
        let lasts = Duration::from_millis(dice.random_range(16_000..20_000));
        Fault { at, lasts, kind: FaultKind::Pause(Target::Node(worker)) }
    });
    let stops = stops.collect();
    // Some run when their node stops, and come to their end when it goes on.
    Script { functions_ms: 2..2_000, ..Script::around(NODES, stops) }
}
