//! Every story of every store, with the queue in a real Redis and the catalogue in SQLite: two stores that are one to
//! whoever uses them. Each story is a mesh of its own on one server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_node::config::Durability;
use beatmesh_node::queue::conformance::{NODES, Node, Subject};
use beatmesh_node::queue::redis::{RedisQueue, RedisSettings};
use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::fenced::FencedCatalogue;
use beatmesh_node::store::sql::scratch::{Scratch, here, url};
use beatmesh_node::store::sql::{Retention, SqlStore};
use beatmesh_tests::servers::{Cluster, MASTER, Make, Redis, Sentinels};
use beatmesh_tests::stories::tell_all;

/// Meshes on one Redis.
struct Meshes {
    url: String,
    durability: Durability,
    made: AtomicU32,
    scratch: Mutex<Vec<Scratch>>,
}

impl Meshes {
    fn on(url: &str, durability: Durability) -> Self {
        Self { url: url.to_owned(), durability, made: AtomicU32::new(0), scratch: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Meshes {
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node> {
        let mesh = format!("story-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let scratch = Scratch::new();
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let retention = Retention { tasks: keep, most_tasks: most, ticks: keep };
            let store = SqlStore::open(&here(), &url(&scratch.0), retention).await.expect("opened");
            let store = Arc::new(store.without_queue());
            let settings = RedisSettings {
                url: self.url.parse().expect("a URL"),
                mesh: mesh.clone(),
                store_id: store.id().to_owned(),
                durability: self.durability,
                replicas: 1,
                keep_tasks: keep,
                max_kept_tasks: most,
                keep_ticks: keep,
            };
            let queue = Arc::new(RedisQueue::open(&here(), settings).await.expect("opened"));
            let catalogue = Arc::new(FencedCatalogue::new(store.clone(), queue.clone()));
            nodes.push(Node { queue, catalogue, seeds: store });
        }
        self.scratch.lock().expect("no test panics while it holds this").push(scratch);
        nodes
    }

    async fn pass(&self, span: Duration) {
        // The server's clock counts in milliseconds and is the machine's.
        tokio::time::sleep(span + Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn redis_keeps_every_promise_of_a_store() {
    let server = Redis::start();
    tell_all(&Meshes::on(&server.url(), Durability::Fast)).await;
}

#[tokio::test]
async fn the_oldest_redis_keeps_every_promise_of_a_store() {
    let server = Redis::make(Make::Oldest, &[]);
    tell_all(&Meshes::on(&server.url(), Durability::Fast)).await;
}

#[tokio::test]
async fn a_valkey_that_waits_for_its_disk_keeps_every_promise_of_a_store() {
    let server = Redis::make(Make::Valkey, &[("appendonly", "yes"), ("appendfsync", "always")]);
    tell_all(&Meshes::on(&server.url(), Durability::Disk)).await;
}

#[tokio::test]
async fn a_replicated_redis_behind_sentinels_keeps_every_promise_of_a_store() {
    let (server, replica) = (Redis::start(), Redis::start());
    replica.replica_of(&server);
    replica.wait_for_link();
    let sentinels = Sentinels::start(3, &server, 2);
    tell_all(&Meshes::on(&sentinels.url(MASTER), Durability::Replicated)).await;
}

#[tokio::test]
async fn a_redis_cluster_keeps_every_promise_of_a_store() {
    let cluster = Cluster::start();
    tell_all(&Meshes::on(&cluster.url(), Durability::Fast)).await;
}
