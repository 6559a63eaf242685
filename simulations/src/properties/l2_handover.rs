//! L2: a Beat that leaves as it was asked to leaves no gap behind. Where nothing else goes wrong, every due time is
//! decided within the budget, also those that come while one Beat leaves, and while it comes back.

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "L2 a planned handover leaves no gap", check };

/// So late a due time may be decided, in milliseconds.
const BUDGET_MS: i64 = 250;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut kinds = evidence.history.iter().filter_map(|record| match &record.event {
        Event::FaultBegan { kind, .. } => Some(*kind),
        _ => None,
    });
    let is_planned = kinds.next() == Some("leave") && kinds.all(|kind| kind == "leave");
    if !is_planned {
        return Vec::new();
    }
    let late = evidence.history.iter().filter_map(|record| match &record.event {
        Event::TickCommitted { schedule, due, node, store_now, .. }
            if evidence.fire_all.contains(schedule) && store_now.millis_since(*due) > BUDGET_MS =>
        {
            let by = store_now.millis_since(*due);
            let what = format!("{schedule} due at {} was decided by {node} {by} ms late", due.0);
            Some(Violation::at(record.at, what))
        }
        _ => None,
    });
    late.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use beatmesh_mesh::env::UnixMs;

    use super::*;
    use crate::history::{History, Record};
    use crate::world::store::guards::Guards;
    use crate::world::store::host::StoreHost;

    fn verdict(kinds: &[&'static str], late_ms: i64) -> usize {
        let began = |kind: &&'static str| Event::FaultBegan {
            fault: String::new(),
            number: 0,
            kind,
            nodes: Vec::new(),
        };
        let committed = Event::TickCommitted {
            schedule: "s".parse().unwrap(),
            revision: 1,
            from: UnixMs(1_000),
            due: UnixMs(1_000),
            count: 1,
            skipped: None,
            task: None,
            node: "n".to_owned(),
            store_now: UnixMs(1_000 + late_ms),
        };
        let events = kinds.iter().map(began).chain([committed]);
        let history: Vec<_> = events.map(|event| Record { at: UnixMs(0), event }).collect();
        let store = StoreHost::new(History::default(), Guards::default(), std::time::Duration::ZERO);
        let store = store.state();
        let evidence = Evidence {
            disagreements: &[],
            is_durable: false,
            history: &history,
            forgotten: &BTreeMap::new(),
            forgotten_edits: &BTreeSet::new(),
            lost_ticks: &[],
            store: &store,
            settled: UnixMs(0),
            fire_all: &["s".parse().unwrap()],
            skips_rollbacks: &[],
        };
        check(&evidence).len()
    }

    #[test]
    fn a_gap_counts_where_nodes_leave_and_nothing_else_goes_wrong() {
        for (kinds, late_ms, expected) in [
            (&["leave", "leave"][..], 251, 1),
            (&["leave"], 250, 0),
            (&["leave", "crash"], 9_000, 0),
            (&["crash", "leave"], 9_000, 0),
            (&[], 9_000, 0),
        ] {
            assert_eq!(verdict(kinds, late_ms), expected, "{kinds:?} {late_ms}");
        }
    }
}
