//! An acknowledged task is there, whole, for everybody, once (Q1).

use futures_util::future::join_all;

use super::given::{LONG, done, task};
use super::{FOREVER, Subject};
use crate::queue::task::{NewTask, Origin, TaskId, TaskState};
use crate::queue::{TaskFilter, TaskQueue};

/// What one node stored, every other reads back as it was given.
pub async fn a_task_is_there_for_every_node(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let before = nodes[0].queue.now().await.expect("the clock is read");
    let origin = Origin::Trigger { schedule: "s".parse().expect("a name") };
    let given = NewTask { priority: -7, delay: LONG, expires: Some(2 * LONG), origin, ..task() };
    let id = nodes[0].enqueue(given.clone()).await;
    for node in &nodes {
        let kept = node.task(id).await;
        assert_eq!((kept.id, &kept.function, &kept.queue), (id, &given.function, &given.queue));
        assert_eq!((kept.state, kept.priority, kept.retries), (TaskState::Scheduled, -7, 3));
        assert_eq!((kept.attempts, kept.failures, kept.lost_leases), (0, 0, 0));
        assert_eq!(kept.origin, given.origin);
        assert!(kept.created_at >= before, "the store's clock");
        assert_eq!(kept.ready_at, kept.created_at.plus(LONG));
        assert_eq!(kept.expires_at, Some(kept.created_at.plus(2 * LONG)));
        assert_eq!((kept.node, kept.started_at, kept.finished_at), (None, None, None));
        assert_eq!((kept.output, kept.error, kept.log_tail), (None, None, None));
    }
    let other = TaskId(uuid::Uuid::from_u128(1));
    assert_eq!(nodes[0].queue.task(other).await, Ok(None), "no other task is there");
}

/// A repeated request is the same request: waiting, running or ended, the task stays as it is.
pub async fn the_same_id_again_changes_nothing(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let first = task();
    let again = NewTask { priority: 9, delay: LONG, retries: 0, ..first.clone() };
    let concurrently = nodes.iter().cycle().take(8).map(|node| node.queue.enqueue(vec![first.clone()]));
    join_all(concurrently).await.into_iter().for_each(|outcome| assert_eq!(outcome, Ok(vec![])));
    nodes[1].enqueue(again.clone()).await;

    let claimed = nodes[2].claim_one(LONG).await;
    assert_eq!(claimed.retries, first.retries, "the first one counts");
    nodes[1].enqueue(again.clone()).await;
    assert_eq!(nodes[0].state(first.id).await, TaskState::Leased);
    assert!(nodes[0].claim(8, LONG).await.is_empty());

    nodes[2].end(first.id, claimed.attempt, done()).await;
    let new = task();
    nodes[1].queue.enqueue(vec![again, new.clone()]).await.expect("enqueued");
    assert_eq!(nodes[0].state(first.id).await, TaskState::Done);
    assert_eq!(nodes[0].claim_one(LONG).await.id, new.id, "the others of its batch are stored");
}

/// One key names one task (Q3): another one under it is refused, together with its batch, whatever has become of the
/// first one meanwhile.
pub async fn another_task_under_a_known_id_is_refused(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let first = task();
    nodes[0].enqueue(first.clone()).await;
    let others = [
        NewTask { input: "other".into(), ..first.clone() },
        NewTask { input: "".into(), ..first.clone() },
        NewTask { content_type: "text/plain".to_owned(), ..first.clone() },
        NewTask { function: "g".parse().expect("a name"), ..first.clone() },
    ];
    let refused = Ok(vec![first.id]);
    for other in &others {
        assert_eq!(nodes[1].queue.enqueue(vec![other.clone()]).await, refused);
        assert_eq!(nodes[1].queue.enqueue(vec![task(), other.clone(), task()]).await, refused);
    }
    let claimed = nodes[2].claim_one(LONG).await;
    assert_eq!((claimed.id, &claimed.input), (first.id, &first.input), "nothing else was stored");
    nodes[2].end(first.id, claimed.attempt, done()).await;
    assert_eq!(nodes[0].queue.enqueue(vec![others[0].clone()]).await, refused);
    assert_eq!(nodes[0].queue.enqueue(vec![first.clone()]).await, Ok(vec![]), "the same one is known");
    assert!(nodes[0].claim(8, LONG).await.is_empty());

    // Of two that come in the same moment one is there, and the other is told.
    for _ in 0..8 {
        let (one, other) = (task(), vec![b'x'; 10]);
        let other = NewTask { input: other.into(), ..one.clone() };
        let both =
            tokio::join!(nodes[0].queue.enqueue(vec![one.clone()]), nodes[1].queue.enqueue(vec![other]));
        let kept = nodes[2].claim_one(LONG).await;
        let is_one = kept.input == one.input;
        let (winner, loser) = if is_one { both } else { (both.1, both.0) };
        assert_eq!(winner, Ok(vec![]));
        assert!(loser != Ok(vec![]), "{loser:?}");
    }
}

/// Nobody ever reads a part of a batch.
pub async fn a_batch_is_seen_whole_or_not_at_all(subject: &dyn Subject) {
    const BATCH: usize = 40;
    const BATCHES: usize = 10;
    let nodes = subject.fresh(FOREVER).await;
    let writing = async {
        for _ in 0..BATCHES {
            let batch: Vec<_> = (0..BATCH).map(|_| task()).collect();
            nodes[0].queue.enqueue(batch).await.expect("enqueued");
        }
    };
    let reading = async {
        loop {
            let seen = count(&*nodes[1].queue).await;
            assert_eq!(seen % BATCH, 0, "a part of a batch was seen");
            if seen == BATCH * BATCHES {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
}

async fn count(queue: &dyn TaskQueue) -> usize {
    queue.tasks(&TaskFilter { limit: 1_000, ..TaskFilter::default() }).await.expect("read").len()
}
