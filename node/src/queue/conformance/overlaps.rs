//! What a firing does while an earlier task of its schedule has not ended.

use std::time::Duration;

use super::given::{LONG, commit, deciding, done, fire};
use super::{FOREVER, Node, Subject};
use crate::catalogue::schedule::Overlap;
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome};

async fn fires(node: &Node, schedule: &ScheduleState, overlap: Overlap) -> usize {
    let state = node.standing(&schedule.schedule).await;
    match node.queue.commit_tick(TickCommit { overlap, ..commit(&state) }).await {
        Ok(TickOutcome::Committed { fired }) => {
            let line = node.ledger(&state.schedule).await.pop().expect("it is in the ledger");
            assert_eq!(line.skipped.as_deref(), fired.is_empty().then_some("overlap"));
            fired.len()
        }
        other => panic!("{other:?}"),
    }
}

/// Allow fires always; skip while one waits or runs; queue_one while one waits.
pub async fn the_policy_decides_while_an_earlier_task_has_not_ended(subject: &dyn Subject) {
    for (overlap, while_waiting, while_running) in
        [(Overlap::Allow, 1, 1), (Overlap::Skip, 0, 0), (Overlap::QueueOne, 0, 1)]
    {
        let nodes = subject.fresh(FOREVER).await;
        let name = nodes[0].schedule("s").await.name;
        // Another schedule's tasks are in nobody's way.
        let other = nodes[0].schedule("other").await.name;
        subject.pass(Duration::from_millis(50)).await;
        let (state, other) = (nodes[0].standing(&name).await, nodes[0].standing(&other).await);
        assert_eq!(fires(&nodes[0], &other, overlap).await, 1);
        nodes[0].claim_one(LONG).await;

        assert_eq!(fires(&nodes[0], &state, overlap).await, 1, "nothing is in the way");
        assert_eq!(fires(&nodes[1], &state, overlap).await, while_waiting, "{overlap:?}, one waits");
        let mut running = nodes[0].claim(8, LONG).await;
        assert_eq!(running.len(), 1 + while_waiting);
        assert_eq!(fires(&nodes[2], &state, overlap).await, while_running, "{overlap:?}, one runs");
        running.extend(nodes[0].claim(8, LONG).await);
        for task in running {
            nodes[0].end(task.id, task.attempt, done()).await;
        }
        // Within one commit, the first firing is in the way of the second.
        let state = nodes[0].standing(&name).await;
        let due = |ms| beatmesh_mesh::env::UnixMs(state.cursor.0 + ms);
        let two = TickCommit { overlap, ..deciding(&state, vec![fire(due(1)), fire(due(2))]) };
        match nodes[0].queue.commit_tick(two).await {
            Ok(TickOutcome::Committed { fired }) => assert_eq!(fired.len(), 1 + while_waiting),
            other => panic!("{other:?}"),
        }
        assert_eq!(nodes[0].ledger(&name).await.len(), 5, "fired or skipped, each has its line");
    }
}
