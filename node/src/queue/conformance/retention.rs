//! What has ended is forgotten after a while, a bounded piece at a time, and nothing else ever is.

use std::time::Duration;

use super::given::{LONG, commit, done, failed, task};
use super::{FOREVER, Subject};
use crate::queue::TaskFilter;
use crate::queue::task::NewTask;

/// Only what has ended, only after its time.
pub async fn what_has_ended_is_forgotten_and_what_waits_is_not(subject: &dyn Subject) {
    let keep = Duration::from_millis(300);
    let nodes = subject.fresh(keep).await;
    let ended = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    nodes[0].end(ended, attempt, done()).await;
    let retried = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    nodes[0].end(retried, attempt, failed(Some(LONG))).await;
    let leased = nodes[0].enqueue(task()).await;
    nodes[0].claim_one(LONG).await;
    let delayed = nodes[0].enqueue(NewTask { delay: LONG, ..task() }).await;
    let ready = nodes[0].enqueue(task()).await;
    let schedule = nodes[0].schedule("s").await;
    subject.pass(Duration::from_millis(5)).await;
    let state = nodes[0].standing(&schedule.name).await;
    nodes[0].queue.commit_tick(commit(&state)).await.expect("committed");

    subject.pass(keep + Duration::from_millis(50)).await;
    nodes[1].queue.sweep(5).await.expect("swept");
    assert_eq!(nodes[2].queue.task(ended).await, Ok(None));
    assert!(nodes[2].ledger(&schedule.name).await.is_empty());
    for id in [retried, leased, delayed, ready] {
        assert_eq!(nodes[2].queue.task(id).await.expect("read").map(|task| task.id), Some(id));
    }
    let after = nodes[2].standing(&schedule.name).await;
    assert_eq!(after.cursor.0, state.cursor.0 + 1, "the cursor outlives the ledger");
}

/// However much has piled up, sweeping again and again forgets it all.
pub async fn a_backlog_of_ended_tasks_is_worked_off(subject: &dyn Subject) {
    let keep = Duration::from_millis(1);
    let nodes = subject.fresh(keep).await;
    let tasks: Vec<_> = (0..1_500).map(|_| NewTask { expires: Some(keep), delay: LONG, ..task() }).collect();
    nodes[0].queue.enqueue(tasks).await.expect("enqueued");
    let waits = nodes[0].enqueue(NewTask { delay: LONG, ..task() }).await;
    for sweeps in 0.. {
        subject.pass(Duration::from_millis(5)).await;
        nodes[0].queue.sweep(5).await.expect("swept");
        let all = TaskFilter { limit: 8, ..TaskFilter::default() };
        let left = nodes[1].queue.tasks(&all).await.expect("read");
        if left.len() == 1 && left[0].id == waits {
            break;
        }
        assert!(sweeps < 100, "it does not get less");
    }
    let kept = subject.fresh(FOREVER).await;
    let id = kept[0].enqueue(task()).await;
    kept[0].queue.cancel(id).await.expect("cancelled");
    subject.pass(Duration::from_millis(5)).await;
    kept[0].queue.sweep(5).await.expect("swept");
    assert!(kept[0].queue.task(id).await.expect("read").is_some(), "kept as long as it was asked for");
}

/// Also when they are younger than that; in the order of their ends, whatever end that was.
pub async fn of_too_many_that_have_ended_the_oldest_are_forgotten(subject: &dyn Subject) {
    const MOST: usize = 5;
    let nodes = subject.fresh_with(FOREVER, MOST as u32).await;
    let waits = nodes[0].enqueue(NewTask { delay: LONG, ..task() }).await;
    let mut ended = Vec::new();
    for number in 0..3 * MOST {
        let id = nodes[0].enqueue(task()).await;
        if number % 3 == 0 {
            nodes[0].queue.cancel(id).await.expect("cancelled");
        } else {
            let attempt = nodes[0].claim_one(LONG).await.attempt;
            nodes[0].end(id, attempt, if number % 3 == 1 { done() } else { failed(None) }).await;
        }
        ended.push(id);
        subject.pass(Duration::from_millis(3)).await;
    }
    let leased = nodes[0].enqueue(task()).await;
    nodes[0].claim_one(LONG).await;
    // Several at once forget no more than one does.
    let (one, other) = tokio::join!(nodes[1].queue.sweep(5), nodes[2].queue.sweep(5));
    one.and(other).expect("swept");
    for (place, id) in ended.iter().enumerate() {
        let is_kept = nodes[0].queue.task(*id).await.expect("read").is_some();
        assert_eq!(is_kept, place >= ended.len() - MOST, "the {place}th of {}", ended.len());
    }
    for id in [waits, leased] {
        assert!(nodes[0].queue.task(id).await.expect("read").is_some(), "what has not ended does not count");
    }
    let kept: u64 =
        nodes[1].queue.queue_counts().await.expect("read").values().flat_map(|of| of.tasks.values()).sum();
    assert_eq!(kept, MOST as u64 + 2);
}
