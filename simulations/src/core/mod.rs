//! The core alone, at scale: the pure state machines (ring, claims about members, Beat plan) and the rules
//! of the store (ticks, leases), thousands of nodes in one thread under an event heap, by virtual time.
//!
//! ```text
//! script (dice) ──> heap ──> mesh ──┬─> view      who each node believes to be alive, by the mesh's precedence
//!                    ▲              ├─> Plan      one per node, the real one
//!                    │              ├─> store     the simulated store's rules, the clock of the heap
//!                    └──────────────┘   movement  the real ring, rebuilt at each true change
//! ```
//!
//! Deaths are noticed after delays from the dice: ten thousand views of ten thousand members each would not
//! fit. How long real detectors take is what [`membership`] measures, under a heap of the same kind.

mod beliefs;
pub mod command;
mod figures;
mod heap;
pub mod membership;
mod mesh;
mod movement;
mod script;
mod view;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use beatmesh_node::beat::plan::{FiringSpec, PlannedSchedule};
use beatmesh_node::beat::timetable::Timetable;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::queue::task::TaskState;
use serde_json::json;

use crate::history::{EPOCH, Event, Record};
use crate::measures::Measures;
use crate::properties::{Evidence, Violation, t1_once, t2_cursor};
use crate::world::store::direct::DirectStore;
use crate::world::store::guards::Guards;
pub use figures::Figures;
use mesh::CoreMesh;

/// The least that leaves time for faults, and for quiet after them.
pub const SHORTEST: Duration = Duration::from_secs(30);

/// How large and how long.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Members at the start.
    pub nodes: usize,
    /// Virtual time, at least [`SHORTEST`].
    pub length: Duration,
    /// What the store checks.
    pub guards: Guards,
}

/// Schedules by how often they are due; `fire_all`, so that every due time is fired and its lateness seen.
const SCHEDULES: [(&str, usize); 3] = [("* * * * * *", 4), ("*/2 * * * * *", 3), ("*/3 * * * * *", 3)];

/// Longer than any run.
const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// Runs one seed. The same seed gives the same figures.
#[must_use]
pub fn run(setting: &Setting, seed: u64) -> Figures {
    let mut store = DirectStore::new(setting.guards, KEEP);
    let catalogue = deploy(&mut store);
    let mut mesh = CoreMesh::new(setting, seed, store, catalogue);
    mesh.run(setting.length);

    let history = mesh.store.history().records();
    let settled = EPOCH.plus(setting.length.saturating_sub(script::SETTLED));
    let state = mesh.store.state();
    let names: Vec<ScheduleName> = state.all_schedules().map(|state| state.schedule.clone()).collect();
    let evidence = Evidence {
        disagreements: &[],
        history: &history,
        forgotten: &BTreeMap::new(),
        forgotten_edits: &BTreeSet::new(),
        store: state,
        is_durable: false,
        settled,
        fire_all: &names,
        lost_ticks: &[],
        skips_rollbacks: &[],
    };
    let mut violations = std::mem::take(&mut mesh.movement.violations);
    for property in [t1_once::PROPERTY, t2_cursor::PROPERTY] {
        let found = (property.check)(&evidence).into_iter();
        violations.extend(found.map(|violation| Violation { property: property.name, ..violation }));
    }
    violations.extend(check_tasks(&evidence));
    let refused = history.iter().filter(|record| matches!(record.event, Event::TickRefused { .. })).count();
    Figures {
        violations,
        runs: 1,
        happenings: mesh.heap.planned(),
        changes: u64::from(mesh.movement.changes),
        moved: mesh.movement.moved_of_fair(),
        busiest: mesh.movement.busiest(),
        believers: mesh.beliefs.most,
        several: mesh.beliefs.several,
        none: mesh.beliefs.none,
        refused: refused as u64,
        doubles: doubles(&history),
        reads: mesh.reads,
        stale: mesh.stale,
        lost_leases: count(&history, |event| matches!(event, Event::LeaseLost { .. })),
        measures: Measures::of(&history, &mesh.beat_deaths),
        handover: mesh.handover,
    }
}

fn count(history: &[Record], which: impl Fn(&Event) -> bool) -> u64 {
    history.iter().filter(|record| which(&record.event)).count() as u64
}

/// Due times that were decided more than once.
fn doubles(history: &[Record]) -> u64 {
    let mut decided = BTreeMap::new();
    for record in history {
        if let Event::TickCommitted { schedule, due, .. } = &record.event {
            *decided.entry((schedule, due)).or_insert(0_u64) += 1;
        }
    }
    decided.into_values().map(|times| times - 1).sum()
}

/// Every task ends once, by the attempt that holds its lease.
fn check_tasks(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut ended = BTreeMap::new();
    for record in evidence.history {
        if let Event::Completed { task, .. } = &record.event {
            *ended.entry(*task).or_insert(0_u32) += 1;
        }
    }
    let mut wrong = Vec::new();
    for task in evidence.store.all_tasks() {
        let times = ended.get(&task.id).copied().unwrap_or(0);
        if times > 1 {
            let what = format!("task {} was completed {times} times", task.id);
            let property = "Q2 at most one completion is recorded";
            wrong.push(Violation { property, ..Violation::at_the_end(what) });
        }
        if task.created_at <= evidence.settled && task.state != TaskState::Done {
            let what = format!("task {} is {}", task.id, task.state.as_str());
            let property = "L0 after healing everything is executed";
            wrong.push(Violation { property, ..Violation::at_the_end(what) });
        }
    }
    wrong
}

/// Puts function and schedules in; answers what every node's catalogue holds.
fn deploy(store: &mut DirectStore) -> Vec<Arc<PlannedSchedule>> {
    let start = Duration::ZERO;
    let function = json!({ "runtime": "process", "command": ["scripted"] });
    let function = serde_json::from_value(function).expect("a definition");
    store.put_function(start, "work".parse().expect("a name"), function).expect("an empty store takes all");
    let mut catalogue = Vec::new();
    for (index, (cron, many)) in SCHEDULES.into_iter().enumerate() {
        for nth in 0..many {
            let name: ScheduleName = format!("every-{}-{nth}", index + 1).parse().expect("a name");
            let definition = json!({ "cron": cron, "function": "work", "misfire": "fire_all" });
            let definition: Schedule = serde_json::from_value(definition).expect("a definition");
            let timetable = Timetable::parse(cron, &definition.timezone).expect("a cron text");
            let state = store.put_schedule(start, name.clone(), definition.clone());
            let revision = state.expect("the store takes it").revision;
            let (definition, timetable) = (definition.into(), timetable.into());
            let planned = PlannedSchedule::new(name, revision, definition, timetable, FiringSpec::default());
            catalogue.push(Arc::new(planned));
        }
    }
    catalogue
}

#[cfg(test)]
mod tests;
