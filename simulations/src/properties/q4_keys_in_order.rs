//! Q4: tasks of one function with one order key start in the order in which the store took them, and no more of them
//! run at once than the function says: one that has begun and not ended holds its place, also while it waits for a
//! retry or its lease is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use beatmesh_node::catalogue::name::FunctionName;
use beatmesh_node::queue::order::OrderKey;
use beatmesh_node::queue::task::TaskId;

use super::{Evidence, Property, Violation};
use crate::history::Event;
use crate::workload::PAIRED;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q4 tasks of one key keep their order", check };

/// A function's tasks with one key.
#[derive(Default)]
struct Line {
    /// Nobody has begun them; in the order in which they were taken.
    waiting: VecDeque<TaskId>,
    /// They have begun and not ended.
    inside: BTreeSet<TaskId>,
}

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut lines: BTreeMap<(FunctionName, OrderKey), Line> = BTreeMap::new();
    for record in evidence.history {
        let task = match &record.event {
            Event::Stored { task }
            | Event::Claimed { task, .. }
            | Event::Completed { task, .. }
            | Event::LeaseLost { task, .. }
            | Event::TakenOut { task, .. } => *task,
            _ => continue,
        };
        // A task that is in no store is Q1's.
        let Some(kept) = evidence.store.task(task) else { continue };
        let Some(key) = &kept.order_key else { continue };
        let line = lines.entry((kept.function.clone(), key.clone())).or_default();
        match &record.event {
            Event::Stored { .. } => line.waiting.push_back(task),
            Event::Claimed { .. } if !line.inside.contains(&task) => {
                let at_once = if kept.function.as_str() == PAIRED { 2 } else { 1 };
                let what = format!("task {task} of key {key} was begun");
                if line.waiting.front() != Some(&task) {
                    let first = line.waiting.front().map_or("nobody".to_owned(), ToString::to_string);
                    violations.push(Violation::at(record.at, format!("{what}; {first} is next")));
                }
                if line.inside.len() >= at_once {
                    let what = format!("{what} while these had not ended: {:?}", line.inside);
                    violations.push(Violation::at(record.at, what));
                }
                line.waiting.retain(|waiting| *waiting != task);
                line.inside.insert(task);
            }
            Event::Completed { state, .. } if !state.is_final() => {}
            Event::LeaseLost { dead: false, .. } | Event::Claimed { .. } => {}
            // It has ended.
            _ => {
                line.waiting.retain(|waiting| *waiting != task);
                line.inside.remove(&task);
            }
        }
    }
    violations
}

/// Whether a task ever was taken while one before it had not ended: without that, nothing was at stake.
#[must_use]
pub fn anybody_waited(evidence: &Evidence<'_>) -> bool {
    let mut open: BTreeMap<(FunctionName, OrderKey), BTreeSet<TaskId>> = BTreeMap::new();
    for record in evidence.history {
        let (task, has_ended) = match &record.event {
            Event::Stored { task } => (*task, false),
            Event::Completed { task, state, .. } if state.is_final() => (*task, true),
            Event::LeaseLost { task, dead: true } | Event::TakenOut { task, .. } => (*task, true),
            _ => continue,
        };
        let Some(kept) = evidence.store.task(task) else { continue };
        let Some(key) = &kept.order_key else { continue };
        let line = open.entry((kept.function.clone(), key.clone())).or_default();
        if has_ended {
            line.remove(&task);
        } else if !line.is_empty() {
            return true;
        } else {
            line.insert(task);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beatmesh_mesh::env::UnixMs;
    use beatmesh_node::queue::order::Order;
    use beatmesh_node::queue::task::{NewTask, TaskState};

    use super::*;
    use crate::history::Record;
    use crate::world::store::direct::DirectStore;
    use crate::world::store::guards::Guards;

    fn id(number: u32) -> TaskId {
        format!("00000000-0000-0000-0000-{number:012}").parse().expect("an id")
    }

    /// Of a store that holds tasks 1 to 3 of one key of this function, and 4 without one.
    fn verdict(function: &str, events: &[Event]) -> usize {
        let mut store = DirectStore::new(Guards::default(), Duration::from_secs(3_600));
        for number in 1..=4 {
            let order = (number < 4).then(|| Order::new("k".parse().expect("a key"), 1));
            let task = NewTask { order, ..NewTask::new(id(number), function.parse().expect("a name")) };
            store.enqueue(Duration::ZERO, vec![task]);
        }
        let stored = (1..=4).map(|number| Event::Stored { task: id(number) });
        let records = stored.chain(events.iter().cloned()).zip(1..);
        let history: Vec<_> = records.map(|(event, at)| Record { at: UnixMs(at), event }).collect();
        let evidence = Evidence {
            history: &history,
            forgotten: &BTreeMap::new(),
            forgotten_edits: &BTreeSet::new(),
            store: store.state(),
            is_durable: false,
            settled: UnixMs(0),
            fire_all: &[],
            lost_ticks: &[],
            skips_rollbacks: &[],
        };
        assert!(anybody_waited(&evidence));
        check(&evidence).len()
    }

    #[test]
    fn the_next_one_begins_when_the_one_before_it_has_ended() {
        let claimed = |task, attempt| Event::Claimed { task: id(task), attempt, node: "n".to_owned() };
        let ended = |task, state| Event::Completed { task: id(task), attempt: 1, state };
        let lost = |task, dead| Event::LeaseLost { task: id(task), dead };
        let out = |task| Event::TakenOut { task: id(task), state: TaskState::Cancelled };
        let done = |task| ended(task, TaskState::Done);
        assert_eq!(verdict("f", &[claimed(4, 1), claimed(1, 1), done(1), claimed(2, 1), done(2)]), 0);
        assert_eq!(verdict("f", &[claimed(1, 1), lost(1, false), claimed(1, 2), done(1), claimed(2, 1)]), 0);
        assert_eq!(verdict("f", &[claimed(1, 1), lost(1, true), out(2), claimed(3, 1)]), 0);
        assert_eq!(verdict("f", &[claimed(2, 1)]), 1, "out of order");
        assert_eq!(verdict("f", &[claimed(1, 1), claimed(2, 1)]), 1, "two at once");
        assert_eq!(verdict("f", &[claimed(1, 1), lost(1, false), claimed(2, 1)]), 1, "it may run again");
        let retry = ended(1, TaskState::Retry);
        assert_eq!(verdict("f", &[claimed(1, 1), retry, claimed(2, 1)]), 1, "it will run again");
        assert_eq!(verdict(PAIRED, &[claimed(1, 1), claimed(2, 1)]), 0);
        assert_eq!(verdict(PAIRED, &[claimed(1, 1), claimed(2, 1), claimed(3, 1)]), 1, "three at once");
        assert_eq!(verdict(PAIRED, &[claimed(1, 1), claimed(3, 1)]), 1, "out of order");
    }
}
