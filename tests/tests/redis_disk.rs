//! `queue.durability = "disk"` on a real server that can wait for its disk: what is acknowledged has been synced, what
//! has not been is not acknowledged, and a server that could never say so is refused.

use std::time::{Duration, Instant};

use beatmesh_node::config::Durability;
use beatmesh_node::queue::StoreError;
use beatmesh_node::queue::redis::RedisSettings;
use beatmesh_node::queue::task::TaskState;
use beatmesh_tests::redis_queue::{TestQueue, assert_not_taken, settings};
use beatmesh_tests::servers::{Make, Redis};

fn disk(server: &Redis) -> RedisSettings {
    RedisSettings { durability: Durability::Disk, ..settings(&server.url()) }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_server_was_killed() {
    let mut server = Redis::make(Make::Valkey, &[("appendonly", "yes"), ("appendfsync", "everysec")]);
    let queue = TestQueue::open(disk(&server)).await;
    let begin = Instant::now();
    for number in 0..5 {
        queue.enqueue(number).await.expect("acknowledged after the next sync");
    }
    println!("five acknowledged after {:?} with a sync each second", begin.elapsed());
    server.kill();
    server.start_again();
    queue.until_enqueued(5).await;
    assert_eq!(queue.work_off(6).await, (0..=5).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_no_sync_has_confirmed_is_not_acknowledged() {
    let server = Redis::make(Make::Valkey, &[("appendonly", "yes"), ("appendfsync", "always")]);
    let queue = TestQueue::open(disk(&server)).await;
    queue.enqueue(1).await.expect("synced at once");
    // Written, and left to the operating system: nobody knows when it is on the disk.
    server.config_set("appendfsync", "no");
    let begin = Instant::now();
    let error = assert_not_taken(queue.enqueue(2).await, "not confirmed as `disk`");
    assert!(matches!(error, StoreError::Unknown(_)), "it was written: {error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "nobody waits for ever: {:?}", begin.elapsed());
    assert_eq!(queue.state(2).await, Some(TaskState::Ready), "as unknown says, it may be there");
    server.config_set("appendfsync", "always");
    queue.until_enqueued(2).await;
    assert_eq!(queue.work_off(2).await, [1, 2]);
}

#[tokio::test]
async fn a_server_without_an_append_only_file_is_refused() {
    let server = Redis::make(Make::Valkey, &[]);
    let Err(error) = TestQueue::try_open(disk(&server)).await else { panic!("it must be refused") };
    let said = error.to_string();
    for word in ["appendonly no", "disk", &server.addr().to_string()] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}
