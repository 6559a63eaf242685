//! Which tasks people can take back, and which they can make run again.

use futures_util::future::join_all;

use super::given::{LONG, PAST_SHORT, SHORT, done, failed, task};
use super::{FOREVER, Node, Subject};
use crate::queue::task::{NewTask, TaskId, TaskState};

/// One task in each state.
async fn one_of_each(subject: &dyn Subject, node: &Node) -> Vec<(TaskState, TaskId)> {
    let mut all = Vec::new();
    let dead = node.enqueue(task()).await;
    node.claim_one(SHORT).await;
    let expired = node.enqueue(NewTask { delay: LONG, expires: Some(SHORT), ..task() }).await;
    subject.pass(PAST_SHORT).await;
    assert_eq!(node.queue.sweep(0).await.expect("swept").dead, [dead]);
    all.extend([(TaskState::Dead, dead), (TaskState::Expired, expired)]);
    for (state, outcome) in [
        (TaskState::Done, Some(done())),
        (TaskState::Failed, Some(failed(None))),
        (TaskState::Retry, Some(failed(Some(LONG)))),
        (TaskState::Leased, None),
    ] {
        let id = node.enqueue(task()).await;
        let attempt = node.claim_one(LONG).await.attempt;
        if let Some(outcome) = outcome {
            node.end(id, attempt, outcome).await;
        }
        all.push((state, id));
    }
    let cancelled = node.enqueue(task()).await;
    assert_eq!(node.queue.cancel(cancelled).await, Ok(Some(TaskState::Cancelled)));
    all.push((TaskState::Cancelled, cancelled));
    all.push((TaskState::Scheduled, node.enqueue(NewTask { delay: LONG, ..task() }).await));
    all.push((TaskState::Ready, node.enqueue(task()).await));
    all.sort();
    assert_eq!(all.iter().map(|(state, _)| *state).collect::<Vec<_>>(), TaskState::ALL);
    for (state, id) in &all {
        assert_eq!(node.state(*id).await, *state);
    }
    all
}

/// Scheduled, ready and retry can be taken back; a running one is left to its worker.
pub async fn a_waiting_task_can_be_taken_back_and_no_other(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    for (state, id) in one_of_each(subject, &nodes[0]).await {
        let waits = matches!(state, TaskState::Scheduled | TaskState::Ready | TaskState::Retry);
        let expected = if waits { TaskState::Cancelled } else { state };
        assert_eq!(nodes[1].queue.cancel(id).await, Ok(Some(expected)), "{state:?}");
        let kept = nodes[2].task(id).await;
        assert_eq!(kept.state, expected);
        assert_eq!(kept.finished_at.is_some(), expected.is_final(), "{state:?}");
    }
    assert!(nodes[0].claim(8, LONG).await.is_empty());
    assert_eq!(nodes[0].queue.cancel(task().id).await, Ok(None));
}

/// Failed, dead, cancelled and expired tasks can be run again; a result is never run over.
pub async fn a_task_that_ended_badly_can_be_made_ready_again_and_no_other(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let all = one_of_each(subject, &nodes[0]).await;
    for (state, id) in all {
        let badly = state.is_final() && state != TaskState::Done;
        let before = nodes[1].task(id).await;
        let expected = if badly { TaskState::Ready } else { state };
        assert_eq!(nodes[1].queue.retry(id).await, Ok(Some(expected)), "{state:?}");
        let kept = nodes[2].task(id).await;
        assert_eq!((kept.state, kept.attempts), (expected, before.attempts));
        if badly {
            assert_eq!((kept.failures, kept.lost_leases, kept.finished_at), (0, 0, None), "{state:?}");
            assert_eq!((kept.expires_at, kept.error), (None, None), "{state:?}");
        } else {
            assert_eq!(kept, before, "{state:?}");
        }
    }
    assert_eq!(nodes[0].claim(16, LONG).await.len(), 5, "the four, and the one that was ready before");
    assert_eq!(nodes[0].queue.retry(task().id).await, Ok(None));
}

/// Either it was taken back in time, or it runs.
pub async fn a_cancel_and_a_claim_never_both_win(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(nodes[0].enqueue(task()).await);
    }
    let cancels = join_all(ids.iter().rev().map(|id| nodes[1].queue.cancel(*id)));
    let claims = async {
        let mut claimed = Vec::new();
        loop {
            let some = nodes[2].claim(4, LONG).await;
            if some.is_empty() {
                return claimed;
            }
            claimed.extend(some.into_iter().map(|task| task.id));
        }
    };
    let (cancels, claimed) = tokio::join!(cancels, claims);
    for (id, after) in ids.iter().rev().zip(cancels) {
        let after = after.expect("answered").expect("it is there");
        assert_eq!(after == TaskState::Cancelled, !claimed.contains(id), "{after:?}");
        assert_eq!(nodes[0].state(*id).await, after);
    }
}
