//! Stories of other files, told with the queue in a Redis: what they say of the store is true of both, and faults of the
//! store meet the Redis as well.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Queue, Scenario, Script};
use super::{
    beat_owner_crashes, clocks_jump, keys_in_order, minority_without_store, one_error_at_a_time, poison_task,
    rolling_restart, store_clock_steps, worker_paused_past_its_lease,
};

/// The Beat crashes.
pub const BEAT_OWNER_CRASHES: Scenario = Scenario {
    name: "redis_beat_owner_crashes",
    story: "the queue is in a Redis; 3 nodes; the Beat is crashed and restarted, a pair is cut apart, stores are in trouble",
    script: |dice| on_redis(dice, beat_owner_crashes::SCENARIO),
};

/// Leases run out.
pub const WORKER_PAUSED: Scenario = Scenario {
    name: "redis_worker_paused",
    story: "the queue is in a Redis; 5 nodes; three of them are stopped for longer than a lease and go on",
    script: |dice| on_redis(dice, worker_paused_past_its_lease::SCENARIO),
};

/// A task takes its nodes down.
pub const POISON_TASK: Scenario = Scenario {
    name: "redis_poison_task",
    story: "the queue is in a Redis; 5 nodes; a task takes down each node that runs it, another node is stopped",
    script: |dice| on_redis(dice, poison_task::SCENARIO),
};

/// Tasks with order keys.
pub const KEYS_IN_ORDER: Scenario = Scenario {
    name: "redis_keys_in_order",
    story: "the queue is in a Redis; 5 nodes; tasks with order keys while workers die, stop and leave, stores are in trouble",
    script: |dice| on_redis(dice, keys_in_order::SCENARIO),
};

/// Clocks of servers step.
pub const CLOCK_STEPS: Scenario = Scenario {
    name: "redis_clock_steps",
    story: "the queue is in a Redis; 5 nodes; the clocks of the stores step by up to 8 s and back, the Beat crashes",
    script: |dice| on_redis(dice, store_clock_steps::SCENARIO),
};

/// Clocks of nodes jump.
pub const CLOCKS_JUMP: Scenario = Scenario {
    name: "redis_clocks_jump",
    story: "the queue is in a Redis; clocks of nodes jump and drift",
    script: |dice| on_redis(dice, clocks_jump::SCENARIO),
};

/// One error at a time.
pub const ONE_ERROR: Scenario = Scenario {
    name: "redis_one_error_at_a_time",
    story: "the queue is in a Redis; 3 nodes; of each one request to each store fails, of one an operation on files",
    script: |dice| on_redis(dice, one_error_at_a_time::SCENARIO),
};

/// The mesh splits.
pub const MINORITY: Scenario = Scenario {
    name: "redis_minority_without_store",
    story: "the queue is in a Redis; 5 nodes; the mesh splits, the minority reaches neither store",
    script: |dice| on_redis(dice, minority_without_store::SCENARIO),
};

/// Everybody leaves in turn.
pub const ROLLING_RESTART: Scenario = Scenario {
    name: "redis_rolling_restart",
    story: "the queue is in a Redis; all nodes are restarted one after the other",
    script: |dice| on_redis(dice, rolling_restart::SCENARIO),
};

fn on_redis(dice: &mut StdRng, told: Scenario) -> Script {
    let script = (told.script)(dice);
    Script { queue: any(dice), ..script }
}

/// A Redis of any kind.
pub(super) fn any(dice: &mut StdRng) -> Queue {
    use beatmesh_node::config::Durability::{Fast, Replicated};
    [Queue::Redis, Queue::Replicated(Fast), Queue::Replicated(Replicated)][dice.random_range(0..3)]
}
