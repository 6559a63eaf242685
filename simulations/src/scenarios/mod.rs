//! Scenarios: one file each, named by their story.

mod address_changes;
mod away_longer_than_remembered;
mod beat_owner_crashes;
mod beat_owner_gone_for_ever;
mod beat_owner_leaves;
mod beat_owner_paused;
mod bridge;
mod clocks_jump;
mod cloned_identity;
mod crash_loop;
mod disk_and_clock_go_back;
mod everybody_isolated;
mod isolated_without_the_store;
mod joins_and_leaves;
mod keys_in_order;
mod lossy_network;
mod majority_without_store;
mod many_schedules_at_once;
mod messages_late_and_twice;
mod minority_without_store;
mod mixed_versions;
mod observer_paused;
mod one_error_at_a_time;
mod one_way_and_flapping;
mod other_mesh_in_the_table;
mod partial_partition;
mod poison_task;
mod redis_again;
mod redis_away;
mod redis_errors;
mod redis_fails_over;
mod redis_forgets;
mod redis_swarm;
mod rollback_is_skipped;
mod rolling_restart;
mod split_brain;
mod split_longer_than_remembered;
mod stale_rows;
mod stopped_while_it_suspects;
mod store_clock_steps;
mod store_errors;
mod store_forgets;
mod swarm;
mod worker_paused_past_its_lease;

use std::ops::Range;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use beatmesh_node::config::Durability;

use crate::faults::Fault;
use crate::world::kin::Kin;

/// A story that any seed can tell.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// What happens, in one sentence.
    pub story: &'static str,
    /// Draws what this seed's run is like.
    pub script: fn(&mut StdRng) -> Script,
}

impl Scenario {
    /// So many nodes its faults speak of.
    #[must_use]
    pub fn nodes(&self) -> usize {
        (self.script)(&mut StdRng::seed_from_u64(0)).nodes
    }

    /// Whether its queue is in a Redis.
    #[must_use]
    pub fn has_redis(&self) -> bool {
        (self.script)(&mut StdRng::seed_from_u64(0)).queue != Queue::Store
    }
}

/// One run, before it begins. Times count from the world's start.
#[derive(Clone, Debug)]
pub struct Script {
    /// How many nodes.
    pub nodes: usize,
    /// What goes wrong; what is healed at all is healed before [`Script::settled`].
    pub faults: Vec<Fault>,
    /// Until then clients enqueue tasks.
    pub work_until: Duration,
    /// What was due or acknowledged by then must be done at the end.
    pub settled: Duration,
    /// The end.
    pub length: Duration,
    /// How long executions take, in milliseconds.
    pub functions_ms: Range<u64>,
    /// Schedules that are there from the start, all due at every full minute.
    pub schedules: usize,
    /// Whether each fault must take effect; otherwise one of them must. Where many overlap, one may leave
    /// nothing for another.
    pub each_fault_counts: bool,
    /// When a user enqueues a task that takes down every node that runs it.
    pub poison_at: Option<Duration>,
    /// Whether users enqueue tasks with order keys as well.
    pub keys: bool,
    /// Rows of the node table that lead nowhere, or to another node than they say.
    pub stale_rows: u16,
    /// What each machine's node is to the mesh; those beyond the list are ordinary. Strangers
    /// come after the nodes of the mesh, and nobody else does.
    pub kin: Vec<Kin>,
    /// Whether one schedule skips what had been decided before the store forgot it.
    pub skips_rollbacks: bool,
    /// Where the queue is.
    pub queue: Queue,
}

/// Where a run keeps its queue. Faults of the store are then the queue's as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Queue {
    /// In the store of everything else.
    #[default]
    Store,
    /// In a Redis of its own.
    Redis,
    /// In a Redis with a replica and a sentinel.
    Replicated(Durability),
}

/// Most functions are short.
const FUNCTIONS_MS: Range<u64> = 2..60;

/// After the last fault, users go on for this long.
const WORK_AFTER: Duration = Duration::from_secs(3);

/// After the last fault, the last lease that it broke has run out and been swept within this.
const SETTLED_AFTER: Duration = Duration::from_secs(20);

/// What is due when all is settled is done within this.
const LAST_WORK: Duration = Duration::from_secs(5);

impl Script {
    /// A run that ends as soon after its faults as they let it.
    #[must_use]
    fn around(nodes: usize, faults: Vec<Fault>) -> Self {
        let healed = faults.iter().map(|fault| fault.at + fault.lasts).max().unwrap_or_default();
        let settled = healed + SETTLED_AFTER;
        let (work_until, length) = (healed + WORK_AFTER, settled + LAST_WORK);
        let (functions_ms, schedules, poison_at) = (FUNCTIONS_MS, 0, None);
        Self {
            nodes,
            faults,
            work_until,
            settled,
            length,
            functions_ms,
            schedules,
            each_fault_counts: true,
            poison_at,
            keys: false,
            stale_rows: 0,
            kin: Vec::new(),
            queue: Queue::Store,
            skips_rollbacks: false,
        }
    }
}

/// All scenarios.
pub const ALL: [Scenario; 52] = [
    beat_owner_crashes::SCENARIO,
    beat_owner_paused::SCENARIO,
    beat_owner_gone_for_ever::SCENARIO,
    observer_paused::SCENARIO,
    crash_loop::SCENARIO,
    split_brain::SCENARIO,
    minority_without_store::SCENARIO,
    majority_without_store::SCENARIO,
    partial_partition::SCENARIO,
    bridge::SCENARIO,
    one_way_and_flapping::SCENARIO,
    lossy_network::SCENARIO,
    messages_late_and_twice::SCENARIO,
    everybody_isolated::SCENARIO,
    isolated_without_the_store::SCENARIO,
    clocks_jump::SCENARIO,
    disk_and_clock_go_back::SCENARIO,
    worker_paused_past_its_lease::SCENARIO,
    joins_and_leaves::SCENARIO,
    rolling_restart::SCENARIO,
    beat_owner_leaves::SCENARIO,
    store_errors::SCENARIO,
    store_clock_steps::SCENARIO,
    store_forgets::SCENARIO,
    rollback_is_skipped::SCENARIO,
    one_error_at_a_time::SCENARIO,
    address_changes::SCENARIO,
    poison_task::SCENARIO,
    keys_in_order::SCENARIO,
    many_schedules_at_once::SCENARIO,
    away_longer_than_remembered::SCENARIO,
    split_longer_than_remembered::SCENARIO,
    stale_rows::SCENARIO,
    stopped_while_it_suspects::SCENARIO,
    cloned_identity::SCENARIO,
    mixed_versions::SCENARIO,
    other_mesh_in_the_table::SCENARIO,
    swarm::SCENARIO,
    redis_again::BEAT_OWNER_CRASHES,
    redis_again::WORKER_PAUSED,
    redis_again::POISON_TASK,
    redis_again::KEYS_IN_ORDER,
    redis_again::CLOCK_STEPS,
    redis_again::CLOCKS_JUMP,
    redis_again::ONE_ERROR,
    redis_again::MINORITY,
    redis_again::ROLLING_RESTART,
    redis_errors::SCENARIO,
    redis_away::SCENARIO,
    redis_forgets::SCENARIO,
    redis_fails_over::SCENARIO,
    redis_swarm::SCENARIO,
];

/// The scenario of this name, or the nearest name there is.
///
/// # Errors
/// The name to try instead.
pub fn find(name: &str) -> Result<Scenario, &'static str> {
    let known = ALL.into_iter().find(|scenario| scenario.name == name);
    let nearness = |scenario: &Scenario| (strsim::jaro(scenario.name, name) * 1e6) as u64;
    let nearest = || ALL.into_iter().max_by_key(nearness).expect("there is a scenario").name;
    known.ok_or_else(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
        assert_eq!(find("beat_owner_crash").err(), Some("beat_owner_crashes"));
        assert!(find("beat_owner_crashes").is_ok());
    }
}
