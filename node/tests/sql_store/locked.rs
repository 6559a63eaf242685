//! Another connection holds the write lock: a clear answer in time, nothing half done, and no restart.

use std::time::{Duration, Instant};

use beatmesh_node::queue::{Claimant, StoreError, TaskFilter, TaskQueue};
use futures_util::future::join_all;
use sqlx::Connection;

use crate::scratch::{Scratch, number, open, run, stranger, task};

#[tokio::test]
async fn a_locked_file_is_unavailable_in_seconds_and_recovers_by_itself() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let mut other = stranger(&scratch.0).await;
    for lock in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        let before = task();
        store.enqueue(vec![before.clone()]).await.expect("enqueued");
        run(&mut other, lock).await;
        let start = Instant::now();
        let refused = task();
        let outcome = store.enqueue(vec![refused.clone()]).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{lock}: {outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{lock}: {:?}", start.elapsed());
        // Readers do not wait for writers.
        let start = Instant::now();
        assert!(store.task(before.id).await.expect("read").is_some());
        assert!(store.next_ready(&Claimant::new("reader")).await.expect("read").is_some());
        assert!(store.now().await.is_ok() && store.schedule_states().await.is_ok());
        assert!(start.elapsed() < Duration::from_secs(1), "{lock}: {:?}", start.elapsed());

        run(&mut other, "ROLLBACK").await;
        store.enqueue(vec![task()]).await.expect("the same store works on");
        assert_eq!(store.task(refused.id).await, Ok(None), "unavailable is: nothing changed");
    }
    store.close().await;
}

#[tokio::test]
async fn a_short_lock_is_only_waited_for() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let release = async {
        // The scenario: the lock is held for so long, and a change waits for longer.
        tokio::time::sleep(Duration::from_millis(500)).await;
        run(&mut other, "COMMIT").await;
    };
    let (enqueued, ()) = tokio::join!(store.enqueue(vec![task()]), release);
    enqueued.expect("it got its turn");
    store.close().await;
}

#[tokio::test]
async fn more_changes_than_may_wait_are_refused_at_once_and_leave_no_trace() {
    const CALLERS: usize = 6_000;
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let start = Instant::now();
    let outcomes = join_all((0..CALLERS).map(|_| store.enqueue(vec![task()]))).await;
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    let mut full = 0;
    for outcome in outcomes {
        match outcome {
            Err(StoreError::Unavailable(reason)) => full += usize::from(reason.contains("waiting already")),
            other => panic!("{other:?}"),
        }
    }
    assert!((CALLERS - 4_096 - 256..CALLERS).contains(&full), "{full} were refused at once");
    run(&mut other, "ROLLBACK").await;
    store.enqueue(vec![task()]).await.expect("the same store works on");
    assert_eq!(number(&mut other, "SELECT COUNT(*) FROM tasks").await, 1);
    store.close().await;
}

#[tokio::test]
async fn readers_are_not_disturbed_by_a_busy_writer() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let filter = TaskFilter { limit: 10, ..TaskFilter::default() };
    let writing = async {
        for _ in 0..40 {
            store.enqueue((0..100).map(|_| task()).collect()).await.expect("enqueued");
        }
    };
    let reading = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let start = Instant::now();
            store.tasks(&filter).await.expect("read");
            slowest = slowest.max(start.elapsed());
        }
        slowest
    };
    let ((), slowest) = tokio::join!(writing, reading);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    store.close().await;
    let other = stranger(&scratch.0).await;
    other.close().await.expect("closed");
}
