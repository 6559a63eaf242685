//! A disk without room: nothing is acknowledged that is not there, and room is enough to go on.

use std::time::Duration;

use beatmesh_node::queue::task::NewTask;
use beatmesh_node::queue::{StoreError, TaskQueue};

use crate::scratch::{Scratch, mount, number, open, stranger, task};

#[tokio::test]
async fn a_full_disk_loses_nothing_and_recovers_when_there_is_room() {
    let scratch = Scratch::new();
    let Some(mounted) = mount(&scratch.0, "size=3m") else { return };
    let store = open(&scratch.0).await;
    let mut acknowledged = Vec::new();
    let refused = loop {
        let large = NewTask { input: vec![1; 60_000].into(), ..task() };
        match store.enqueue(vec![large.clone()]).await {
            Ok(_) => acknowledged.push(large.id),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100, "3 MiB do not hold 6 MB");
    };
    // In the change or at the commit, both are possible; a refusal would say that it never helps to wait.
    assert!(matches!(refused, StoreError::Unavailable(_) | StoreError::Unknown(_)), "{refused:?}");
    assert!(acknowledged.len() > 3, "{}", acknowledged.len());
    for id in &acknowledged {
        assert!(store.task(*id).await.expect("a full disk can be read").is_some());
    }
    mounted.remount("size=32m");
    let outcome = tokio::time::timeout(Duration::from_secs(10), store.enqueue(vec![task()])).await;
    outcome.expect("in time").expect("the same store works on");
    store.close().await;
    drop(store);

    let store = open(&scratch.0).await;
    for id in &acknowledged {
        assert!(store.task(*id).await.expect("read").is_some(), "acknowledged is durable");
    }
    store.close().await;
    let mut other = stranger(&scratch.0).await;
    assert_eq!(number(&mut other, "SELECT COUNT(*) FROM pragma_integrity_check").await, 1);
    drop(other);
    drop(mounted);
}
