//! The Redis answers errors now and then, to everybody: that it knows no script, is a replica, is loading, busy, full,
//! that somebody else has the key; or it carries a command out and its answer is lost. And for a while its memory is
//! full. Faults 21 and 22 of the catalogue.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script, redis_again};
use crate::faults::menu::{Window, trouble, within};
use crate::faults::{FaultKind, Group, Target, Trouble};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_errors",
    story: "5 nodes; 10 to 40 % of commands to the Redis end in an error, some of them done all the same; it may be full",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let failing = Trouble::Failing(dice.random_range(10..=40));
    let all = FaultKind::Store(Target::Group(Group::first(NODES)), failing);
    let other = trouble(dice);
    let mut faults = vec![
        within(dice, &WINDOW, 3_000..12_000, all),
        within(dice, &WINDOW, 1_000..5_000, FaultKind::Store(Target::BeatOwner, other)),
    ];
    if dice.random() {
        faults.push(within(dice, &WINDOW, 1_000..6_000, FaultKind::QueueFull));
    }
    Script { queue: redis_again::any(dice), ..Script::around(NODES, faults) }
}
