//! Q3: one key, one task: whoever sends a task again under its key is told of the same one.

use std::collections::BTreeMap;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q3 one key is one task", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut known = BTreeMap::new();
    for record in evidence.history {
        let Event::Acknowledged { task, key, .. } = &record.event else { continue };
        let first = *known.entry(key).or_insert(*task);
        if first != *task {
            let what = format!("key {key} was acknowledged as task {first} and as task {task}");
            violations.push(Violation::at(record.at, what));
        }
    }
    violations
}
