//! Q7: a worker that holds a lease and renews it keeps it, whoever believes that it is dead: in a split both sides may
//! reach the store, and must not take each other's work. A claim is as good as a renewal, so no lease is lost right
//! after it was given.
//!
//! Leases are the store's, by its clock: of a run in which that steps, or in which the store forgets or is broken by
//! hand, nothing can be said.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q7 who renews a lease keeps it", check };

/// A lease is taken from the dead when it was silent for 1.3 s; clocks of servers differ, and one may take the other's
/// place in between.
const TOO_SOON: Duration = Duration::from_millis(500);

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let is_excuse = |event: &Event| match event {
        Event::FaultBegan { fault, kind, .. } => *kind == "clock" || fault.contains("breaks"),
        Event::QueueForgot { .. } | Event::StoreForgot { .. } => true,
        _ => false,
    };
    if evidence.history.iter().any(|record| is_excuse(&record.event)) {
        return Vec::new();
    }
    let (mut given, mut violations) = (BTreeMap::new(), Vec::new());
    for record in evidence.history {
        match &record.event {
            Event::Claimed { task, node, .. } => {
                given.insert(*task, (record.at, node));
            }
            Event::LeaseLost { task, .. } => {
                if let Some((at, node)) = given.remove(task)
                    && record.at < at.plus(TOO_SOON)
                {
                    let after = record.at.millis_since(at);
                    let what =
                        format!("task {task} was taken from {node} {after} ms after it was given to it");
                    violations.push(Violation::at(record.at, what));
                }
            }
            _ => {}
        }
    }
    violations
}
