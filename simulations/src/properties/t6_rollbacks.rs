//! T6: of a schedule with `on_store_rollback = "skip"`, a node fires nothing of which it must remember that it was
//! decided before the store forgot it. That it is decided at all, once in each epoch of the store, is T1's.
//!
//! A node must remember what it has decided itself, and what was decided so long before that it has looked
//! meanwhile; and it forgets with its process. So this judges only runs in which nothing keeps nodes from the store.

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::epochs::LostTick;
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "T6 what is known to be decided is not fired again", check };

/// Until the store's answer has come.
const ANSWERED_MS: i64 = 500;

/// Every stand-in reads the cursors after each due time, the last ones some seconds later. Due times come each
/// second, so in this time it has seen them.
const LOOKED_MS: i64 = 3_000;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for record in evidence.history {
        let Event::TickCommitted { schedule, due, node, skipped: None, .. } = &record.event else { continue };
        if !evidence.skips_rollbacks.contains(schedule) {
            continue;
        }
        let is_it = |lost: &&LostTick| {
            lost.schedule == *schedule && (lost.from..=lost.due).contains(due) && lost.forgotten <= record.at
        };
        let must_know = |lost: &&LostTick| {
            let known_after = if lost.node == *node { ANSWERED_MS } else { LOOKED_MS };
            let known = UnixMs(lost.taken.0 + known_after);
            known <= lost.forgotten && !restarted(evidence, node, lost.taken, record.at)
        };
        if let Some(lost) = evidence.lost_ticks.iter().filter(is_it).find(must_know) {
            let (due, before) = (due.0, &lost.node);
            let what = format!(
                "{schedule} due at {due}, decided by {before}, was fired again by {node}, which knew"
            );
            violations.push(Violation::at(record.at, what));
        }
    }
    violations
}

/// Whether another process of this node ran at the two moments.
fn restarted(evidence: &Evidence<'_>, name: &str, from: UnixMs, until: UnixMs) -> bool {
    evidence.history.iter().filter(|record| (from..=until).contains(&record.at)).any(|record| {
        matches!(&record.event, Event::NodeDown { node, .. } | Event::NodeReady { node, .. } if node == name)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::history::{History, Record};
    use crate::world::store::guards::Guards;
    use crate::world::store::host::StoreHost;

    fn verdict(node: &str, skipped: Option<&str>, forgotten: i64, down: Option<&str>) -> usize {
        let schedule = || "s".parse().unwrap();
        let committed = Event::TickCommitted {
            schedule: schedule(),
            revision: 1,
            from: UnixMs(1_000),
            due: UnixMs(1_000),
            count: 1,
            skipped: skipped.map(str::to_owned),
            task: None,
            node: node.to_owned(),
            store_now: UnixMs(9_000),
        };
        let down = down.map(|node| Event::NodeDown { node: node.to_owned(), how: "crash" });
        let down = down.map(|event| Record { at: UnixMs(1_500), event });
        let history: Vec<_> =
            down.into_iter().chain([Record { at: UnixMs(9_000), event: committed }]).collect();
        let store = StoreHost::new(History::default(), Guards::default(), std::time::Duration::ZERO);
        let store = store.state();
        let lost = LostTick {
            schedule: schedule(),
            from: UnixMs(1_000),
            due: UnixMs(1_000),
            node: "one".to_owned(),
            taken: UnixMs(1_000),
            forgotten: UnixMs(forgotten),
        };
        let evidence = Evidence {
            disagreements: &[],
            is_durable: false,
            history: &history,
            forgotten: &BTreeMap::new(),
            forgotten_edits: &BTreeSet::new(),
            lost_ticks: &[lost],
            store: &store,
            settled: UnixMs(0),
            fire_all: &[],
            skips_rollbacks: &[schedule()],
        };
        check(&evidence).len()
    }

    #[test]
    fn who_knows_must_not_fire_again_and_who_cannot_know_may() {
        for (node, skipped, forgotten, down, expected) in [
            ("one", None, 1_600, None, 1),
            ("one", None, 1_400, None, 0),
            ("one", None, 1_600, Some("one"), 0),
            ("one", None, 1_600, Some("two"), 1),
            ("one", Some("store_rolled_back"), 1_600, None, 0),
            ("two", None, 3_900, None, 0),
            ("two", None, 4_100, None, 1),
        ] {
            let found = verdict(node, skipped, forgotten, down);
            assert_eq!(found, expected, "{node} {skipped:?} {forgotten} {down:?}");
        }
    }
}
