//! A disk loses what it had promised to keep, on a machine whose clock was set back: the node begins a generation
//! that it had before. Faults 1 and 7 of the catalogue at once: nobody takes it for a member, it finds out, and
//! is one again while its clock is still wrong.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{Fault, FaultKind, Target};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "disk_and_clock_go_back",
    story: "5 nodes; one loses its last writes while its clock is an hour back",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..28_000;

fn script(dice: &mut StdRng) -> Script {
    let node = Target::Node(dice.random_range(0..NODES));
    let back = within(dice, &WINDOW, 15_000..20_000, FaultKind::ClockJump(node, -3_600_000));
    let cut =
        Fault { at: back.at + back.lasts / 10, lasts: back.lasts / 10, kind: FaultKind::PowerCut(node) };
    Script::around(NODES, vec![back, cut])
}
