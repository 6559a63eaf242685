//! What becomes of a task that failed, or that its worker gave back.

use std::time::Duration;

use super::given::{LONG, PAST_SHORT, SHORT, done, failed, task};
use super::{FOREVER, Subject};
use crate::queue::task::{Attempt, Completion, TaskOutcome, TaskState};

/// It waits for its pause, then anybody may try it, under the next attempt.
pub async fn a_failed_task_comes_back_after_its_pause(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let first = nodes[0].claim_one(LONG).await.attempt;
    let end = nodes[0].queue.complete(id, first, failed(Some(LONG)), "oh".to_owned()).await;
    assert_eq!(end, Ok(Completion::Recorded(TaskState::Retry)));
    let kept = nodes[1].task(id).await;
    assert_eq!((kept.state, kept.failures, kept.finished_at), (TaskState::Retry, 1, None));
    assert!(kept.ready_at >= kept.created_at.plus(LONG), "it says when it comes back");
    assert_eq!((kept.error.is_some(), kept.log_tail.as_deref()), (true, Some("oh")));
    assert!(nodes[1].claim(8, LONG).await.is_empty(), "its pause has not passed");
    let again = nodes[0].queue.complete(id, first, done(), String::new()).await;
    assert_eq!(again, Ok(Completion::Stale), "the attempt has ended");

    let other = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    nodes[0].end(other, attempt, failed(Some(SHORT))).await;
    subject.pass(PAST_SHORT).await;
    let second = nodes[1].claim_one(LONG).await;
    assert_eq!((second.id, second.attempt, second.failures), (other, Attempt(2), 1));
    let end = nodes[1].queue.complete(other, second.attempt, done(), String::new()).await;
    assert_eq!(end, Ok(Completion::Recorded(TaskState::Done)));
    let kept = nodes[2].task(other).await;
    assert_eq!((kept.attempts, kept.failures, kept.error), (2, 1, None), "the last failure is over");
}

/// Without a pause it has failed for good.
pub async fn a_failure_without_a_pause_is_the_end(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    let end = nodes[0].queue.complete(id, attempt, failed(None), String::new()).await;
    assert_eq!(end, Ok(Completion::Recorded(TaskState::Failed)));
    let kept = nodes[1].task(id).await;
    assert_eq!((kept.state, kept.failures, kept.output), (TaskState::Failed, 1, None));
    assert_eq!(kept.error, Some(serde_json::json!({"title": "it broke"})));
    assert!(kept.finished_at.is_some());
    assert!(nodes[1].claim(8, LONG).await.is_empty());
}

/// A worker that stops gives its tasks back: nothing is held against them.
pub async fn a_task_handed_back_keeps_its_place_and_loses_no_retry(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let old = nodes[0].enqueue(task()).await;
    subject.pass(Duration::from_millis(5)).await;
    let young = nodes[0].enqueue(task()).await;
    let claimed = nodes[0].claim(1, LONG).await.remove(0);
    assert_eq!(claimed.id, old);
    subject.pass(Duration::from_millis(5)).await;
    let back = nodes[0].queue.complete(old, claimed.attempt, TaskOutcome::HandBack, String::new()).await;
    assert_eq!(back, Ok(Completion::Recorded(TaskState::Ready)));
    let kept = nodes[1].task(old).await;
    assert_eq!((kept.attempts, kept.failures, kept.lost_leases), (1, 0, 0));
    assert_eq!(kept.finished_at, None);

    let next = nodes[1].claim(8, LONG).await;
    assert_eq!(next.iter().map(|task| task.id).collect::<Vec<_>>(), [old, young], "it has waited longest");
    assert_eq!(next[0].attempt, Attempt(2), "the old worker's token is worthless");
    let stale = nodes[0].queue.complete(old, claimed.attempt, done(), String::new()).await;
    assert_eq!(stale, Ok(Completion::Stale));
}
