//! A claim is exclusive, whoever else claims.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use super::given::{LONG, claimant, done, task};
use super::{FOREVER, Subject};
use crate::catalogue::name::QueueName;
use crate::queue::task::{Attempt, NewTask, TaskState};
use crate::queue::{Claimant, TaskFilter};

/// Many claimants empty a queue together: every task goes to one of them.
pub async fn competing_claimants_get_every_task_once(subject: &dyn Subject) {
    const TASKS: usize = 300;
    let nodes = subject.fresh(FOREVER).await;
    let tasks: Vec<NewTask> =
        (0..TASKS).map(|n| NewTask { priority: i16::try_from(n % 3).expect("small"), ..task() }).collect();
    let ids: BTreeSet<_> = tasks.iter().map(|task| task.id).collect();
    nodes[0].queue.enqueue(tasks).await.expect("enqueued");

    let claimants = (0..12).map(|n| {
        let (queue, who) = (nodes[n % nodes.len()].queue.clone(), claimant(&format!("worker-{n}")));
        async move {
            let mut got = Vec::new();
            loop {
                let claimed = queue.claim(&who, 1 + n as u32 % 5, LONG).await.expect("claimed");
                if claimed.is_empty() {
                    return got;
                }
                for task in claimed {
                    assert_eq!(task.attempt, Attempt(1), "nobody had it before");
                    got.push(task.id);
                }
            }
        }
    });
    let got: Vec<_> = join_all(claimants).await.into_iter().flatten().collect();
    assert_eq!(got.len(), TASKS, "none twice");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), ids, "none lost");
    let leased = TaskFilter { state: Some(TaskState::Leased), limit: 1_000, ..TaskFilter::default() };
    let leased = nodes[1].queue.tasks(&leased).await.expect("read");
    assert_eq!(leased.len(), TASKS);
    assert!(leased.iter().all(|task| task.node.as_ref().is_some_and(|node| node.starts_with("worker-"))));
}

/// The claim carries what the worker needs, and the record says who has it.
pub async fn a_claim_takes_no_more_than_asked_and_tells_all(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let given = task();
    nodes[0].enqueue(given.clone()).await;
    nodes[0].enqueue(NewTask { priority: -1, ..task() }).await;
    assert!(nodes[1].claim(0, LONG).await.is_empty(), "none is none");
    let claimed = nodes[1].claim(1, LONG).await;
    assert_eq!(claimed.len(), 1);
    let claimed = &claimed[0];
    assert_eq!((claimed.id, &claimed.function, &claimed.input), (given.id, &given.function, &given.input));
    assert_eq!((&claimed.content_type, &claimed.origin), (&given.content_type, &given.origin));
    assert_eq!((claimed.failures, claimed.retries, claimed.reply_to.as_str()), (0, 3, "asker"));

    let kept = nodes[2].task(given.id).await;
    assert_eq!((kept.state, kept.attempts, kept.node.as_deref()), (TaskState::Leased, 1, Some("worker")));
    assert!(kept.started_at.expect("it has begun") >= kept.created_at);
    nodes[1].end(given.id, claimed.attempt, done()).await;
    assert_eq!(nodes[1].claim(8, LONG).await.len(), 1, "the other one, and nothing that has ended");
}

/// Anybody may name a queue: that others fill queues with earlier names must not keep one from its turn.
pub async fn a_queue_gets_its_turn_however_many_have_earlier_names(subject: &dyn Subject) {
    const QUEUES: usize = 600;
    let nodes = subject.fresh(FOREVER).await;
    let of = |queue: QueueName| NewTask { queue, ..task() };
    let late = nodes[0].enqueue(of("zzz".parse().expect("a name"))).await;
    subject.pass(Duration::from_millis(5)).await;
    let early: Vec<QueueName> = (0..QUEUES).map(|n| format!("q{n:03}").parse().expect("a name")).collect();
    nodes[0].queue.enqueue(early.iter().cloned().map(of).collect()).await.expect("enqueued");
    let who = Claimant { node: "worker".to_owned(), queues: Vec::new() };
    for turn in 0..8 {
        let node = &nodes[turn % nodes.len()];
        let claimed = node.queue.claim(&who, 1, LONG).await.expect("claimed").remove(0);
        if claimed.id == late {
            return;
        }
        // Its queue never runs dry.
        let queue = node.task(claimed.id).await.queue;
        node.enqueue(of(queue)).await;
    }
    panic!("the oldest task has not had its turn");
}
