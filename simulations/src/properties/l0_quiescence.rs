//! L0: once all faults are healed and time has passed, work is done: every task that was acknowledged, and
//! every due time that must be fired, was executed and ended well, and no task of anybody waits. A task that takes its nodes down is put
//! aside. No budget here: how fast it went is
//! measured.

use std::collections::BTreeSet;

use beatmesh_node::queue::task::{TaskId, TaskRecord, TaskState};

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "L0 after healing everything is executed", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut owed: BTreeSet<TaskId> = BTreeSet::new();
    let mut deadly_ones: BTreeSet<TaskId> = BTreeSet::new();
    let mut executed: BTreeSet<TaskId> = BTreeSet::new();
    let mut cancelled: BTreeSet<TaskId> = BTreeSet::new();
    for record in evidence.history.iter() {
        match &record.event {
            Event::Acknowledged { task, deadly, .. } if record.at <= evidence.settled => {
                if *deadly { &mut deadly_ones } else { &mut owed }.insert(*task);
            }
            Event::Executed { task, .. } => drop(executed.insert(*task)),
            // Its user did not want it any more.
            Event::TakenOut { task, state: TaskState::Cancelled } => drop(cancelled.insert(*task)),
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
    owed.retain(|task| !cancelled.contains(task));
    for task in &owed {
        let record = evidence.store.task(*task);
        if record.is_none() && evidence.forgotten.contains_key(task) {
            continue;
        }
        // Tasks that are in no store are Q1's and T2's.
        if !executed.contains(task) || record.is_some_and(|record| !ended_well(record)) {
            let ran = if executed.contains(task) { "executed" } else { "never executed" };
            let state = record.map_or("lost", |record| record.state.as_str());
            wrong.push(format!("task {task} was {ran} and is {state}"));
        }
    }
    for task in &deadly_ones {
        let state = evidence.store.task(*task).map(|record| record.state);
        if state != Some(TaskState::Dead) {
            let state = state.map_or("lost", TaskState::as_str);
            wrong.push(format!("task {task} takes down whoever runs it; it is {state} and not put aside"));
        }
    }
    // Also those of users who never heard that they were taken, and of schedules that may skip.
    let others = evidence.store.all_tasks().filter(|task| task.created_at <= evidence.settled);
    for task in others.filter(|task| !owed.contains(&task.id) && !deadly_ones.contains(&task.id)) {
        if !ended_well(task) && !cancelled.contains(&task.id) {
            let (created, state) = (task.created_at.0, task.state.as_str());
            wrong.push(format!("task {}, created at {created}, is {state}", task.id));
        }
    }
    wrong.into_iter().map(Violation::at_the_end).collect()
}

/// Done, or failed as often as it may.
fn ended_well(task: &TaskRecord) -> bool {
    match task.state {
        TaskState::Done => true,
        TaskState::Failed => task.failures > task.retries,
        _ => false,
    }
}
