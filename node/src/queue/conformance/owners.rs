//! Many believe that they are the Beat; the store lets one commit each due time (T1, T2, M1).

use std::collections::BTreeSet;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use futures_util::future::join_all;

use super::given::{deciding, fire, skip};
use super::{FOREVER, Node, Subject};
use crate::queue::TaskFilter;
use crate::queue::task::TaskId;
use crate::queue::tick::{ScheduleState, TickOutcome, tick_task_id};

const OWNERS: usize = 8;
const DUE_TIMES: i64 = 300;

/// One owner: plans from what it last heard, tries, learns. Answers what it fired.
async fn own(node: &Node, n: usize, mut state: ScheduleState, end: UnixMs) -> Vec<TaskId> {
    let mut fired = Vec::new();
    while state.cursor < end {
        let due = |ms: i64| UnixMs((state.cursor.0 + ms).min(end.0));
        // They do not plan alike: some take two due times at once, some skip a run first.
        let left = end.0 - state.cursor.0;
        let decisions = match (n % 4, left) {
            (1, 2..) => vec![fire(due(1)), fire(due(2))],
            (2, 4..) => vec![skip(due(1), due(3), 3), fire(due(4))],
            _ => vec![fire(due(1))],
        };
        let last = decisions.last().expect("there is one").due;
        match node.queue.commit_tick(deciding(&state, decisions)).await {
            Ok(TickOutcome::Committed { fired: more }) => {
                fired.extend(more);
                state.cursor = last;
            }
            Ok(TickOutcome::Moved(Some(now))) => {
                assert!(now.cursor > state.cursor, "it moved, and forwards");
                state = now;
            }
            other => panic!("{other:?}"),
        }
    }
    fired
}

/// None twice, none lost, and cursor, ledger and tasks agree at the end.
pub async fn competing_owners_commit_every_due_time_once(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let entry = nodes[0].schedule("s").await;
    subject.pass(Duration::from_millis(DUE_TIMES as u64)).await;
    let state = nodes[0].standing(&entry.name).await;
    let end = UnixMs(state.cursor.0 + DUE_TIMES);
    let owners = (0..OWNERS).map(|n| own(&nodes[n % nodes.len()], n, state.clone(), end));
    let fired: Vec<TaskId> = join_all(owners).await.into_iter().flatten().collect();
    let once: BTreeSet<_> = fired.iter().copied().collect();
    assert_eq!(once.len(), fired.len(), "two owners were told that they fired the same due time");

    assert_eq!(nodes[1].standing(&entry.name).await.cursor, end, "the cursor is at the last decided one");
    let ledger = nodes[1].ledger(&entry.name).await;
    let mut cursor = state.cursor;
    for line in &ledger {
        assert_eq!(line.from.0, cursor.0 + 1, "no gap, no overlap");
        assert_eq!(line.due.0 - line.from.0 + 1, i64::from(line.count));
        assert_eq!(line.task.is_some(), line.skipped.is_none());
        if line.task.is_some() {
            assert_eq!(line.task, Some(tick_task_id(&entry.name, entry.revision, line.due)));
        }
        cursor = line.due;
    }
    assert_eq!(cursor, end);
    let in_ledger: BTreeSet<_> = ledger.iter().filter_map(|line| line.task).collect();
    assert_eq!(in_ledger, once, "fired and in the ledger as fired");
    let all = TaskFilter { limit: 1_000, ..TaskFilter::default() };
    let tasks: BTreeSet<_> =
        nodes[2].queue.tasks(&all).await.expect("read").iter().map(|task| task.id).collect();
    assert_eq!(tasks, once, "fired if and only if its task exists");
}
