//! Packets pass one way and not the other, and a split comes and goes. Fault 14 of the catalogue.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, group, pair, within};
use crate::faults::{FaultKind, Harm, Links};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "one_way_and_flapping",
    story: "5 nodes; one way is silent, then a split comes and goes for 10 to 18 s",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let (from, to) = pair(dice, NODES);
    let one_way = FaultKind::Network(Links::OneWay(from, to), Harm::Cut);
    let period = Duration::from_millis(dice.random_range(200..4_000));
    let size = dice.random_range(1..=2);
    let flapping = FaultKind::Network(Links::Across(group(dice, NODES, size)), Harm::Flapping(period));
    let one_way = within(dice, &WINDOW, 2_000..15_000, one_way);
    let flapping = within(dice, &WINDOW, 10_000..18_000, flapping);
    Script::around(NODES, vec![one_way, flapping])
}
