//! The file is removed or replaced under a running store: nothing is acknowledged that would be gone with the
//! process, and the right file brings everything back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use beatmesh_node::queue::{StoreError, TaskQueue};
use beatmesh_node::store::CatalogueStore;

use crate::scratch::{Scratch, number, open, run, stranger, task};

const FILES: [&str; 3] = ["mesh.db", "mesh.db-wal", "mesh.db-shm"];

fn move_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for name in FILES {
        let file = from.join(name);
        if file.exists() {
            std::fs::rename(file, to.join(name)).expect("moved");
        }
    }
}

/// Changes and reads are refused, with the reason.
async fn assert_refused(store: &impl TaskQueue, words: &str) {
    for _ in 0..3 {
        match store.enqueue(vec![task()]).await {
            Err(StoreError::Unavailable(reason)) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    match store.now().await {
        Err(StoreError::Unavailable(reason)) => assert!(reason.contains("removed or replaced"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_removed_file_takes_no_tasks_and_the_same_file_back_brings_all_of_them() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let before = task();
    store.enqueue(vec![before.clone()]).await.expect("enqueued");
    let aside = scratch.0.join("aside");
    move_all(&scratch.0, &aside);
    assert_refused(&*store, "removed or replaced").await;

    move_all(&aside, &scratch.0);
    let after = task();
    store.enqueue(vec![after.clone()]).await.expect("the same store works on");
    for id in [before.id, after.id] {
        assert!(store.task(id).await.expect("read").is_some());
    }
    let mut other = stranger(&scratch.0).await;
    assert_eq!(
        number(&mut other, "SELECT COUNT(*) FROM tasks").await,
        2,
        "nothing that was refused is there"
    );
    store.close().await;
}

#[tokio::test]
async fn another_store_in_its_place_is_left_alone_and_a_copy_of_the_right_one_is_taken() {
    let scratch = Scratch::new();
    let store = open(&scratch.0).await;
    let before = task();
    store.enqueue(vec![before.clone()]).await.expect("enqueued");
    assert!(store.task(before.id).await.expect("read").is_some(), "a reader has the file open");
    let copy = scratch.0.join("copy.db");
    let mut other = stranger(&scratch.0).await;
    run(&mut other, &format!("VACUUM INTO '{}'", copy.display())).await;
    drop(other);
    move_all(&scratch.0, &scratch.0.join("aside"));

    let stranger_store = open(&scratch.0).await;
    assert_ne!(stranger_store.id(), store.id());
    assert_refused(&*store, "another database has taken its place").await;
    let theirs = task();
    stranger_store.enqueue(vec![theirs.clone()]).await.expect("enqueued");
    assert_eq!(stranger_store.task(before.id).await, Ok(None));
    stranger_store.close().await;

    // A backup is put back: another file, the same store.
    move_all(&scratch.0, &scratch.0.join("theirs"));
    std::fs::rename(&copy, scratch.0.join("mesh.db")).expect("moved");
    let after = task();
    store.enqueue(vec![after.clone()]).await.expect("the right store is back");
    // More often than there are readers: each of them gets its turn.
    for (id, is_there) in [(before.id, true), (after.id, true), (theirs.id, false)].repeat(8) {
        assert_eq!(store.task(id).await.expect("read").is_some(), is_there, "readers see the file in place");
    }
    store.close().await;
    let mut other = stranger(&scratch.0).await;
    assert_eq!(number(&mut other, "SELECT COUNT(*) FROM tasks").await, 2);
}

/// Inputs, results and the environment of functions are nobody else's business.
#[tokio::test]
async fn a_new_file_is_for_its_owner_alone_and_one_that_is_there_keeps_its_mode() {
    let scratch = Scratch::new();
    let modes = || {
        FILES.map(|name| {
            let found = std::fs::metadata(scratch.0.join(name)).expect(name);
            found.permissions().mode() & 0o777
        })
    };
    let store = open(&scratch.0).await;
    store.enqueue(vec![task()]).await.expect("enqueued");
    assert_eq!(modes(), [0o600; 3]);
    store.close().await;
    drop(store);

    std::fs::set_permissions(scratch.0.join("mesh.db"), PermissionsExt::from_mode(0o640)).expect("changed");
    let store = open(&scratch.0).await;
    store.enqueue(vec![task()]).await.expect("enqueued");
    assert_eq!(modes(), [0o640; 3]);
    store.close().await;
}
