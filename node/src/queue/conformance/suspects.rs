//! A task that may be what takes down its workers runs apart from others of which the same may be said:
//! else those lose their leases together with it until they are buried with it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::given::{LONG, PAST_SHORT, SHORT, claimant, failed, task};
use super::{FOREVER, Node, Subject};
use crate::queue::Claimant;
use crate::queue::task::{NewTask, TaskId};

/// As many tasks, each of which has lost `lost_leases` leases, oldest first.
async fn unlucky(subject: &dyn Subject, node: &Node, count: usize, lost_leases: usize) -> Vec<TaskId> {
    // More urgent than what others claim meanwhile, so that they come first later.
    let tasks: Vec<_> = (0..count).map(|_| NewTask { priority: 1, ..task() }).collect();
    let ids = tasks.iter().map(|task| task.id).collect();
    node.queue.enqueue(tasks).await.expect("enqueued");
    for _ in 0..lost_leases {
        assert_eq!(node.claim(u32::try_from(count).expect("few"), SHORT).await.len(), count);
        subject.pass(PAST_SHORT).await;
        assert_eq!(node.queue.sweep(5).await.expect("swept").returned.len(), count);
    }
    ids
}

async fn claimed(node: &Node, who: &Claimant, most: u32) -> BTreeSet<TaskId> {
    let claimed = node.queue.claim(who, most, LONG).await.expect("claimed");
    claimed.into_iter().map(|task| task.id).collect()
}

/// Each claim brings one of them, and besides it whatever is no suspect.
pub async fn suspects_are_claimed_one_at_a_time(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let suspects = unlucky(subject, &nodes[0], 3, 2).await;
    let who = Claimant {
        suspect_from: 2,
        // What is left out does not count against its function.
        at_most: [("f".parse().expect("a name"), 2)].into(),
        ..claimant("worker")
    };
    let nearly = nodes[0].enqueue(task()).await;
    let first = nodes[1].queue.claim(&who, 8, LONG).await.expect("claimed");
    assert_eq!(first.iter().map(|task| task.lost_leases).collect::<Vec<_>>(), [2, 0], "the claim tells");
    assert_eq!(first[1].id, nearly);
    let mut seen: BTreeSet<_> = [first[0].id].into();
    for left in [2, 1] {
        assert_eq!(nodes[2].queue.next_ready(&who).await, Ok(Some(Duration::ZERO)), "{left} wait");
        let next = claimed(&nodes[2], &who, 8).await;
        assert_eq!(next.len(), 1, "{next:?}");
        seen.extend(next);
    }
    assert_eq!(seen, suspects.into_iter().collect());
    assert_eq!(nodes[0].queue.next_ready(&who).await, Ok(None));

    // One lease less, and they are like all others.
    let ids = unlucky(subject, &nodes[0], 2, 1).await;
    assert_eq!(claimed(&nodes[1], &who, 8).await, ids.into_iter().collect());
}

/// Whoever has one finds what waits behind further ones, which stay untouched for other nodes, and is not
/// kept awake by them.
pub async fn who_has_a_suspect_gets_all_but_suspects(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let queue = &nodes[1].queue;
    let may_take = Claimant { suspect_from: 1, ..claimant("worker") };
    let has_one = Claimant { takes_suspect: false, ..may_take.clone() };
    let suspects: BTreeSet<_> = unlucky(subject, &nodes[0], 4, 1).await.into_iter().collect();
    assert_eq!(queue.next_ready(&has_one).await, Ok(None), "nothing that it could claim");
    assert!(claimed(&nodes[1], &has_one, 8).await.is_empty());
    assert_eq!(queue.next_ready(&may_take).await, Ok(Some(Duration::ZERO)));

    let behind = nodes[0].enqueue(task()).await;
    assert_eq!(queue.next_ready(&has_one).await, Ok(Some(Duration::ZERO)));
    assert_eq!(claimed(&nodes[1], &has_one, 2).await, [behind].into(), "more are before it than it asks for");
    assert_eq!(queue.next_ready(&has_one).await, Ok(None));

    // One that waits for its next attempt is still a suspect.
    let one = queue.claim(&may_take, 8, LONG).await.expect("claimed").remove(0);
    nodes[1].end(one.id, one.attempt, failed(Some(LONG))).await;
    assert_eq!(queue.next_ready(&has_one).await, Ok(None));
    let trusting = claimed(&nodes[2], &claimant("trusting"), 8).await;
    assert_eq!(trusting.len(), 3, "who suspects nothing takes them all");
    assert!(trusting.is_subset(&suspects));
    let next = queue.next_ready(&may_take).await.expect("read").expect("one waits");
    assert!(!next.is_zero() && next <= LONG, "{next:?}");
}
