//! Somebody copies a node's machine and starts the copy: two processes with one data directory. Once the node is
//! there, and the copy has to go; once it is stopped, cut off, or on one side of a cut with the copy on the other, the
//! copy takes its place, and then it comes back, and one of the two has to go. Fault 6 of the catalogue.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script};
use crate::faults::menu::pair;
use crate::faults::{Fault, FaultKind, Group, Harm, Links, Target, Twin};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "cloned_identity",
    story: "5 nodes; a copy of one is started beside it, and a copy of another one while it is away, which then comes back",
    script,
};

const NODES: usize = 5;

fn script(dice: &mut StdRng) -> Script {
    let (one, other) = pair(dice, NODES);
    let [beside, away] = [one, other].map(Target::Node);
    let [first, second] = [(); 2].map(|()| [Twin::Earlier, Twin::Same, Twin::Later][dice.random_range(0..3)]);
    let cut = FaultKind::Network(Links::Of(away), Harm::Cut);
    // The copy's machine is none of the five, so it is on the other side.
    let halves = FaultKind::Network(Links::Across(Group::of(&[one, other])), Harm::Cut);
    let absence = [FaultKind::Pause(away), cut, halves][dice.random_range(0..3)];
    let mut draw = |ms: Range<u64>| Duration::from_millis(dice.random_range(ms));

    let first =
        Fault { at: draw(5_000..8_000), lasts: draw(4_000..7_000), kind: FaultKind::Clone(beside, first) };
    let gone = first.at + first.lasts + draw(500..2_000);
    // Also before anybody has noticed that it is away.
    let copied = gone + draw(50..4_000);
    // Also before the copy is anybody, and when it is switched off already.
    let back = copied + draw(1_000..10_000);
    let absence = Fault { at: gone, lasts: back - gone, kind: absence };
    // Long enough that two beside each other would be seen to be two.
    let second = Fault { at: copied, lasts: draw(16_000..20_000), kind: FaultKind::Clone(away, second) };
    Script::around(NODES, vec![first, absence, second])
}
