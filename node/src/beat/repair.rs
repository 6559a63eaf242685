//! Which schedules stand otherwise in the queue's store than the catalogue says, and what would put that right.
//!
//! With the queue in a store of its own an edit has two halves, and a node may die between them; and a store
//! may lose what it held. Pure: a catalogue and the standings go in, fences come out. A fence of a revision
//! that the store knows already changes nothing, so whoever repairs from an old catalogue does no harm. Whoever
//! repairs from one that has been lost does: so the driver reads the catalogue anew, after the standings.

use std::collections::BTreeMap;

use crate::catalogue::entry::{Catalogue, ScheduleEntry};
use crate::catalogue::name::ScheduleName;
use crate::queue::tick::ScheduleState;

/// A fence that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The catalogue's revision.
    pub revision: u64,
    /// What the catalogue holds; `None` when there is no such schedule any more.
    pub after: Option<ScheduleEntry>,
}

/// The fences that the store does not have, by name.
#[must_use]
pub fn missing(catalogue: &Catalogue, states: &[ScheduleState]) -> Vec<Missing> {
    let states: BTreeMap<_, _> = states.iter().map(|state| (&state.schedule, state)).collect();
    let behind = catalogue
        .schedules
        .values()
        .filter(|entry| states.get(&entry.name).is_none_or(|state| state.revision < entry.revision));
    let behind = behind.map(|entry| Missing {
        schedule: entry.name.clone(),
        revision: entry.revision,
        after: Some(entry.clone()),
    });
    // One that is younger than this catalogue may have been made after it was read.
    let left = states.values().filter(|state| {
        state.enabled
            && state.revision < catalogue.revision
            && !catalogue.schedules.contains_key(&state.schedule)
    });
    let left = left.map(|state| Missing {
        schedule: state.schedule.clone(),
        revision: catalogue.revision,
        after: None,
    });
    behind.chain(left).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use beatmesh_mesh::env::UnixMs;

    use super::*;

    fn entry(name: &str, revision: u64) -> ScheduleEntry {
        let definition = serde_json::from_value(serde_json::json!({"cron": "* * * * *", "function": "f"}));
        ScheduleEntry {
            name: name.parse().unwrap(),
            revision,
            times_revision: revision,
            enabled: true,
            paused_until: None,
            definition: Arc::new(definition.unwrap()),
        }
    }

    fn state(name: &str, revision: u64, enabled: bool) -> ScheduleState {
        ScheduleState { schedule: name.parse().unwrap(), revision, enabled, cursor: UnixMs(0) }
    }

    #[test]
    fn what_the_store_lacks_is_found_and_nothing_else() {
        let entries = [entry("equal", 5), entry("behind", 6), entry("lost", 4), entry("ahead", 3)];
        let schedules = entries.iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
        let catalogue = Catalogue { revision: 9, schedules, ..Catalogue::default() };
        let states = [
            state("equal", 5, true),
            state("behind", 2, true),
            state("ahead", 10, true),
            state("deleted", 7, true),
            state("deleted-and-fenced", 8, false),
            state("made-after-the-reading", 10, true),
            state("made-by-the-last-edit", 9, true),
        ];
        let found: Vec<_> = missing(&catalogue, &states)
            .into_iter()
            .map(|missing| (missing.schedule.to_string(), missing.revision, missing.after.is_some()))
            .collect();
        let expected = [("behind", 6, true), ("lost", 4, true), ("deleted", 9, false)];
        assert_eq!(found, expected.map(|(name, revision, is_there)| (name.to_owned(), revision, is_there)));
    }
}
