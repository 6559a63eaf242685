//! Order keys: tasks of one function with one key start in the order in which they joined their line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::given::{LONG, PAST_SHORT, SHORT, claimant, commit, done, failed, task};
use super::{FOREVER, Node, Subject};
use crate::queue::TaskFilter;
use crate::queue::order::{Order, OrderKey};
use crate::queue::task::{Claimed, NewTask, TaskId, TaskOutcome, TaskState};
use crate::queue::tick::{TickCommit, TickOutcome};

fn key(text: &str) -> OrderKey {
    text.parse().expect("a key")
}

fn keyed(text: &str) -> NewTask {
    NewTask { order: Some(Order::new(key(text), 1)), ..task() }
}

fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|task| task.id).collect()
}

impl Node {
    async fn waits(&self, id: TaskId) -> bool {
        let task = self.task(id).await;
        assert!(!task.waits_for_order || task.state == TaskState::Ready, "{task:?}");
        task.waits_for_order
    }

    async fn begins(&self, expected: &[TaskId]) -> Vec<Claimed> {
        let claimed = self.claim(16, LONG).await;
        let [got, expected] = [ids(&claimed), expected.to_vec()].map(BTreeSet::from_iter);
        assert_eq!(got, expected);
        claimed
    }
}

/// Whatever their priorities: the next one starts when the one before it is over, and other keys do not wait for it.
pub async fn tasks_of_one_key_start_one_after_the_other(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let mut line = vec![nodes[0].enqueue(keyed("a")).await];
    let batch: Vec<_> = [9, 0, i16::MAX].map(|priority| NewTask { priority, ..keyed("a") }).into();
    line.extend(batch.iter().map(|task| task.id));
    assert_eq!(nodes[1].queue.enqueue(batch).await, Ok(vec![]));
    line.push(nodes[2].enqueue(NewTask { queue: "other".parse().expect("a name"), ..keyed("a") }).await);
    let others = [
        nodes[0].enqueue(keyed("A")).await,
        nodes[0].enqueue(keyed("a ")).await,
        nodes[1].enqueue(NewTask { function: "g".parse().expect("a name"), ..keyed("a") }).await,
        nodes[1].enqueue(task()).await,
        nodes[1].enqueue(task()).await,
    ];
    let kept = nodes[2].task(line[0]).await;
    assert_eq!((kept.order_key, kept.waits_for_order), (Some(key("a")), false));
    let kept = nodes[2].task(line[1]).await;
    assert_eq!((kept.order_key, kept.state), (Some(key("a")), TaskState::Ready));
    assert!(kept.waits_for_order);

    let first: Vec<_> = others.into_iter().chain([line[0]]).collect();
    let claimed = nodes[1].begins(&first).await;
    let of_line = claimed.iter().find(|task| task.id == line[0]).expect("it is among them");
    assert_eq!(of_line.order_key, Some(key("a")));
    let who = crate::queue::Claimant { queues: Vec::new(), ..claimant("worker") };
    assert_eq!(nodes[0].queue.next_ready(&who).await, Ok(None), "what waits for order keeps nobody awake");
    let mut attempt = of_line.attempt;
    for (at, end) in [done(), failed(None), done(), failed(None)].into_iter().enumerate() {
        assert!(nodes[0].waits(line[at + 1]).await);
        nodes[at % 3].end(line[at], attempt, end).await;
        assert!(!nodes[0].waits(line[at + 1]).await);
        assert_eq!(nodes[1].queue.next_ready(&who).await, Ok(Some(Duration::ZERO)));
        let claimed = nodes[2].queue.claim(&who, 16, LONG).await.expect("claimed");
        assert_eq!(ids(&claimed), [line[at + 1]]);
        attempt = claimed[0].attempt;
    }
    nodes[0].end(line[4], attempt, done()).await;
    // A line that was empty is as new.
    let again = nodes[0].enqueue(keyed("a")).await;
    nodes[2].begins(&[again]).await;
}

/// Whoever may run again keeps its place, and those behind it wait.
pub async fn a_retry_and_a_lost_lease_hold_up_their_key(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (first, second) = (nodes[0].enqueue(keyed("a")).await, nodes[0].enqueue(keyed("a")).await);
    let held = nodes[1].begins(&[first]).await;
    nodes[1].end(first, held[0].attempt, failed(Some(SHORT))).await;
    subject.pass(PAST_SHORT).await;
    assert!(nodes[0].waits(second).await, "whether its pause has passed or not");
    let held = nodes[2].begins(&[first]).await;
    nodes[2].end(first, held[0].attempt, TaskOutcome::HandBack).await;
    assert!(!nodes[0].waits(first).await && nodes[0].waits(second).await);
    let held = nodes[0].claim(8, SHORT).await;
    assert_eq!(ids(&held), [first]);
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[1].queue.sweep(1).await.expect("swept").returned, [first]);
    assert!(nodes[0].waits(second).await);
    let held = nodes[2].claim(8, SHORT).await;
    assert_eq!((ids(&held), held[0].lost_leases), (vec![first], 1), "the record says that others may run it");
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[1].queue.sweep(1).await.expect("swept").dead, [first]);
    assert!(!nodes[1].waits(second).await);
    nodes[0].begins(&[second]).await;

    // Somebody retries it by hand: it goes to the end.
    let third = nodes[0].enqueue(keyed("a")).await;
    assert_eq!(nodes[2].queue.retry(first).await, Ok(Some(TaskState::Ready)));
    assert!(nodes[1].waits(third).await && nodes[1].waits(first).await);
    nodes[0].end(second, crate::queue::task::Attempt(1), done()).await;
    let held = nodes[1].begins(&[third]).await;
    nodes[2].end(third, held[0].attempt, done()).await;
    nodes[0].begins(&[first]).await;
}

/// It does not hold up others before, and they do not wait for it.
pub async fn a_delayed_task_joins_its_line_when_its_time_comes(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let never = nodes[0].enqueue(NewTask { delay: LONG, ..keyed("a") }).await;
    // Nobody claims before the others are there, so it cannot have joined by then.
    let late = nodes[0].enqueue(NewTask { delay: SHORT, ..keyed("a") }).await;
    let first = nodes[1].enqueue(keyed("a")).await;
    let second = nodes[1].enqueue(keyed("a")).await;
    let held = nodes[2].begins(&[first]).await;
    assert_eq!((nodes[0].state(never).await, nodes[0].waits(never).await), (TaskState::Scheduled, false));
    subject.pass(PAST_SHORT).await;
    assert!(nodes[0].claim(8, LONG).await.is_empty(), "others of its key are before it");
    assert!(nodes[1].waits(late).await);
    let last = nodes[1].enqueue(keyed("a")).await;
    let mut held = held[0].clone();
    for next in [second, late, last] {
        nodes[0].end(held.id, held.attempt, done()).await;
        held = nodes[1].begins(&[next]).await.remove(0);
    }
    nodes[0].end(last, held.attempt, done()).await;
    // Nobody is before it.
    let alone = nodes[0].enqueue(NewTask { delay: SHORT, ..keyed("a") }).await;
    subject.pass(PAST_SHORT).await;
    nodes[2].begins(&[alone]).await;
}

/// Those behind them move up, and nobody else does.
pub async fn cancelled_and_expired_tasks_leave_their_line(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let enqueue = async |task: NewTask| nodes[0].enqueue(task).await;
    let (running, middle, next) =
        (enqueue(keyed("a")).await, enqueue(keyed("a")).await, enqueue(keyed("a")).await);
    let held = nodes[1].begins(&[running]).await;
    assert_eq!(nodes[2].queue.cancel(middle).await, Ok(Some(TaskState::Cancelled)));
    assert!(nodes[0].claim(8, LONG).await.is_empty() && !nodes[0].waits(middle).await);
    nodes[1].end(running, held[0].attempt, done()).await;
    // Let in, and begun by nobody.
    let behind = enqueue(keyed("a")).await;
    assert!(nodes[1].waits(behind).await && !nodes[1].waits(next).await);
    assert_eq!(nodes[2].queue.cancel(next).await, Ok(Some(TaskState::Cancelled)));
    let held = nodes[1].begins(&[behind]).await;
    // One that waits for its retry.
    nodes[1].end(behind, held[0].attempt, failed(Some(LONG))).await;
    let last = enqueue(keyed("a")).await;
    assert_eq!(nodes[2].queue.cancel(behind).await, Ok(Some(TaskState::Cancelled)));
    let held = nodes[1].begins(&[last]).await;

    let short = |expires| NewTask { expires: Some(expires), ..keyed("a") };
    let (waiting, stays) = (enqueue(short(SHORT)).await, enqueue(keyed("a")).await);
    subject.pass(PAST_SHORT).await;
    assert_eq!(nodes[2].queue.sweep(5).await.expect("swept").expired, 1);
    assert_eq!((nodes[0].state(waiting).await, nodes[0].waits(waiting).await), (TaskState::Expired, false));
    assert!(nodes[0].claim(8, LONG).await.is_empty());
    let let_in_and_late = enqueue(short(3 * SHORT)).await;
    nodes[1].end(last, held[0].attempt, done()).await;
    let held = nodes[1].begins(&[stays]).await;
    nodes[1].end(stays, held[0].attempt, done()).await;
    let behind = enqueue(keyed("a")).await;
    subject.pass(3 * PAST_SHORT).await;
    assert_eq!(nodes[2].queue.sweep(5).await.expect("swept").expired, 1);
    assert_eq!(nodes[0].state(let_in_and_late).await, TaskState::Expired);
    nodes[0].begins(&[behind]).await;
}

/// As many as the function says run at once, and they still start in order.
pub async fn as_many_of_a_key_run_at_once_as_its_function_says(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let two = |priority| NewTask { order: Some(Order::new(key("a"), 2)), priority, ..task() };
    let mut line = Vec::new();
    for priority in [0, 9, 3, 7, 5] {
        line.push(nodes[0].enqueue(two(priority)).await);
    }
    let first = nodes[1].begins(&line[..1]).await.remove(0);
    let second = nodes[2].begins(&line[1..2]).await.remove(0);
    assert!(nodes[0].claim(8, LONG).await.is_empty() && nodes[0].waits(line[2]).await);
    nodes[1].end(second.id, second.attempt, done()).await;
    let third = nodes[1].begins(&line[2..3]).await.remove(0);
    // It keeps its place among the two.
    nodes[0].end(first.id, first.attempt, TaskOutcome::HandBack).await;
    let first = nodes[2].begins(&line[..1]).await.remove(0);
    for ended in [first, third] {
        nodes[0].end(ended.id, ended.attempt, done()).await;
    }
    for next in &line[3..] {
        nodes[1].begins(&[*next]).await;
    }
}

/// The key is part of what a task is, and whoever is there already does not go to the end of the line.
pub async fn the_same_task_again_keeps_its_place_and_its_key(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let first = NewTask { id: TaskId::of_key(&"f".parse().expect("a name"), b"1"), ..keyed("a") };
    assert_eq!(nodes[0].queue.enqueue(vec![first.clone()]).await, Ok(vec![]));
    let second = NewTask { id: TaskId::of_key(&"f".parse().expect("a name"), b"2"), ..keyed("a") };
    assert_eq!(nodes[0].queue.enqueue(vec![second.clone()]).await, Ok(vec![]));
    let third = nodes[0].enqueue(keyed("a")).await;
    for again in [&first, &second] {
        for order in [None, Some(Order::new(key("b"), 1))] {
            let other = NewTask { order, ..again.clone() };
            assert_eq!(nodes[1].queue.enqueue(vec![other]).await, Ok(vec![again.id]));
        }
        // How many run at once is the function's business and no other request.
        let same = NewTask { order: Some(Order::new(key("a"), 5)), ..again.clone() };
        assert_eq!(nodes[1].queue.enqueue(vec![same]).await, Ok(vec![]));
    }
    let mut held = nodes[2].begins(&[first.id]).await;
    assert_eq!(nodes[1].queue.enqueue(vec![first.clone()]).await, Ok(vec![]));
    nodes[0].end(first.id, held.remove(0).attempt, done()).await;
    assert_eq!(nodes[1].queue.enqueue(vec![first.clone(), second.clone()]).await, Ok(vec![]));
    let held = nodes[2].begins(&[second.id]).await;
    nodes[0].end(second.id, held[0].attempt, done()).await;
    nodes[2].begins(&[third]).await;
}

/// Who looks for a key finds its tasks; a schedule's firings stand in line as all others.
pub async fn a_keys_tasks_are_listed_and_firings_stand_in_line(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let state = nodes[0].schedule("s").await;
    let state = nodes[0].standing(&state.name).await;
    let before = nodes[0].enqueue(keyed("a b/ä")).await;
    nodes[0].enqueue(keyed("a b/ä ")).await;
    nodes[0].enqueue(task()).await;
    let other = NewTask { function: "g".parse().expect("a name"), ..keyed("a b/ä") };
    nodes[0].enqueue(other).await;
    subject.pass(Duration::from_millis(3)).await;
    let order = Some(Order::new(key("a b/ä"), 1));
    let outcome = nodes[1].queue.commit_tick(TickCommit { order, ..commit(&state) }).await;
    let Ok(TickOutcome::Committed { fired }) = outcome else { panic!("{outcome:?}") };
    assert!(nodes[2].waits(fired[0]).await);
    let filter = TaskFilter {
        function: Some("f".parse().expect("a name")),
        order_key: Some(key("a b/ä")),
        limit: 10,
        ..TaskFilter::default()
    };
    let listed = nodes[2].queue.tasks(&filter).await.expect("listed");
    let listed: Vec<_> = listed.into_iter().map(|task| (task.id, task.waits_for_order)).collect();
    assert_eq!(listed, [(fired[0], true), (before, false)], "newest first");
}

/// However many enqueue, claim, complete, cancel and sweep at once: one of a key at a time, in their order, and nobody
/// waits in the end.
pub async fn competing_nodes_keep_the_order_of_keys(subject: &dyn Subject) {
    const EACH: usize = 12;
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let nodes = subject.fresh(FOREVER).await;
    // What began, by key, and who runs now.
    let begun: Mutex<BTreeMap<OrderKey, Vec<TaskId>>> = Mutex::default();
    let running: Mutex<BTreeSet<OrderKey>> = Mutex::default();
    let enqueued: Mutex<BTreeMap<OrderKey, Vec<TaskId>>> = Mutex::default();
    let cancelled: Mutex<BTreeSet<TaskId>> = Mutex::default();
    let all = || enqueued.lock().values().map(Vec::len).sum::<usize>();
    let ended = || begun.lock().values().map(Vec::len).sum::<usize>() + cancelled.lock().len();

    // Each key has one who enqueues, so that its order is known, in batches of several keys.
    let enqueueing = nodes.iter().enumerate().map(|(at, node)| {
        let (enqueued, cancelled) = (&enqueued, &cancelled);
        async move {
            for round in 0..EACH {
                let mine = KEYS.iter().skip(at).step_by(NODES_THAT_ENQUEUE);
                let mut batch: Vec<_> = mine.map(|key| keyed(key)).collect();
                if round % 2 == 1 {
                    batch.reverse();
                }
                for task in &batch {
                    let key = task.order_key().expect("it has one").clone();
                    enqueued.lock().entry(key).or_default().push(task.id);
                }
                let last = batch.last().map(|task| task.id);
                assert_eq!(node.queue.enqueue(batch).await, Ok(vec![]));
                if let Some(id) = last.filter(|_| round % 3 == 2)
                    && node.queue.cancel(id).await == Ok(Some(TaskState::Cancelled))
                {
                    cancelled.lock().insert(id);
                }
                node.queue.sweep(5).await.expect("swept");
            }
        }
    });
    let working = nodes.iter().map(|node| async {
        let mut idle = 0;
        while (all() < EACH * KEYS.len() || ended() < all()) && idle < 2_000 {
            let claimed = node.claim(4, LONG).await;
            idle = if claimed.is_empty() { idle + 1 } else { 0 };
            for task in &claimed {
                let key = task.order_key.clone().expect("all have one");
                assert!(running.lock().insert(key.clone()), "two of {key} run at once");
                begun.lock().entry(key).or_default().push(task.id);
            }
            if claimed.is_empty() {
                subject.pass(Duration::from_millis(5)).await;
            }
            for task in claimed {
                running.lock().remove(task.order_key.as_ref().expect("all have one"));
                node.end(task.id, task.attempt, done()).await;
            }
        }
    });
    futures_util::future::join(join_all(enqueueing), join_all(working)).await;
    let (begun, enqueued, cancelled) = (begun.into_inner(), enqueued.into_inner(), cancelled.into_inner());
    for (key, mut expected) in enqueued {
        expected.retain(|id| !cancelled.contains(id));
        assert_eq!(begun.get(&key), Some(&expected), "in the order of {key}");
    }
}

/// So many nodes share the keys among themselves in the last story.
const NODES_THAT_ENQUEUE: usize = super::NODES;
