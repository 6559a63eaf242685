//! What cannot be opened is refused with one clear error, and what can be is opened by many at once.

use std::time::{Duration, Instant};

use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::sql::OpenError;
use sqlx::Connection;

use crate::scratch::{Scratch, again, directory, mount, open, run, stranger, try_open, url};

/// Opens, fails, and says so at once: in words that name the file and what is wrong with it.
async fn refused(url: &str, words: &[&str]) {
    let start = Instant::now();
    let error = try_open(url, Duration::from_secs(1)).await.err().expect("refused");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}: {error}", start.elapsed());
    let text = error.to_string();
    for word in words.iter().chain([&url]) {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let scratch = Scratch::new();
    refused(&url(&scratch.0.join("missing")), &["unable to open", "is its directory there"]).await;
    refused(&format!("sqlite://{}", scratch.0.display()), &["unable to open"]).await;
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("mesh.db");
    let text = "this is a diary, and nobody else's business\n".repeat(200);
    std::fs::write(&path, &text).expect("written");
    refused(&url(&scratch.0), &["not a database", "something else"]).await;
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}

#[tokio::test]
async fn tables_of_a_later_version_are_left_alone() {
    let scratch = Scratch::new();
    open(&scratch.0).await.close().await;
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "UPDATE beatmesh SET value = '99' WHERE name = 'schema'").await;
    match try_open(&url(&scratch.0), Duration::from_secs(1)).await.err() {
        Some(OpenError::Newer { found: 99, known, .. }) => assert!(known >= 1),
        other => panic!("{other:?}"),
    }
    for nonsense in ["-1", "one", ""] {
        let set = format!("UPDATE beatmesh SET value = '{nonsense}' WHERE name = 'schema'");
        run(&mut other, &set).await;
        refused(&url(&scratch.0), &["schema", nonsense]).await;
    }
}

#[tokio::test]
async fn a_read_only_file_is_refused() {
    let scratch = Scratch::new();
    let Some(mounted) = mount(&scratch.0, "size=8m") else { return };
    let store = open(&scratch.0).await;
    store.close().await;
    drop(store);
    mounted.remount("ro");
    refused(&url(&scratch.0), &["may this user write"]).await;
}

#[tokio::test]
async fn a_database_in_memory_is_refused_because_no_two_connections_would_share_it() {
    refused("sqlite::memory:", &["write-ahead log"]).await;
}

#[tokio::test]
async fn a_lock_while_opening_is_waited_for_and_not_for_ever() {
    let scratch = Scratch::new();
    open(&scratch.0).await.close().await;
    let mut other = stranger(&scratch.0).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let opening = tokio::spawn({
        let dir = scratch.0.clone();
        async move { open(&dir).await }
    });
    // The scenario: a lock that is held for longer than SQLite itself waits.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!opening.is_finished(), "it waits");
    run(&mut other, "COMMIT").await;
    opening.await.expect("opened once the lock is released").close().await;

    run(&mut other, "BEGIN IMMEDIATE").await;
    let start = Instant::now();
    let error = try_open(&url(&scratch.0), Duration::from_secs(1)).await.err().expect("refused");
    assert!(error.to_string().contains("another process keeps it locked"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(13), "{:?}", start.elapsed());
    other.close().await.expect("closed");
}

/// Another process: opens the store and prints its id.
#[tokio::test]
async fn print_the_id() {
    if let Some(dir) = directory() {
        println!("\nid={}", open(&dir).await.id());
    }
}

#[test]
fn processes_that_open_a_new_file_at_once_agree_on_its_id() {
    for _ in 0..8 {
        let scratch = Scratch::new();
        let children: Vec<_> =
            (0..3).map(|_| again("opening::print_the_id", &scratch.0).spawn().expect("started")).collect();
        let outputs = children.into_iter().map(|child| child.wait_with_output().expect("ended"));
        let ids: Vec<String> = outputs
            .map(|output| {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{text}");
                text.lines().find_map(|line| line.strip_prefix("id=")).expect("an id").to_owned()
            })
            .collect();
        assert!(ids[0].len() == 16 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
