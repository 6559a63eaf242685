//! Nobody hears anybody, and nobody reaches the store, which comes back last: neither each other nor the node table can
//! be asked for addresses. Faults 17 and 23 of the catalogue at once; whoever was a member is found all the same.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::{Window, within};
use crate::faults::{Fault, FaultKind, Group, Harm, Links, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "isolated_without_the_store",
    story: "5 nodes; nobody hears anybody for 6 to 12 s, and the store is away until 2 to 6 s later",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let alone = within(dice, &WINDOW, 6_000..12_000, FaultKind::Network(Links::All, Harm::Cut));
    let trouble = if dice.random() { Trouble::Cut } else { Trouble::Refusing };
    let store = FaultKind::Store(Target::Group(Group::of(&[0, 1, 2, 3, 4])), trouble);
    let later = Duration::from_millis(dice.random_range(2_000..6_000));
    let store = Fault { at: alone.at, lasts: alone.lasts + later, kind: store };
    Script::around(NODES, vec![alone, store])
}
