//! T2: cursor, ledger and tasks never disagree: the cursor is the greatest due time decided, or where the last
//! edit put it, and a due time was fired exactly when its task existed.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::task::{Origin, TaskId};

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "T2 cursor and ledger agree", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let store = evidence.store;
    let mut wrong = Vec::new();
    let mut fired: BTreeMap<TaskId, (ScheduleName, UnixMs)> = BTreeMap::new();
    for state in store.all_schedules() {
        let name = &state.schedule;
        let last = store.ledger(name).map(|tick| tick.due).max();
        let fenced = fenced_at(evidence, name);
        if last.max(fenced) != Some(state.cursor) {
            wrong.push(format!(
                "{name}: the cursor is at {}, the ledger ends at {last:?}, the last edit put it to {fenced:?}",
                state.cursor.0
            ));
        }
        for tick in store.ledger(name) {
            match (tick.task, &tick.skipped) {
                (Some(task), None) => drop(fired.insert(task, (name.clone(), tick.due))),
                (None, Some(_)) => {}
                _ => wrong.push(format!("{name} due at {} is neither fired nor skipped", tick.due.0)),
            }
        }
    }
    for (task, (schedule, due)) in &fired {
        if store.task(*task).is_none() {
            wrong.push(format!("{schedule} due at {} was fired without its task {task}", due.0));
        }
    }
    for task in store.all_tasks() {
        if let Origin::Schedule { schedule, due } = &task.origin
            && fired.get(&task.id) != Some(&(schedule.clone(), *due))
        {
            wrong.push(format!("task {} of {schedule} due at {} is in no ledger", task.id, due.0));
        }
    }
    wrong.into_iter().map(Violation::at_the_end).collect()
}

/// Where the last edit of a schedule put its cursor.
fn fenced_at(evidence: &Evidence<'_>, wanted: &ScheduleName) -> Option<UnixMs> {
    evidence.history.iter().rev().find_map(|record| match &record.event {
        Event::Fenced { schedule, cursor, .. } if schedule == wanted => Some(*cursor),
        _ => None,
    })
}
