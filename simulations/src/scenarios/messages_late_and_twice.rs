//! Packets come late, out of order and twice, up to every second one. Fault 39 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "messages_late_and_twice",
    story: "5 nodes; up to half of all packets come late, overtaken by others, and up to half come twice",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let most = Duration::from_millis(dice.random_range(20..600));
    let late = Harm::Late(dice.random_range(10..=50), Duration::from_millis(1), most);
    let twice = Harm::Twice(dice.random_range(10..=50));
    let late = within(dice, &WINDOW, 5_000..18_000, FaultKind::Network(Links::All, late));
    let twice = within(dice, &WINDOW, 5_000..18_000, FaultKind::Network(Links::All, twice));
    Script::around(NODES, vec![late, twice])
}
