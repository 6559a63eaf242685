//! How many tasks there are, by queue and state: numbers for people, which must be right all the same.

use super::given::{LONG, PAST_SHORT, SHORT, done, failed, task};
use super::{FOREVER, Node, Subject};
use crate::catalogue::name::QueueName;
use crate::queue::task::{NewTask, TaskOutcome, TaskState};

async fn counted(node: &Node, queue: &QueueName) -> Vec<(TaskState, u64)> {
    let counts = node.queue.queue_counts().await.expect("counted");
    let of = counts.get(queue).cloned().unwrap_or_default();
    let ready = of.tasks.contains_key(&TaskState::Ready);
    assert_eq!(of.oldest_ready.is_some(), ready, "{of:?}");
    of.tasks.into_iter().collect()
}

/// Through all states and ways; other queues are counted for themselves.
pub async fn tasks_are_counted_by_queue_and_state(subject: &dyn Subject) {
    use TaskState::{Cancelled, Dead, Done, Expired, Failed, Leased, Ready, Retry, Scheduled};
    let nodes = subject.fresh(FOREVER).await;
    let (queue, other) = (QueueName::default(), "other".parse::<QueueName>().expect("a name"));
    assert!(counted(&nodes[0], &queue).await.is_empty());
    let before = nodes[0].queue.now().await.expect("read");
    nodes[0].enqueue(NewTask { queue: other.clone(), ..task() }).await;
    let same = task();
    nodes[0].enqueue(same.clone()).await;
    nodes[0].enqueue(same).await;
    nodes[1].enqueue(NewTask { delay: LONG, ..task() }).await;
    assert_eq!(counted(&nodes[2], &queue).await, [(Scheduled, 1), (Ready, 1)]);
    assert_eq!(counted(&nodes[2], &other).await, [(Ready, 1)]);
    let oldest =
        nodes[1].queue.queue_counts().await.expect("counted")[&queue].oldest_ready.expect("one waits");
    assert!(oldest >= before && oldest <= nodes[0].queue.now().await.expect("read"));

    let first = nodes[0].claim_one(LONG).await;
    assert_eq!(counted(&nodes[1], &queue).await, [(Scheduled, 1), (Leased, 1)]);
    nodes[0].end(first.id, first.attempt, TaskOutcome::HandBack).await;
    assert_eq!(counted(&nodes[1], &queue).await, [(Scheduled, 1), (Ready, 1)]);
    let first = nodes[0].claim_one(LONG).await;
    nodes[0].end(first.id, first.attempt, failed(Some(SHORT))).await;
    assert_eq!(counted(&nodes[1], &queue).await, [(Scheduled, 1), (Retry, 1)]);
    subject.pass(PAST_SHORT).await;
    let first = nodes[0].claim_one(SHORT).await;
    assert_eq!(counted(&nodes[1], &queue).await, [(Scheduled, 1), (Leased, 1)]);
    subject.pass(PAST_SHORT).await;
    nodes[2].queue.sweep(0).await.expect("swept");
    assert_eq!(counted(&nodes[1], &queue).await, [(Scheduled, 1), (Dead, 1)]);
    nodes[0].queue.retry(first.id).await.expect("again");
    let first = nodes[0].claim_one(LONG).await;
    nodes[0].end(first.id, first.attempt, done()).await;
    let failing = nodes[0].enqueue(task()).await;
    let attempt = nodes[0].claim_one(LONG).await.attempt;
    nodes[0].end(failing, attempt, failed(None)).await;
    let cancelled = nodes[0].enqueue(task()).await;
    nodes[0].queue.cancel(cancelled).await.expect("cancelled");
    nodes[0].enqueue(NewTask { expires: Some(SHORT), ..task() }).await;
    subject.pass(PAST_SHORT).await;
    nodes[2].queue.sweep(5).await.expect("swept");
    let all = [(Scheduled, 1), (Done, 1), (Failed, 1), (Cancelled, 1), (Expired, 1)];
    assert_eq!(counted(&nodes[1], &queue).await, all);
    assert_eq!(counted(&nodes[2], &other).await, [(Ready, 1)]);
}
