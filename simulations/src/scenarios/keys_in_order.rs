//! Users enqueue tasks with order keys, and cancel some, while workers die, stop past their leases and leave, and the
//! store is in trouble: whatever becomes of a task, those behind it wait for it and are not forgotten.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Scenario, Script};
use crate::faults::menu::{Window, trouble, within};
use crate::faults::{FaultKind, Group, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "keys_in_order",
    story: "5 nodes; tasks with order keys while one crashes, one stops past its lease, one leaves, the store is in trouble",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..30_000;

fn script(dice: &mut StdRng) -> Script {
    let mut nodes: Vec<_> = (0..NODES).collect();
    nodes.shuffle(dice);
    let failing = Trouble::Failing(dice.random_range(5..30));
    let trouble = trouble(dice);
    let faults = vec![
        within(dice, &WINDOW, 500..8_000, FaultKind::Crash(Target::Node(nodes[0]))),
        // A lease is 10 s.
        within(dice, &WINDOW, 11_000..14_000, FaultKind::Pause(Target::Node(nodes[1]))),
        within(dice, &WINDOW, 3_000..6_000, FaultKind::Leave(Target::Node(nodes[2]))),
        within(dice, &WINDOW, 2_000..6_000, FaultKind::Store(Target::Node(nodes[3]), trouble)),
        within(dice, &WINDOW, 4_000..8_000, FaultKind::Store(Target::Group(Group::first(NODES)), failing)),
    ];
    // A node that is down meets no trouble with the store.
    let script = Script::around(NODES, faults);
    let settled = script.settled + Duration::from_secs(10);
    let length = script.length + Duration::from_secs(10);
    Script { keys: true, functions_ms: 2..300, each_fault_counts: false, settled, length, ..script }
}
