//! Q2: at most one completion is recorded, and by the current attempt: only who holds the lease ends the
//! attempt, once, and what has ended for good stays ended.

use std::collections::BTreeMap;

use beatmesh_node::queue::task::TaskId;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q2 one completion, by the current attempt", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Which attempt holds the lease.
    let mut held: BTreeMap<TaskId, u32> = BTreeMap::new();
    for record in evidence.history {
        let what = match &record.event {
            Event::Claimed { task, attempt, node } => held.insert(*task, *attempt).map(|holder| {
                format!("task {task} was given to {node} as attempt {attempt} while attempt {holder} had it")
            }),
            Event::LeaseLost { task, .. } => {
                held.remove(task);
                None
            }
            Event::Completed { task, attempt, state } => {
                let holder = held.remove(task);
                (holder != Some(*attempt)).then(|| {
                    let holder = holder.map_or("nobody".to_owned(), |holder| format!("attempt {holder}"));
                    let state = state.as_str();
                    format!(
                        "attempt {attempt} of task {task} was recorded as {state}; {holder} had the lease"
                    )
                })
            }
            _ => None,
        };
        violations.extend(what.map(|what| Violation::at(record.at, what)));
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use beatmesh_mesh::env::UnixMs;
    use beatmesh_node::queue::task::TaskState;

    use super::*;
    use crate::history::{History, Record};
    use crate::world::store::guards::Guards;
    use crate::world::store::host::StoreHost;

    fn verdict(events: Vec<Event>) -> usize {
        let records = events.into_iter().zip(1..).map(|(event, at)| Record { at: UnixMs(at), event });
        let history: Vec<_> = records.collect();
        let store = StoreHost::new(History::default(), Guards::default(), std::time::Duration::ZERO);
        let store = store.state();
        let evidence = Evidence {
            disagreements: &[],
            history: &history,
            forgotten: &BTreeMap::new(),
            forgotten_edits: &BTreeSet::new(),
            store: &store,
            is_durable: false,
            settled: UnixMs(0),
            fire_all: &[],
            lost_ticks: &[],
            skips_rollbacks: &[],
        };
        check(&evidence).len()
    }

    #[test]
    fn only_the_holder_of_the_lease_completes_and_only_once() {
        let task: TaskId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let claimed = |attempt| Event::Claimed { task, attempt, node: "n".to_owned() };
        let done = |attempt| Event::Completed { task, attempt, state: TaskState::Done };
        let lost = || Event::LeaseLost { task, dead: false };
        assert_eq!(verdict(vec![claimed(1), done(1)]), 0);
        assert_eq!(verdict(vec![claimed(1), lost(), claimed(2), done(2)]), 0);
        assert_eq!(verdict(vec![claimed(1), done(1), done(1)]), 1, "twice");
        assert_eq!(verdict(vec![claimed(1), lost(), done(1)]), 1, "after the lease was lost");
        assert_eq!(verdict(vec![claimed(1), lost(), claimed(2), done(1)]), 1, "by the attempt before");
        assert_eq!(verdict(vec![claimed(1), claimed(2)]), 1, "two at a time");
    }
}
