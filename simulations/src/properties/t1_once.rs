//! T1: a due tick is decided at most once, and once it is due and the mesh is at rest, it is decided.
//!
//! Judged by the history, not by the ledger: a store that overwrote a line would hide the double. The due
//! times themselves come from counting seconds, not from the product's timetable.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "T1 every due time is decided once", check };

/// Due times are whole seconds.
const SECOND_MS: i64 = 1_000;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut decided: BTreeMap<(ScheduleName, UnixMs), String> = BTreeMap::new();
    for record in evidence.history {
        let Event::TickCommitted { schedule, from, due, node, .. } = &record.event else { continue };
        for due in (from.0..=due.0).step_by(SECOND_MS as usize).map(UnixMs) {
            if let Some(before) = decided.insert((schedule.clone(), due), node.clone()) {
                let what = format!("{schedule} due at {} was decided by {before} and again by {node}", due.0);
                violations.push(Violation::at(record.at, what));
            }
        }
    }
    for schedule in evidence.every_second {
        let owed = owed_since(evidence, schedule);
        let Some(since) = owed else {
            violations.push(Violation::at_the_end(format!("{schedule} was never put in")));
            continue;
        };
        let first = (since.0.div_euclid(SECOND_MS) + 1) * SECOND_MS;
        for due in (first..=evidence.settled.0).step_by(SECOND_MS as usize).map(UnixMs) {
            if !decided.contains_key(&(schedule.clone(), due)) {
                let what = format!("{schedule} due at {} was neither fired nor skipped", due.0);
                violations.push(Violation::at_the_end(what));
            }
        }
    }
    violations
}

/// Due times after this are owed: the cursor that the schedule was put in with.
fn owed_since(evidence: &Evidence<'_>, wanted: &ScheduleName) -> Option<UnixMs> {
    evidence.history.iter().find_map(|record| match &record.event {
        Event::Fenced { schedule, cursor, .. } if schedule == wanted => Some(*cursor),
        _ => None,
    })
}
