//! What must hold, one file each: predicates over the history and the store's end state. The ids are those
//! of the catalogue of promises.

pub mod c1_calls_run_once;
pub mod l0_quiescence;
pub mod l2_handover;
pub mod l4_no_false_deaths;
pub mod l5_views_agree;
pub mod m2_generations;
pub mod m3_meshes_apart;
pub mod m4_ring_is_kept;
pub mod m5_one_process_per_id;
pub mod q1_acknowledged;
pub mod q2_one_completion;
pub mod q3_one_key_one_task;
pub mod q4_keys_in_order;
pub mod q5_attempts;
pub mod t1_once;
pub mod t2_cursor;
pub mod t3_not_early;
pub mod t4_edits_hold;
pub mod t6_rollbacks;
pub mod v1_later_versions;

use std::collections::{BTreeMap, BTreeSet};

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::task::TaskId;

use crate::epochs::LostTick;
use crate::history::Record;
use crate::world::store::state::StoreState;

/// What a finished run left behind.
pub struct Evidence<'a> {
    /// What happened, in order, without what the store has forgotten.
    pub history: &'a [Record],
    /// Tasks that the store had taken and has forgotten, and when it did.
    pub forgotten: &'a BTreeMap<TaskId, UnixMs>,
    /// Revisions of edits that the store had taken and has forgotten.
    pub forgotten_edits: &'a BTreeSet<u64>,
    /// Ticks that the store had taken and has forgotten.
    pub lost_ticks: &'a [LostTick],
    /// What the store holds.
    pub store: &'a StoreState,
    /// Whether nothing that was acknowledged may be forgotten: a replica had it.
    pub is_durable: bool,
    /// What was due or acknowledged by then must be done.
    pub settled: UnixMs,
    /// Schedules whose due times must all be fired.
    pub fire_all: &'a [ScheduleName],
    /// Schedules that skip what had been decided before the store forgot it.
    pub skips_rollbacks: &'a [ScheduleName],
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Whose.
    pub property: &'static str,
    /// What is wrong, with names and times.
    pub what: String,
    /// When it showed; `None` when it is something that did not happen.
    pub at: Option<UnixMs>,
}

impl Violation {
    /// Something happened that must not.
    #[must_use]
    pub fn at(at: UnixMs, what: String) -> Self {
        Self { property: "", what, at: Some(at) }
    }

    /// Something is not as it must be at the end.
    #[must_use]
    pub fn at_the_end(what: String) -> Self {
        Self { property: "", what, at: None }
    }
}

/// One promise.
#[derive(Clone, Copy)]
pub struct Property {
    /// Its id in the catalogue and what it says.
    pub name: &'static str,
    /// Answers what is wrong, without the property's name.
    pub check: fn(&Evidence<'_>) -> Vec<Violation>,
}

/// All promises that are checked.
pub const ALL: [Property; 20] = [
    t1_once::PROPERTY,
    t2_cursor::PROPERTY,
    t3_not_early::PROPERTY,
    t4_edits_hold::PROPERTY,
    t6_rollbacks::PROPERTY,
    q1_acknowledged::PROPERTY,
    q2_one_completion::PROPERTY,
    q3_one_key_one_task::PROPERTY,
    q4_keys_in_order::PROPERTY,
    q5_attempts::PROPERTY,
    c1_calls_run_once::PROPERTY,
    m2_generations::PROPERTY,
    m3_meshes_apart::PROPERTY,
    m4_ring_is_kept::PROPERTY,
    m5_one_process_per_id::PROPERTY,
    v1_later_versions::PROPERTY,
    l0_quiescence::PROPERTY,
    l2_handover::PROPERTY,
    l4_no_false_deaths::PROPERTY,
    l5_views_agree::PROPERTY,
];

/// The id of a promise: the first word of its name.
#[must_use]
pub fn id(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// The name of the promise with this id or name.
///
/// # Errors
/// The name to try instead.
pub fn find(text: &str) -> Result<&'static str, &'static str> {
    let names = || ALL.iter().map(|property| property.name);
    let known = names().find(|name| *name == text || id(name).eq_ignore_ascii_case(text));
    let nearness = |name: &&str| {
        let [of_id, of_name] = [id(name), name].map(|known| (strsim::jaro(known, text) * 1e6) as u64);
        of_id.max(of_name)
    };
    known.ok_or_else(|| names().max_by_key(nearness).expect("there is a promise"))
}

/// Everything that is wrong with a run.
#[must_use]
pub fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let of_one = |property: Property| {
        let named = move |violation| Violation { property: property.name, ..violation };
        (property.check)(evidence).into_iter().map(named)
    };
    ALL.into_iter().flat_map(of_one).collect()
}
