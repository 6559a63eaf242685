//! A task takes down every node that runs it. Fault 31 of the catalogue: it is put aside after as many lost leases
//! as the settings allow, and everything else goes on.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "poison_task",
    story: "5 nodes; a task takes down each node that runs it, another node is stopped meanwhile",
    script,
};

const NODES: usize = 5;

/// When the others happen, in milliseconds.
const WINDOW: Window = 10_000..60_000;

fn script(dice: &mut StdRng) -> Script {
    let pause = FaultKind::Pause(Target::Node(dice.random_range(0..NODES)));
    let pause = within(dice, &WINDOW, 500..6_000, pause);
    // Six leases of 10 s, each with the time until it is swept and claimed again.
    Script {
        poison_at: Some(Duration::from_millis(dice.random_range(6_000..9_000))),
        work_until: Duration::from_secs(70),
        settled: Duration::from_secs(105),
        length: Duration::from_secs(110),
        ..Script::around(NODES, vec![pause])
    }
}
