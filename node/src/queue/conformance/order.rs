//! Which task a claim takes: urgent before patient, old before young, due, not expired, of the right queue.

use std::time::Duration;

use super::given::{LONG, PAST_SHORT, SHORT, claimant, task};
use super::{FOREVER, Subject};
use crate::catalogue::name::QueueName;
use crate::queue::Claimant;
use crate::queue::task::{NewTask, TaskState};

/// Priority decides; among equals, who waits longest.
pub async fn the_most_urgent_comes_first_then_the_oldest(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let mut expected = Vec::new();
    for priority in [0, 5, -5, 0, 5, i16::MAX, i16::MIN, 0] {
        let id = nodes[0].enqueue(NewTask { priority, ..task() }).await;
        expected.push((std::cmp::Reverse(priority), expected.len(), id));
        // Age is counted in milliseconds: a step between two tasks makes them differ.
        subject.pass(Duration::from_millis(3)).await;
    }
    expected.sort();
    let mut claimed = Vec::new();
    for most in [1, 3, 4] {
        let some = nodes[1].claim(most, LONG).await;
        assert_eq!(some.len(), most as usize);
        claimed.extend(some.into_iter().map(|task| task.id));
    }
    assert_eq!(claimed, expected.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>());
}

/// Not before its delay has passed, and `next_ready` tells when that is.
pub async fn a_delayed_task_waits_for_its_time(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let who = claimant("worker");
    assert_eq!(nodes[0].queue.next_ready(&who).await, Ok(None));

    let late = nodes[0].enqueue(NewTask { delay: LONG, ..task() }).await;
    let next = nodes[1].queue.next_ready(&who).await.expect("read").expect("one waits");
    assert!(next > LONG / 2 && next <= LONG, "{next:?}");
    assert!(nodes[1].claim(8, LONG).await.is_empty());
    assert_eq!(nodes[1].state(late).await, TaskState::Scheduled);

    let soon = nodes[0].enqueue(NewTask { delay: SHORT, priority: -1, ..task() }).await;
    let next = nodes[1].queue.next_ready(&who).await.expect("read").expect("two wait");
    assert!(next <= SHORT, "{next:?}");
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[1].queue.next_ready(&who).await, Ok(Some(Duration::ZERO)));
    assert_eq!(nodes[1].claim_one(LONG).await.id, soon);
    assert!(nodes[1].queue.next_ready(&who).await.expect("read").expect("one waits") > LONG / 2);
}

/// Too late is too late, whether somebody has swept or not; and it does not keep workers awake.
pub async fn a_task_that_nobody_began_in_time_expires(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let who = claimant("worker");
    let ready = nodes[0].enqueue(NewTask { expires: Some(SHORT), priority: 9, ..task() }).await;
    let waiting = nodes[0].enqueue(NewTask { expires: Some(SHORT), delay: LONG, ..task() }).await;
    let begun = nodes[0].enqueue(NewTask { expires: Some(LONG), ..task() }).await;
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[1].claim_one(LONG).await.id, begun, "what has expired is in nobody's way");
    assert_eq!(nodes[1].queue.next_ready(&who).await, Ok(None), "nothing may ever be claimed");

    let swept = nodes[2].queue.sweep(5).await.expect("swept");
    assert_eq!((swept.expired, swept.returned.len(), swept.dead.len()), (2, 0, 0));
    for id in [ready, waiting] {
        let task = nodes[0].task(id).await;
        assert_eq!((task.state, task.attempts), (TaskState::Expired, 0));
        assert!(task.finished_at.is_some());
    }
    assert_eq!(nodes[0].queue.sweep(5).await.expect("swept").expired, 0);
    assert_eq!(nodes[0].state(begun).await, TaskState::Leased);
}

/// Other queues' tasks are not there for a claimant.
pub async fn a_claimant_gets_tasks_of_its_queues_only(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let queue = |name: &str| -> QueueName { name.parse().expect("a name") };
    let [red, green, blue] = ["red", "green", "blue"].map(queue);
    let in_red = nodes[0].enqueue(NewTask { queue: red.clone(), ..task() }).await;
    let in_blue = nodes[0].enqueue(NewTask { queue: blue.clone(), priority: 9, ..task() }).await;
    let of = |queues: &[&QueueName]| Claimant {
        queues: queues.iter().map(|queue| (*queue).clone()).collect(),
        ..Claimant::new("worker")
    };
    // Naming no queue means all of them: it comes last, and gets what the others left.
    for (queues, expected) in [
        (vec![&green], None),
        (vec![&green, &red], Some(in_red)),
        (vec![&red], None),
        (vec![], Some(in_blue)),
    ] {
        let who = of(&queues);
        let next = nodes[1].queue.next_ready(&who).await.expect("read");
        assert_eq!(next, expected.map(|_| Duration::ZERO));
        let claimed = nodes[1].queue.claim(&who, 8, LONG).await.expect("claimed");
        assert_eq!(claimed.first().map(|task| task.id), expected);
    }
    assert_eq!(nodes[1].state(in_blue).await, TaskState::Leased);
}
