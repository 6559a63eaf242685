//! A store's own steps leave nothing behind that its scan would have to put right. What it does with what others have
//! broken is told beside each store, for each can be broken in its own way.

use std::time::Duration;

use super::given::{LONG, PAST_SHORT, SHORT, commit, done, failed, task};
use super::{FOREVER, Node, Subject};
use crate::queue::order::{Order, OrderKey};
use crate::queue::task::{NewTask, Origin, TaskOutcome};

/// Some in every state, in every way to come there.
async fn one_of_each(subject: &dyn Subject, node: &Node) {
    let queue = &node.queue;
    node.enqueue(NewTask { expires: Some(SHORT), ..task() }).await;
    let cancelled = node.enqueue(NewTask { delay: LONG, ..task() }).await;
    queue.cancel(cancelled).await.expect("cancelled");
    subject.pass(PAST_SHORT).await;
    queue.sweep(5).await.expect("swept");
    let schedule = node.schedule("s").await;
    for outcome in [done(), failed(None), failed(Some(LONG)), TaskOutcome::HandBack] {
        let id = node.enqueue(NewTask { expires: Some(LONG), ..task() }).await;
        let attempt = node.claim_one(LONG).await.attempt;
        node.end(id, attempt, outcome.clone()).await;
        if outcome == TaskOutcome::HandBack {
            queue.cancel(id).await.expect("cancelled");
            queue.retry(id).await.expect("ready again");
            node.claim_one(LONG).await;
        }
        subject.pass(Duration::from_millis(5)).await;
        queue.commit_tick(commit(&node.standing(&schedule.name).await)).await.expect("committed");
        node.claim_one(SHORT).await;
    }
    subject.pass(PAST_SHORT).await;
    // Lost, some for good.
    queue.sweep(0).await.expect("swept");
    node.enqueue(NewTask { delay: SHORT, expires: Some(LONG), ..task() }).await;
    node.enqueue(NewTask { delay: LONG, expires: Some(LONG), ..task() }).await;
    subject.pass(PAST_SHORT).await;
    queue.sweep(5).await.expect("swept");
    queue.commit_tick(commit(&node.standing(&schedule.name).await)).await.expect("committed");
    // In lines: one that runs or waits for its retry, and others behind it.
    for outcome in [None, Some(failed(Some(LONG))), Some(done()), Some(TaskOutcome::HandBack)] {
        let key: OrderKey = format!("{outcome:?}").parse().expect("a key");
        for _ in 0..3 {
            node.enqueue(NewTask { order: Some(Order::new(key.clone(), 1)), ..task() }).await;
        }
        for claimed in node.claim(8, LONG).await {
            if let Some(outcome) = outcome.clone().filter(|_| claimed.origin == Origin::Api) {
                node.end(claimed.id, claimed.attempt, outcome).await;
            }
        }
    }
    node.enqueue(task()).await;
    node.claim(1, LONG).await;
}

/// Whatever happened to tasks before.
pub async fn a_scan_of_what_nobody_broke_finds_nothing(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    assert_eq!(nodes[0].scan(async || ()).await, [], "of an empty store");
    one_of_each(subject, &nodes[0]).await;
    let before = nodes[1].queue.queue_counts().await.expect("read");
    assert_eq!(nodes[1].scan(async || ()).await, []);
    assert_eq!(nodes[2].queue.queue_counts().await.expect("read"), before, "and changes nothing");
}

/// Tasks that move between its pieces are not taken for misplaced, and counted right.
pub async fn a_scan_goes_on_while_others_work(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let tasks: Vec<_> = (0..1_500).map(|_| task()).collect();
    nodes[0].queue.enqueue(tasks).await.expect("enqueued");
    let working = async || {
        nodes[1].enqueue(task()).await;
        nodes[1].enqueue(NewTask { delay: LONG, ..task() }).await;
        let claimed = nodes[1].claim(8, LONG).await;
        for (at, claimed) in claimed.into_iter().enumerate() {
            match at % 4 {
                0 => nodes[1].end(claimed.id, claimed.attempt, done()).await,
                1 => nodes[1].end(claimed.id, claimed.attempt, failed(Some(LONG))).await,
                2 => nodes[1].end(claimed.id, claimed.attempt, TaskOutcome::HandBack).await,
                _ => {}
            }
        }
    };
    assert_eq!(nodes[2].scan(working).await, []);
    assert_eq!(nodes[2].scan(async || ()).await, []);
}
