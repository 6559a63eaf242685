//! One request to the store of each node ends in an error, any from its first one on, and one operation on files at
//! the start of one. Fault 40 of the catalogue: there is no call whose error loses anything. Which one it is
//! comes from the seed, so many seeds try each in turn.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{Fault, FaultKind, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "one_error_at_a_time",
    story: "3 nodes; of each one request to the store fails, of one an operation on files at its start",
    script,
};

const NODES: usize = 3;

/// A node makes more requests than this in [`LASTS`].
const REQUESTS: u16 = 120;

/// The error is waited for so long.
const LASTS: Duration = Duration::from_secs(30);

/// When the process fails, in milliseconds.
const WINDOW: Window = 6_000..20_000;

/// Operations on files that a start makes: directory, lock, generation read and written.
const OPERATIONS: u8 = 4;

fn script(dice: &mut StdRng) -> Script {
    let errors = (0..NODES).map(|node| {
        let once = Trouble::Once(dice.random_range(0..REQUESTS), dice.random());
        Fault { at: Duration::ZERO, lasts: LASTS, kind: FaultKind::Store(Target::Node(node), once) }
    });
    let mut faults: Vec<_> = errors.collect();
    let node = Target::Node(dice.random_range(0..NODES));
    let disk = FaultKind::Disk(node, dice.random_range(0..OPERATIONS));
    faults.push(within(dice, &WINDOW, 200..4_000, disk));
    Script::around(NODES, faults)
}
