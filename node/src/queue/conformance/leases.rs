//! A lease holds while it is renewed; lost, it goes to another worker, a bounded number of times (Q2, Q5).

use std::time::Duration;

use futures_util::future::join_all;

use super::given::{LONG, PAST_SHORT, SHORT, claimant, done, task};
use super::{FOREVER, Node, Subject};
use crate::queue::Swept;
use crate::queue::task::{Attempt, Claimed, Completion, TaskId, TaskState};

/// Renewal counts from now, for the current attempt only.
pub async fn a_renewed_lease_is_kept(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let claimed = nodes[0].claim_one(SHORT).await;
    let other = (super::given::task().id, Attempt(1));
    let lost = nodes[0].queue.renew(&[(id, claimed.attempt), other], LONG).await.expect("renewed");
    assert_eq!(lost, [other.0], "only what it does not hold");
    let lost = nodes[0].queue.renew(&[(id, Attempt(2))], SHORT).await.expect("renewed");
    assert_eq!(lost, [id], "another attempt has no lease here");
    assert!(nodes[0].queue.renew(&[], LONG).await.expect("renewed").is_empty());
    subject.pass(PAST_SHORT).await;
    let swept = nodes[1].queue.sweep(5).await.expect("swept");
    assert!(swept.returned.is_empty() && swept.dead.is_empty(), "{swept:?}");
    nodes[0].end(id, claimed.attempt, done()).await;
}

/// The attempt is the token: whoever lost the lease can neither renew nor complete.
pub async fn a_lost_lease_returns_the_task_and_refuses_its_old_worker(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    let old = nodes[0].claim_one(SHORT).await;
    subject.pass(PAST_SHORT).await;
    let swept = nodes[2].queue.sweep(5).await.expect("swept");
    assert_eq!((swept.returned, swept.dead.len()), (vec![id], 0));
    let returned = nodes[2].task(id).await;
    assert_eq!((returned.state, returned.lost_leases, returned.failures), (TaskState::Ready, 1, 0));

    let stale = nodes[0].queue.complete(id, old.attempt, done(), String::new()).await;
    assert_eq!(stale, Ok(Completion::Stale), "it waits for another worker");
    let new = nodes[1].claim_one(LONG).await;
    assert_eq!(new.attempt, Attempt(2));
    let stale = nodes[0].queue.complete(id, old.attempt, done(), String::new()).await;
    assert_eq!(stale, Ok(Completion::Stale), "another worker has it");
    assert_eq!(nodes[0].queue.renew(&[(id, old.attempt)], LONG).await, Ok(vec![id]));
    assert_eq!(nodes[0].state(id).await, TaskState::Leased, "the new worker's lease stands");
    nodes[1].end(id, new.attempt, done()).await;
    let stale = nodes[0].queue.complete(id, old.attempt, done(), String::new()).await;
    assert_eq!(stale, Ok(Completion::Stale), "it has ended");
}

/// A task that kills its workers is put aside after `most_lost` losses.
pub async fn too_many_lost_leases_bury_a_task(subject: &dyn Subject) {
    const MOST_LOST: u32 = 2;
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    for loss in 1..=MOST_LOST + 1 {
        let claimed = nodes[0].claim_one(SHORT).await;
        assert_eq!(claimed.attempt, Attempt(loss));
        subject.pass(PAST_SHORT).await;
        let swept = nodes[1].queue.sweep(MOST_LOST).await.expect("swept");
        let buried = loss > MOST_LOST;
        assert_eq!((swept.returned.contains(&id), swept.dead.contains(&id)), (!buried, buried));
    }
    let task = nodes[2].task(id).await;
    assert_eq!(
        (task.state, task.attempts, task.lost_leases),
        (TaskState::Dead, MOST_LOST + 1, MOST_LOST + 1)
    );
    assert!(task.finished_at.is_some());
    assert!(nodes[0].claim(8, LONG).await.is_empty());

    assert_eq!(nodes[0].queue.retry(id).await, Ok(Some(TaskState::Ready)));
    let claimed = nodes[0].claim_one(LONG).await;
    assert_eq!(claimed.attempt, Attempt(MOST_LOST + 2), "an attempt is never counted twice");
    assert_eq!(nodes[0].task(id).await.lost_leases, 0, "a person has looked: it starts afresh");
}

/// Everybody sweeps; each loss is counted once.
pub async fn one_of_many_sweepers_returns_a_task(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let id = nodes[0].enqueue(task()).await;
    nodes[0].claim_one(SHORT).await;
    subject.pass(PAST_SHORT).await;
    let sweeps = join_all(nodes.iter().cycle().take(9).map(|node| node.queue.sweep(5))).await;
    let returned: Vec<_> = sweeps.into_iter().flat_map(|swept| swept.expect("swept").returned).collect();
    assert_eq!(returned, [id]);
    assert_eq!(nodes[0].task(id).await.lost_leases, 1);
}

/// The task was not at fault: who came later waits behind it, as before.
pub async fn a_task_whose_lease_was_lost_keeps_its_place(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let old = nodes[0].enqueue(task()).await;
    subject.pass(Duration::from_millis(5)).await;
    let young = nodes[0].enqueue(task()).await;
    assert_eq!(nodes[0].claim(1, SHORT).await[0].id, old);
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[1].queue.sweep(5).await.expect("swept").returned, [old]);
    let claimed: Vec<_> = nodes[1].claim(2, LONG).await.into_iter().map(|task| task.id).collect();
    assert_eq!(claimed, [old, young]);
}

/// Two witnesses: it is said to be dead, and it has not renewed. One alone takes nothing away.
pub async fn leases_of_a_dead_worker_are_taken_away_unless_it_renews(subject: &dyn Subject) {
    const LEASE: Duration = Duration::from_millis(10_000);
    let silent = Duration::from_millis(60);
    let nodes = subject.fresh(FOREVER).await;
    let claim = async |worker: &str| {
        let id = nodes[0].enqueue(task()).await;
        let claimed = nodes[0].queue.claim(&claimant(worker), 8, LEASE).await.expect("claimed").remove(0);
        assert_eq!(claimed.id, id);
        claimed
    };
    let (dead, seems_dead, other) = (claim("dead").await, claim("seems-dead").await, claim("other").await);
    let workers = ["dead".to_owned(), "seems-dead".to_owned()];
    let nothing =
        nodes[1].queue.reclaim(&workers, LEASE, Duration::from_secs(5), 5).await.expect("reclaimed");
    assert_eq!(nothing, Swept::default(), "all have just been claimed");
    subject.pass(Duration::from_millis(100)).await;
    let renewed = nodes[2].queue.renew(&[(seems_dead.id, seems_dead.attempt)], LEASE).await;
    assert_eq!(renewed, Ok(vec![]));
    let none = nodes[1].queue.reclaim(&[], LEASE, silent, 5).await.expect("reclaimed");
    assert_eq!(none, Swept::default(), "nobody is said to be dead");
    let taken = nodes[1].queue.reclaim(&workers, LEASE, silent, 5).await.expect("reclaimed");
    assert_eq!((taken.returned, taken.dead), (vec![dead.id], vec![]));
    for held in [&seems_dead, &other] {
        nodes[0].end(held.id, held.attempt, done()).await;
    }
    let stale = nodes[0].queue.complete(dead.id, dead.attempt, done(), String::new()).await;
    assert_eq!(stale, Ok(Completion::Stale));
    let again = claim_one_of(&nodes[1], dead.id).await;
    assert_eq!((again.attempt, again.lost_leases), (Attempt(2), 1), "it may be what killed its worker");

    subject.pass(Duration::from_millis(100)).await;
    let taken = nodes[1].queue.reclaim(&["worker".to_owned()], LEASE, silent, 1).await.expect("reclaimed");
    assert_eq!((taken.returned, taken.dead), (vec![], vec![dead.id]), "and then too often");
}

async fn claim_one_of(node: &Node, id: TaskId) -> Claimed {
    let claimed = node.claim_one(Duration::from_secs(10)).await;
    assert_eq!(claimed.id, id);
    claimed
}
