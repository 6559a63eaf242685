//! Everything that can go wrong, a random part of it in each seed, with the queue in a Redis.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Scenario, Script, redis_again};
use crate::faults::FaultKind;
use crate::faults::menu::{Window, swarm, within};

/// This file's scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "redis_swarm",
    story: "the queue is in a Redis; 5 nodes; a random subset of all faults, at random times, one of the Redis among them",
    script,
};

const NODES: usize = 5;

/// When all of it happens, in milliseconds.
const WINDOW: Window = 6_000..26_000;

fn script(dice: &mut StdRng) -> Script {
    let mut faults = swarm(dice, NODES, &WINDOW);
    let queue = redis_again::any(dice);
    // With `replicated` only a failover must lose nothing.
    let loses_all = queue != super::Queue::Replicated(beatmesh_node::config::Durability::Replicated);
    let has_replica = queue != super::Queue::Redis;
    let kind = match dice.random_range(0..5) {
        0 => FaultKind::QueueFull,
        1 if loses_all => FaultKind::QueueEmptied,
        2 | 3 if has_replica => FaultKind::QueueFailsOver(dice.random()),
        _ => FaultKind::QueueAway(loses_all && dice.random()),
    };
    // A queue that came back empty and gets an older state put back then has two pasts: nobody can say what is owed.
    let is_emptied = matches!(kind, FaultKind::QueueEmptied | FaultKind::QueueAway(true));
    if !loses_all || is_emptied {
        faults.retain(|fault| fault.kind != FaultKind::StoreForgets);
    }
    faults.push(within(dice, &WINDOW, 100..8_000, kind));
    Script { queue, each_fault_counts: false, ..Script::around(NODES, faults) }
}
