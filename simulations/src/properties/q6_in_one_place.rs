//! Q6: a task stands where its state says, and nowhere else. The product's own steps leave nothing for its scan to put
//! right, whatever else goes wrong; and what somebody broke, it has found and put right by the end.

use super::{Evidence, Property, Violation};
use crate::faults::FaultKind;
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q6 a task is in one place", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let left = evidence.disagreements.iter().map(|what| Violation::at_the_end(format!("left: {what}")));
    let mut violations: Vec<_> = left.collect();
    let broken = FaultKind::QueueDamaged.to_string();
    let is_broken = evidence
        .history
        .iter()
        .any(|record| matches!(&record.event, Event::FaultBegan { fault, .. } if fault.contains(&broken)));
    let repairs = evidence.history.iter().filter_map(|record| match &record.event {
        Event::Repaired { kind, what } => Some(Violation::at(record.at, format!("{kind}: {what}"))),
        _ => None,
    });
    let mut repairs = repairs.peekable();
    if !is_broken {
        violations.extend(repairs);
    } else if repairs.peek().is_none() {
        violations.push(Violation::at_the_end("nobody found what was broken".to_owned()));
    }
    violations
}
