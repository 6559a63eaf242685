//! Q5: attempts are bounded, crashes included: a task is given out once, once more for each retry that it may
//! have, for each lease that may be lost, and for each time that a worker handed it back.

use std::collections::BTreeMap;

use beatmesh_node::queue::task::{TaskId, TaskState};

use super::{Evidence, Property, Violation};
use crate::history::Event;
use crate::world::node::MAX_LOST_LEASES;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q5 attempts are bounded", check };

/// What a task has used up.
#[derive(Clone, Copy, Default)]
struct Used {
    claims: u32,
    failures: u32,
    lost: u32,
    handed_back: u32,
    ended: bool,
}

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut used: BTreeMap<TaskId, Used> = BTreeMap::new();
    for record in evidence.history {
        match &record.event {
            Event::Claimed { task, attempt, node } => {
                let used = used.entry(*task).or_default();
                used.claims += 1;
                let most = 1 + used.failures + used.lost + used.handed_back;
                if used.ended || used.claims > most || used.claims != *attempt {
                    violations.push(Violation::at(
                        record.at,
                        format!(
                            "task {task} was given to {node} as attempt {attempt}: the {}th time of at most {most}, after {} lost leases{}",
                            used.claims,
                            used.lost,
                            if used.ended { ", after its end" } else { "" }
                        ),
                    ));
                }
            }
            Event::LeaseLost { task, dead } => {
                let used = used.entry(*task).or_default();
                used.lost += 1;
                used.ended |= dead;
                if used.lost > MAX_LOST_LEASES && !dead {
                    let what = format!("task {task} lost {} leases and was not put aside", used.lost);
                    violations.push(Violation::at(record.at, what));
                }
            }
            Event::Completed { task, state, .. } => {
                let used = used.entry(*task).or_default();
                used.handed_back += u32::from(*state == TaskState::Ready);
                used.failures += u32::from(*state == TaskState::Retry);
                let retries = evidence.store.task(*task).map_or(0, |task| task.retries);
                if used.failures > retries {
                    let what = format!(
                        "task {task} failed {} times and may be retried {retries} times",
                        used.failures
                    );
                    violations.push(Violation::at(record.at, what));
                }
                used.ended |= matches!(state, TaskState::Done | TaskState::Failed);
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use beatmesh_mesh::env::UnixMs;

    use super::*;
    use crate::history::{History, Record};
    use crate::world::store::guards::Guards;
    use crate::world::store::host::StoreHost;

    fn verdict(events: &[Event]) -> usize {
        let records =
            events.iter().zip(1..).map(|(event, at)| Record { at: UnixMs(at), event: event.clone() });
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
    fn a_task_that_kills_its_workers_is_put_aside_and_stays_there() {
        let task: TaskId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let claimed = |attempt| Event::Claimed { task, attempt, node: "n".to_owned() };
        let lost = |dead| Event::LeaseLost { task, dead };
        let mut events: Vec<_> =
            (1..=MAX_LOST_LEASES).flat_map(|attempt| [claimed(attempt), lost(false)]).collect();
        let last = claimed(MAX_LOST_LEASES + 1);
        events.push(last);
        events.push(lost(true));
        assert_eq!(verdict(&events), 0);
        events.push(claimed(MAX_LOST_LEASES + 2));
        assert_eq!(verdict(&events), 1, "after its end");
        events.truncate(events.len() - 2);
        events.push(lost(false));
        assert_eq!(verdict(&events), 1, "not put aside");
    }
}
