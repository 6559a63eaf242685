//! What a worker does when the store is slow, away, or of another opinion.

mod bench;

use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::*;
use crate::queue::TaskFilter;
use crate::queue::task::TaskState;
use bench::{Bench, DEADLINE, INPUT_LIMIT, eventually};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_claim_on_its_way_at_a_stop_is_waited_for_and_given_back() {
    let bench = Bench::new(LEASE).await;
    let id = bench.enqueue(1, |_| {}).await;
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(id, TaskState::Leased).await;
    bench.worker.stop_taking();
    let mut finishing = std::pin::pin!(bench.runner.finish(DEADLINE));
    assert!(finishing.as_mut().now_or_never().is_none(), "it waits for the claim");
    bench.store.claims_held.store(false, Ordering::SeqCst);
    finishing.await;
    let task = bench.task(id).await;
    assert_eq!((task.state, task.lost_leases), (TaskState::Ready, 0), "another node runs it at once");
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_idle_worker_stops_at_once() {
    let bench = Bench::new(LEASE).await;
    bench.start();
    bench.looks(1).await;
    let before = bench.env.clock.now();
    bench.worker.stop_taking();
    bench.runner.finish(DEADLINE).await;
    assert!(bench.env.clock.now() - before < Duration::from_millis(300), "its sleep is cut short");
}

#[tokio::test]
async fn what_runs_at_the_end_of_the_budget_is_given_back() {
    let bench = Bench::new(LEASE).await;
    bench.functions.held.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    eventually("it runs", || bench.functions.running.load(Ordering::SeqCst) == 1).await;
    bench.worker.stop_taking();
    bench.runner.finish(Duration::from_millis(50)).await;
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 0, "it was stopped");
    assert_eq!(bench.task(id).await.state, TaskState::Ready);
}

#[tokio::test]
async fn an_end_is_reported_until_the_store_has_it() {
    for error in [StoreError::Unavailable("planted".into()), StoreError::Unknown("planted".into())] {
        let bench = Bench::new(LEASE).await;
        *bench.store.failing.lock() = Some((2, error.clone()));
        let id = bench.enqueue(1, |_| {}).await;
        bench.start();
        bench.becomes(id, TaskState::Done).await;
        eventually("every failure was met", || bench.store.failing.lock().as_ref().unwrap().0 == 0).await;
        bench.worker.stop_taking();
        bench.runner.finish(DEADLINE).await;
        assert_eq!(bench.task(id).await.attempts, 1, "{error:?}");
        assert_eq!(*bench.told.0.lock(), [id], "{error:?}: who waits is told");
    }
}

#[tokio::test]
async fn a_result_that_the_store_refuses_is_a_failure_and_not_an_endless_effort() {
    let bench = Bench::new(LEASE).await;
    *bench.store.failing.lock() = Some((1, StoreError::Refused("planted".into())));
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Failed).await;
    assert!(bench.task(id).await.error.unwrap().to_string().contains("planted"));
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn an_end_that_is_recorded_while_its_lease_is_renewed_is_told() {
    let bench = Bench::new(Duration::from_millis(300)).await;
    bench.store.completions_held.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Done).await;
    // The store has it, this node does not know yet, and a renewal finds no lease any more.
    let before = bench.store.renewals.load(Ordering::SeqCst);
    eventually("renewals", || bench.store.renewals.load(Ordering::SeqCst) >= before + 2).await;
    bench.store.completions_held.store(false, Ordering::SeqCst);
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn an_end_is_recorded_even_past_the_lease_if_nobody_else_has_the_task() {
    let bench = Bench::new(Duration::from_millis(150)).await;
    // Six tries take longer than the lease, and no renewal comes through.
    *bench.store.failing.lock() = Some((4, StoreError::Unavailable("planted".into())));
    bench.store.renewals_hang.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Done).await;
    assert_eq!(bench.task(id).await.attempts, 1);
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn a_task_is_stopped_when_its_lease_ends_and_not_when_a_renewal_gives_up() {
    let lease = Duration::from_millis(900);
    let bench = Bench::new(lease).await;
    bench.functions.held.store(true, Ordering::SeqCst);
    bench.store.renewals_hang.store(true, Ordering::SeqCst);
    bench.enqueue(1, |_| {}).await;
    bench.start();
    eventually("it runs", || bench.functions.running.load(Ordering::SeqCst) == 1).await;
    let began = bench.env.clock.now();
    eventually("it is stopped", || bench.functions.running.load(Ordering::SeqCst) == 0).await;
    let ran = bench.env.clock.now() - began;
    assert!(ran <= lease + Duration::from_millis(120), "{ran:?}: another worker may have it by now");
    assert!(ran > lease / 2, "{ran:?}: it had time left");
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_fail_a_task() {
    let bench = Bench::new(LEASE).await;
    bench.store.catalogue_away.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Leased).await;
    eventually("two lookups are refused", || bench.store.refused.load(Ordering::SeqCst) >= 2).await;
    assert_eq!(bench.task(id).await.state, TaskState::Leased, "nobody can say that there is no function");
    bench.store.catalogue_away.store(false, Ordering::SeqCst);
    bench.becomes(id, TaskState::Done).await;
    let unknown = bench.enqueue(2, |task| task.function = "missing".parse().unwrap()).await;
    bench.bell.notify_one();
    bench.becomes(unknown, TaskState::Failed).await;
}

#[tokio::test]
async fn a_bell_rung_during_a_claim_is_heard() {
    let bench = Bench::new(LEASE).await;
    let first = bench.enqueue(1, |_| {}).await;
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(first, TaskState::Leased).await;
    let second = bench.enqueue(2, |_| {}).await;
    bench.bell.notify_one();
    let before = bench.env.clock.now();
    bench.store.claims_held.store(false, Ordering::SeqCst);
    bench.becomes(second, TaskState::Done).await;
    assert!(bench.env.clock.now() - before < POLL / 2, "not by the slow poll");
}

#[tokio::test]
async fn expired_tasks_do_not_keep_a_worker_awake() {
    let bench = Bench::new(LEASE).await;
    let expires = Duration::from_millis(1);
    for n in 0..20 {
        bench.enqueue(n, |task| task.expires = Some(expires)).await;
    }
    bench.store_clock_passes(expires).await;
    bench.start();
    bench.looks(2).await;
    assert_eq!(bench.store.claims.load(Ordering::SeqCst), 0, "no lock is taken to find nothing");
    let live = bench.enqueue(99, |_| {}).await;
    bench.bell.notify_one();
    bench.becomes(live, TaskState::Done).await;
}

/// So many tasks of `narrow`, the first of which runs.
async fn narrow_tasks(bench: &Bench, count: u128) -> Vec<TaskId> {
    bench.functions.narrow_held.store(true, Ordering::SeqCst);
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(bench.enqueue(1_000 + n, |task| task.function = "narrow".parse().unwrap()).await);
    }
    // As a node does before it claims anything.
    bench.worker.catalogue.refresh().await.unwrap();
    bench.start();
    eventually("one runs", || bench.functions.running.load(Ordering::SeqCst) == 1).await;
    ids
}

#[tokio::test]
async fn a_function_that_is_full_keeps_nothing_from_other_tasks() {
    let bench = Bench::new(LEASE).await;
    let narrow = narrow_tasks(&bench, 30).await;
    let begun = bench.env.clock.now();
    let behind = bench.enqueue(1, |_| {}).await;
    bench.bell.notify_one();
    bench.becomes(behind, TaskState::Done).await;
    assert!(bench.env.clock.now() - begun < POLL / 2, "it did not wait for the thirty before it");
    let leased = TaskFilter { state: Some(TaskState::Leased), limit: 100, ..TaskFilter::default() };
    assert_eq!(bench.store.tasks(&leased).await.unwrap().len(), 1, "only what runs is leased");

    // No claim is in vain while it is full, and each end is followed by the next beginning at once.
    let before = bench.store.claims.load(Ordering::SeqCst);
    bench.looks(2).await;
    assert_eq!(bench.store.claims.load(Ordering::SeqCst), before);
    let begun = bench.env.clock.now();
    bench.functions.narrow_held.store(false, Ordering::SeqCst);
    for id in &narrow {
        bench.becomes(*id, TaskState::Done).await;
        assert_eq!(bench.task(*id).await.attempts, 1, "none was claimed in vain");
    }
    assert!(bench.env.clock.now() - begun < 10 * POLL, "the bell rings, not the slow poll");
}

#[tokio::test]
async fn a_caller_goes_before_the_queued_tasks_of_a_full_function() {
    let bench = Bench::new(LEASE).await;
    let narrow = narrow_tasks(&bench, 10).await;
    let name = "narrow".parse().unwrap();
    let mut admitting = std::pin::pin!(bench.worker.admit(&name, 0, DEADLINE));
    assert!(admitting.as_mut().now_or_never().is_none(), "a task has the only slot");
    bench.functions.narrow_passes.store(1, Ordering::SeqCst);
    let admitted = admitting.await;
    assert!(admitted.is_ok(), "it was the caller's turn");
    bench.looks(2).await;
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 0, "the slot is the caller's");
    drop(admitted);
    bench.functions.narrow_held.store(false, Ordering::SeqCst);
    for id in narrow {
        bench.becomes(id, TaskState::Done).await;
    }
}

#[tokio::test]
async fn a_task_whose_function_filled_up_during_its_claim_goes_back_to_its_place() {
    let bench = Bench::new(LEASE).await;
    let name = "narrow".parse().unwrap();
    let id = bench.enqueue(1, |task| task.function = "narrow".parse().unwrap()).await;
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(id, TaskState::Leased).await;
    let admitted = bench.worker.admit(&name, 0, DEADLINE).await;
    assert!(admitted.is_ok(), "a caller was faster");
    bench.store.claims_held.store(false, Ordering::SeqCst);
    bench.becomes(id, TaskState::Ready).await;
    bench.looks(2).await;
    let task = bench.task(id).await;
    assert_eq!((task.state, task.attempts, task.failures, task.lost_leases), (TaskState::Ready, 1, 0, 0));
    drop(admitted);
    bench.becomes(id, TaskState::Done).await;
}

#[tokio::test]
async fn tasks_of_a_function_that_the_node_did_not_know_go_back_beyond_its_limit() {
    let bench = Bench::new(LEASE).await;
    bench.functions.narrow_held.store(true, Ordering::SeqCst);
    for n in 0..4 {
        bench.enqueue(n, |task| task.function = "narrow".parse().unwrap()).await;
    }
    bench.start();
    let tasks = |state| TaskFilter { state: Some(state), limit: 100, ..TaskFilter::default() };
    let given_back = async {
        while bench.store.tasks(&tasks(TaskState::Ready)).await.unwrap().len() != 3 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::time::timeout(DEADLINE, given_back).await.expect("three of four go back");
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_node_has_no_more_inputs_in_hand_than_it_has_memory_for() {
    let bench = Bench::new(LEASE).await;
    bench.functions.held.store(true, Ordering::SeqCst);
    let mut large = Vec::new();
    for n in 0..4 {
        large.push(bench.enqueue(n, |task| task.input = vec![b'x'; INPUT_LIMIT as usize].into()).await);
    }
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(large[1], TaskState::Leased).await;
    let leased = TaskFilter { state: Some(TaskState::Leased), limit: 100, ..TaskFilter::default() };
    assert_eq!(bench.store.tasks(&leased).await.unwrap().len(), 2, "one claim brings two such inputs");
    bench.store.claims_held.store(false, Ordering::SeqCst);
    bench.functions.held.store(false, Ordering::SeqCst);
    for id in large {
        bench.becomes(id, TaskState::Done).await;
    }
}

#[tokio::test]
async fn a_worker_runs_one_suspect_at_a_time_and_the_next_as_soon_as_its_end_is_recorded() {
    let bench = Bench::new(LEASE).await;
    let suspects =
        [bench.enqueue(1, |_| {}).await, bench.enqueue(2, |_| {}).await, bench.enqueue(3, |_| {}).await];
    // Another worker had them all and was lost.
    let lease = Duration::from_millis(1);
    assert_eq!(bench.store.inner.claim(&Claimant::new("lost"), 8, lease).await.unwrap().len(), 3);
    bench.store_clock_passes(lease).await;
    assert_eq!(bench.store.sweep(5).await.unwrap().returned.len(), 3);

    bench.functions.held.store(true, Ordering::SeqCst);
    bench.store.completions_held.store(true, Ordering::SeqCst);
    let behind = bench.enqueue(4, |_| {}).await;
    bench.start();
    eventually("a suspect and another run", || bench.functions.running.load(Ordering::SeqCst) == 2).await;
    bench.becomes(behind, TaskState::Leased).await;
    let before = bench.store.claims.load(Ordering::SeqCst);
    bench.looks(2).await;
    assert_eq!(bench.store.claims.load(Ordering::SeqCst), before, "those that wait cause no claims in vain");
    bench.functions.held.store(false, Ordering::SeqCst);
    bench.becomes(suspects[0], TaskState::Done).await;
    bench.looks(2).await;
    assert_eq!(bench.task(suspects[1]).await.state, TaskState::Ready, "this node has not heard of the end");

    let begun = bench.env.clock.now();
    bench.store.completions_held.store(false, Ordering::SeqCst);
    bench.becomes(suspects[2], TaskState::Done).await;
    assert!(bench.env.clock.now() - begun < POLL / 2, "the bell rings, not the slow poll");
    let tasks = [bench.task(suspects[0]).await, bench.task(suspects[1]).await, bench.task(suspects[2]).await];
    assert!(tasks.windows(2).all(|two| two[0].finished_at <= two[1].started_at), "{tasks:?}");
    assert!(tasks.iter().all(|task| task.attempts == 2), "none was claimed in vain: {tasks:?}");
}
