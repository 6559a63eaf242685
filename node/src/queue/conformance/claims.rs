//! A claim is exclusive, whoever else claims.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::given::{LONG, claimant, done, task};
use super::{FOREVER, Subject};
use crate::catalogue::name::QueueName;
use crate::queue::fair::Shares;
use crate::queue::task::{Attempt, NewTask, TaskState};
use crate::queue::{Claimant, MOST_LEFT_OUT, TaskFilter};

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
    // Each queue once is 19 claims of 32; that a store looks at some of the queues at a time costs a few more.
    let mut shares = Shares::default();
    for turn in 0..40 {
        let node = &nodes[turn % nodes.len()];
        let who = Claimant { passes: shares.passes(&BTreeMap::new()), ..Claimant::new("worker") };
        let claimed = node.queue.claim(&who, 32, LONG).await.expect("claimed");
        if claimed.iter().any(|task| task.id == late) {
            return;
        }
        shares.served(who.passes, claimed.iter().map(|task| &task.queue));
    }
    panic!("the last queue has not had its turn");
}

/// A function that is full on one node is in nobody's way: what waits behind its tasks is found, and they
/// stay untouched for other nodes.
pub async fn a_claim_takes_of_a_function_what_its_claimant_has_room_for(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let of = |name: &str| NewTask { function: name.parse().expect("a name"), ..task() };
    let with_room = |room: &[(&str, u32)]| Claimant {
        at_most: room.iter().map(|(name, most)| (name.parse().expect("a name"), *most)).collect(),
        ..claimant("worker")
    };
    let mut narrow = Vec::new();
    for _ in 0..12 {
        narrow.push(nodes[0].enqueue(NewTask { priority: 1, ..of("narrow") }).await);
    }
    let behind = nodes[0].enqueue(of("wide")).await;

    let queue = &nodes[1].queue;
    let full = with_room(&[("narrow", 0), ("absent", 0)]);
    assert_eq!(queue.next_ready(&full).await, Ok(Some(Duration::ZERO)));
    let claimed = queue.claim(&full, 4, LONG).await.expect("claimed");
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [behind]);
    assert_eq!(queue.next_ready(&full).await, Ok(None), "nothing that it could claim");
    assert!(queue.claim(&full, 4, LONG).await.expect("claimed").is_empty());

    // More functions than a store is asked to pass over: none of their tasks is taken even so.
    let many = (0..2 * MOST_LEFT_OUT).map(|n| (format!("full-{n}"), 0)).collect::<Vec<_>>();
    let many: Vec<_> =
        many.iter().map(|(name, most)| (name.as_str(), *most)).chain([("narrow", 0)]).collect();
    assert!(queue.claim(&with_room(&many), 4, LONG).await.expect("claimed").is_empty());

    let room_for_two = with_room(&[("narrow", 2)]);
    assert_eq!(queue.next_ready(&room_for_two).await, Ok(Some(Duration::ZERO)));
    let mut taken = queue.claim(&room_for_two, 8, LONG).await.expect("claimed");
    assert_eq!(taken.len(), 2);
    taken.extend(nodes[2].claim(32, LONG).await);
    assert!(taken.iter().all(|task| task.attempt == Attempt(1)), "they had been left alone");
    assert_eq!(taken.iter().map(|task| task.id).collect::<BTreeSet<_>>(), narrow.into_iter().collect());
}

/// The inputs of a claim fit into what the claimant has memory for, and the order stays.
pub async fn a_claim_ends_before_its_inputs_are_too_long(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    for (urgency, length) in [40, 50, 20, 1, 900, 0, 0, 7].into_iter().enumerate() {
        let priority = -i16::try_from(urgency).expect("small");
        nodes[0].enqueue(NewTask { priority, input: vec![b'x'; length].into(), ..task() }).await;
    }
    let who = Claimant { input_bytes: 100, ..claimant("worker") };
    let mut claims = Vec::new();
    loop {
        let claimed = nodes[1].queue.claim(&who, 8, LONG).await.expect("claimed");
        if claimed.is_empty() {
            break;
        }
        claims.push(claimed.iter().map(|task| task.input.len()).collect::<Vec<_>>());
    }
    assert_eq!(claims, [vec![40, 50], vec![20, 1], vec![900], vec![0, 0, 7]], "one is always taken");
}
