//! L0: once all faults are healed and time has passed, work is done: every task that was acknowledged, and
//! every due time that must be fired, was executed and ended well, and no task of anybody waits. A task that takes its nodes down is put
//! aside. No budget here: how fast it went is
//! measured.

use std::collections::BTreeSet;

use beatmesh_node::queue::task::{TaskId, TaskState};

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "L0 after healing everything is executed", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut owed: BTreeSet<TaskId> = BTreeSet::new();
    let mut deadly_ones: BTreeSet<TaskId> = BTreeSet::new();
    let mut executed: BTreeSet<TaskId> = BTreeSet::new();
    for record in evidence.history.iter() {
        match &record.event {
            Event::Acknowledged { task, deadly } if record.at <= evidence.settled => {
                if *deadly { &mut deadly_ones } else { &mut owed }.insert(*task);
            }
            Event::Executed { task, .. } => drop(executed.insert(*task)),
            Event::TickCommitted { schedule, due, skipped, task, .. }
                if *due <= evidence.settled && evidence.fire_all.contains(schedule) =>
            {
                owed.extend(task);
                if let Some(reason) = skipped {
                    wrong.push(format!("{schedule} due at {} was skipped: {reason}", due.0));
                }
            }
            _ => {}
        }
    }
    for task in owed.iter().copied() {
        let state = evidence.store.task(task).map(|record| record.state);
        if state.is_none() && evidence.forgotten.contains_key(&task) {
            continue;
        }
        // Tasks that are in no store are Q1's and T2's.
        if !executed.contains(&task) || state.is_some_and(|state| state != TaskState::Done) {
            let ran = if executed.contains(&task) { "executed" } else { "never executed" };
            wrong.push(format!("task {task} was {ran} and is {}", state.map_or("lost", TaskState::as_str)));
        }
    }
    for task in evidence.store.all_tasks() {
        let is_over = matches!(task.state, TaskState::Done | TaskState::Dead) || task.created_at > evidence.settled;
        if !is_over && !owed.contains(&task.id) {
            wrong.push(format!("task {}, created at {}, is {}", task.id, task.created_at.0, task.state.as_str()));
        }
    }
    for task in deadly_ones {
        let state = evidence.store.task(task).map(|record| record.state);
        if state != Some(TaskState::Dead) {
            let state = state.map_or("lost", TaskState::as_str);
            wrong.push(format!("task {task} takes down whoever runs it; it is {state} and not put aside"));
        }
    }
    wrong.into_iter().map(Violation::at_the_end).collect()
}
