//! At most one completion is recorded, and only by the current attempt (Q2).

use futures_util::future::join_all;

use super::given::{LONG, PAST_SHORT, SHORT, done, failed, task};
use super::{FOREVER, Subject};
use crate::queue::task::{Attempt, Completion, TaskState};

/// A repeated or doubled report changes nothing.
pub async fn an_end_is_recorded_once_however_many_report_it(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    for round in 0..10 {
        let id = nodes[0].enqueue(task()).await;
        let attempt = nodes[0].claim_one(LONG).await.attempt;
        let reports = (0..12).map(|n| {
            let outcome = if n % 2 == 0 { done() } else { failed(None) };
            nodes[n % nodes.len()].queue.complete(id, attempt, outcome, format!("report {n}"))
        });
        let ends: Vec<_> = join_all(reports).await.into_iter().map(|end| end.expect("answered")).collect();
        let recorded: Vec<usize> = (0..12).filter(|n| matches!(ends[*n], Completion::Recorded(_))).collect();
        assert_eq!(recorded.len(), 1, "round {round}: {ends:?}");
        let (winner, kept) = (recorded[0], nodes[1].task(id).await);
        assert_eq!(ends[winner], Completion::Recorded(kept.state));
        assert_eq!(kept.log_tail, Some(format!("report {winner}")), "the record is the winner's, whole");
        assert_eq!(kept.output.is_some(), kept.state == TaskState::Done);
        assert_eq!(kept.failures, u32::from(kept.state == TaskState::Failed));
    }
}

/// Earlier, later and unknown attempts change nothing.
pub async fn an_end_of_another_attempt_is_stale(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let complete = |id, attempt| nodes[1].queue.complete(id, Attempt(attempt), done(), String::new());
    for attempt in [0, 1, 2] {
        assert_eq!(complete(id, attempt).await, Ok(Completion::Stale), "nobody has begun it");
    }
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    for other in [0, 2, u32::MAX] {
        assert_eq!(complete(id, other).await, Ok(Completion::Stale), "attempt {other}");
    }
    assert_eq!(complete(task().id, 1).await, Ok(Completion::Stale), "there is no such task");
    assert_eq!(nodes[0].state(id).await, TaskState::Leased);
    assert_eq!(complete(id, attempt.0).await, Ok(Completion::Recorded(TaskState::Done)));
}

/// The worker reports while a sweeper takes its lease: one of them wins.
pub async fn a_completion_and_a_lost_lease_never_both_win(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    for _ in 0..10 {
        let id = nodes[0].enqueue(task()).await;
        let attempt = nodes[0].claim_one(SHORT).await.attempt;
        subject.pass(PAST_SHORT).await;
        let (end, swept) = tokio::join!(
            nodes[0].queue.complete(id, attempt, done(), String::new()),
            nodes[1].queue.sweep(5)
        );
        let (end, swept) = (end.expect("answered"), swept.expect("swept"));
        let kept = nodes[2].task(id).await;
        if end == Completion::Stale {
            assert_eq!((swept.returned, kept.state, kept.lost_leases), (vec![id], TaskState::Ready, 1));
            let attempt = nodes[0].claim_one(LONG).await.attempt;
            nodes[0].end(id, attempt, done()).await;
        } else {
            assert_eq!((swept.returned.len(), kept.state, kept.lost_leases), (0, TaskState::Done, 0));
        }
    }
}
