//! C1: nothing runs twice unasked: a call begins at most once, whatever happens to the nodes on its way. Whoever
//! called may not learn what became of it.

use std::collections::BTreeSet;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "C1 no call runs twice", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    // What a store has taken is a task: it may run again.
    let stored = evidence.history.iter().filter_map(|record| match record.event {
        Event::Stored { task } => Some(task),
        _ => None,
    });
    let tasks: BTreeSet<_> = stored.collect();
    let mut begun = BTreeSet::new();
    for record in evidence.history {
        let Event::Began { task, node, .. } = &record.event else { continue };
        let is_task = tasks.contains(task) || evidence.forgotten.contains_key(task);
        if !is_task && !begun.insert(*task) {
            violations.push(Violation::at(record.at, format!("call {task} began once more, on {node}")));
        }
    }
    violations
}
