//! The end of a store in an orderly stop.

use beatmesh_node::queue::{StoreError, TaskQueue};
use futures_util::future::join_all;

use crate::scratch::{Scratch, open, task};

#[tokio::test]
async fn what_waits_at_a_close_is_written_and_what_comes_later_is_refused() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let tasks: Vec<_> = (0..1_000).map(|_| task()).collect();
    let enqueues = join_all(tasks.iter().map(|task| store.enqueue(vec![task.clone()])));
    // Joined futures are polled in order: all changes wait before the store begins to close.
    let (outcomes, ()) = tokio::join!(enqueues, store.close());
    outcomes.into_iter().for_each(|outcome| assert_eq!(outcome, Ok(vec![]), "it came before the close"));
    let late = store.enqueue(vec![task()]).await;
    assert_eq!(late, Err(StoreError::Unavailable("it is closed".to_owned())));
    assert!(matches!(store.now().await, Err(StoreError::Unavailable(_))));
    store.close().await;

    let store = open(&scratch.0).await;
    for task in &tasks {
        assert!(store.task(task.id).await.expect("read").is_some());
    }
    store.close().await;
    assert!(!scratch.0.join("mesh.db-wal").exists(), "the log is folded into the file at the last close");
}
