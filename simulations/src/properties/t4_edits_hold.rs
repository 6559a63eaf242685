//! T4: after an edit is acknowledged no tick of the old revision commits, and none at all while the schedule
//! is paused or deleted. Judged in the store's order, from the moment when the store took the edit: that is
//! before anybody was told. And an edit that somebody was told of was made, as it was asked for; where definitions
//! and fences are in two stores, in both.

use std::collections::BTreeMap;

use beatmesh_node::catalogue::name::ScheduleName;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "T4 an edit ends the revision before it", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut standing: BTreeMap<&ScheduleName, (u64, bool)> = BTreeMap::new();
    let mut made: BTreeMap<(&ScheduleName, u64), bool> = BTreeMap::new();
    let mut defined: BTreeMap<(&ScheduleName, u64), bool> = BTreeMap::new();
    for record in evidence.history {
        match &record.event {
            Event::Fenced { schedule, revision, enabled, .. } => {
                standing.insert(schedule, (*revision, *enabled));
                made.insert((schedule, *revision), *enabled);
            }
            Event::Defined { schedule, revision, enabled } => {
                defined.insert((schedule, *revision), *enabled);
            }
            Event::EditAcknowledged { schedule, revision, enabled } => {
                let as_asked = |made: bool| enabled.is_none_or(|asked| asked == made);
                let is_made = match (defined.get(&(schedule, *revision)), made.get(&(schedule, *revision))) {
                    // A later edit may have been faster: its fence holds for this one as well.
                    (Some(defined), _) => {
                        let stands = standing.get(schedule).is_some_and(|(stands, _)| stands >= revision);
                        let forgot = evidence.forgotten_edits.range(revision..).next().is_some();
                        as_asked(*defined) && (stands || (forgot && !evidence.is_durable))
                    }
                    (None, Some(made)) => as_asked(*made),
                    (None, None) => evidence.forgotten_edits.contains(revision),
                };
                if !is_made {
                    let what = format!(
                        "an edit of {schedule} was acknowledged as revision {revision}, which the store has not made so"
                    );
                    violations.push(Violation::at(record.at, what));
                }
            }
            // What an edit itself gives up stands under the revision that it ends.
            Event::TickCommitted { schedule, revision, due, node, .. } if !node.is_empty() => {
                let (current, enabled) = standing.get(schedule).copied().unwrap_or_default();
                if current != *revision || !enabled {
                    let state = if enabled { "in force" } else { "fenced off" };
                    violations.push(Violation::at(
                        record.at,
                        format!(
                            "{schedule} due at {} was decided by {node} under revision {revision}; {current} was {state}",
                            due.0
                        ),
                    ));
                }
            }
            _ => {}
        }
    }
    violations
}
