//! Which queue is served next, and how many tasks may run at once in the whole mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::given::{LONG, PAST_SHORT, SHORT, done, failed, task};
use super::{FOREVER, Node, Subject};
use crate::catalogue::name::{FunctionName, QueueName};
use crate::queue::fair::Shares;
use crate::queue::task::{Claimed, NewTask};
use crate::queue::{Claimant, Limits};

fn queue(name: &str) -> QueueName {
    name.parse().expect("a name")
}

fn function(name: &str) -> FunctionName {
    name.parse().expect("a name")
}

async fn fill(node: &Node, name: &str, count: usize) {
    let tasks = (0..count).map(|_| NewTask { queue: queue(name), ..task() }).collect();
    assert_eq!(node.queue.enqueue(tasks).await, Ok(vec![]));
}

/// Each queue that has work gets its share, whether a claim takes one task or many, and priorities count within a
/// queue only.
pub async fn queues_are_served_by_their_weights(subject: &dyn Subject) {
    let weights: BTreeMap<_, _> = [(queue("one"), 1), (queue("three"), 3)].into();
    for most in [1, 7] {
        let nodes = subject.fresh(FOREVER).await;
        fill(&nodes[0], "one", 40).await;
        fill(&nodes[0], "three", 60).await;
        let urgent = NewTask { queue: queue("one"), priority: 9, ..task() };
        let first = nodes[0].enqueue(urgent).await;
        let mut shares = Shares::default();
        let mut got: BTreeMap<QueueName, usize> = BTreeMap::new();
        let mut of_one = Vec::new();
        while got.values().sum::<usize>() < 56 {
            let who = Claimant { passes: shares.passes(&weights), ..Claimant::new("worker") };
            let claimed = nodes[1].queue.claim(&who, most, LONG).await.expect("claimed");
            assert_eq!(claimed.len(), most as usize);
            shares.served(who.passes, claimed.iter().map(|task| &task.queue));
            for task in &claimed {
                *got.entry(task.queue.clone()).or_default() += 1;
            }
            of_one.extend(claimed.iter().filter(|task| task.queue == queue("one")).map(|task| task.id));
        }
        assert!(
            got[&queue("one")].abs_diff(14) <= 1 && got[&queue("three")].abs_diff(42) <= 1,
            "{most}: {got:?}"
        );
        assert_eq!(of_one.first(), Some(&first), "the urgent one comes first of its queue");
    }
}

async fn claim(node: &Node, limits: &Limits, most: u32, lease: Duration) -> Vec<Claimed> {
    let who = Claimant { limits: limits.clone(), ..Claimant::new("worker") };
    node.queue.claim(&who, most, lease).await.expect("claimed")
}

/// However many claim, no more run than the limit says; each end makes room for one more, however it ends.
pub async fn no_more_tasks_of_a_function_run_than_its_limit_says(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let limits = Limits { functions: [(function("f"), 3)].into(), ..Limits::default() };
    fill(&nodes[0], "a", 6).await;
    fill(&nodes[0], "b", 6).await;
    let other = nodes[0].enqueue(NewTask { function: function("g"), priority: -1, ..task() }).await;
    let claims = (0..9).map(|n| claim(&nodes[n % nodes.len()], &limits, 2, LONG));
    let mut held: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
    let at = held.iter().position(|task| task.id == other).expect("another function has no limit");
    let other = held.remove(at);
    assert_eq!(held.len(), 3, "{held:?}");
    let who = Claimant { limits: limits.clone(), ..Claimant::new("worker") };
    assert_eq!(nodes[1].queue.next_ready(&who).await, Ok(None), "nothing that it could claim");
    nodes[1].end(other.id, other.attempt, done()).await;
    assert!(claim(&nodes[1], &limits, 8, LONG).await.is_empty(), "that was another function's");
    for end in [done(), failed(None), failed(Some(LONG)), crate::queue::task::TaskOutcome::HandBack] {
        let ended = held.remove(0);
        nodes[2].end(ended.id, ended.attempt, end).await;
        assert_eq!(nodes[0].queue.next_ready(&who).await, Ok(Some(Duration::ZERO)));
        let next = claim(&nodes[0], &limits, 8, LONG).await;
        assert_eq!(next.len(), 1, "{next:?}");
        held.extend(next);
    }
    // Who knows of no limit keeps to none.
    assert!(!claim(&nodes[0], &Limits::default(), 2, LONG).await.is_empty());
}

/// A queue's limit counts all its functions, a lost lease makes room as any other end, and other queues go on.
pub async fn no_more_tasks_of_a_queue_run_than_its_limit_says(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let limits = Limits { queues: [(queue("a"), 2)].into(), ..Limits::default() };
    fill(&nodes[0], "a", 4).await;
    let urgent = NewTask { queue: queue("a"), function: function("g"), priority: 1, ..task() };
    let urgent = nodes[0].enqueue(urgent).await;
    fill(&nodes[0], "b", 1).await;
    let first = claim(&nodes[1], &limits, 8, SHORT).await;
    let of_a = |claimed: &[Claimed]| claimed.iter().filter(|task| task.queue == queue("a")).count();
    assert_eq!((first.len(), of_a(&first)), (3, 2), "{first:?}");
    assert!(first.iter().any(|task| task.id == urgent));
    assert!(claim(&nodes[2], &limits, 8, LONG).await.is_empty());
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[0].queue.sweep(5).await.expect("swept").returned.len(), 3);
    let again = claim(&nodes[2], &limits, 8, LONG).await;
    assert_eq!((again.len(), of_a(&again)), (3, 2), "{again:?}");
}
