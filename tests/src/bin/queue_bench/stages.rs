//! What is measured, one after the other on the same mesh.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::Client;
use beatmesh_tests::figures::percentile;
use serde_json::Value;

use crate::{Bench, Options, Server};

/// Lone tasks whose latency is measured.
const ALONE: usize = 500;

/// Between two of them: the mesh is idle again.
const PAUSE: Duration = Duration::from_millis(4);

/// A worker that is not there takes nothing: tasks wait until it is let go on.
pub async fn all(bench: &Bench, options: &Options) -> [f64; 5] {
    bench.worker.signal(beatmesh_tests::Signal::Stop);
    let enqueued = in_batches(bench, options).await;
    let before = Instant::now();
    bench.worker.signal(beatmesh_tests::Signal::Continue);
    let processed = until_empty(bench, options.tasks, before).await;
    let singly = one_at_a_time(bench, options.tasks / 5).await;
    until_empty(bench, 0, Instant::now()).await;
    let latencies = alone(bench).await;
    let ms = |percent| percentile(&latencies, percent) as f64 / 1_000.0;
    [enqueued, processed, singly, ms(50.0), ms(99.0)]
}

async fn in_batches(bench: &Bench, options: &Options) -> f64 {
    let item = r#"{"function":"noop"}"#;
    let body = format!("[{}]", vec![item; options.batch].join(","));
    let left = Arc::new(AtomicUsize::new(options.tasks.div_ceil(options.batch)));
    let begun = Instant::now();
    let clients = (0..options.clients).map(|_| {
        let (client, left, body) = (bench.server.client(), left.clone(), body.clone());
        tokio::spawn(async move {
            while take_one(&left) {
                let answer = client.post("/v1/tasks:batch", body.clone()).await;
                assert_eq!(answer.status, 202, "{answer:?}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client that ends");
    }
    options.tasks as f64 / begun.elapsed().as_secs_f64()
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Looks at the store itself, seldom, so that looking costs nothing; answers tasks per second.
async fn until_empty(bench: &Bench, tasks: usize, since: Instant) -> f64 {
    loop {
        if open(bench).await == 0 {
            return tasks as f64 / since.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tasks that have not ended.
async fn open(bench: &Bench) -> u64 {
    if let Server::Redis(redis) = &bench.store {
        let counts = ["ready", "scheduled", "retry", "leased"];
        let fields = counts.map(|state| format!("default {state}"));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let said = redis.cli(&[&["HMGET", "{beatmesh:beatmesh}:counts"], fields.as_slice()].concat());
        return said.lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum();
    }
    let queues = bench.server.client().get("/v1/queues").await.json();
    let states = ["ready", "scheduled", "retry", "leased"];
    let of = |queue: &Value| states.iter().filter_map(|state| queue[state].as_u64()).sum::<u64>();
    queues["queues"].as_array().map_or(0, |queues| queues.iter().map(of).sum())
}

async fn one_at_a_time(bench: &Bench, tasks: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(tasks));
    let begun = Instant::now();
    let clients = (0..32).map(|_| {
        let (client, left): (Client, _) = (bench.server.client(), left.clone());
        tokio::spawn(async move {
            while take_one(&left) {
                let answer = client.post("/v1/functions/noop/tasks", String::new()).await;
                assert_eq!(answer.status, 202, "{answer:?}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client that ends");
    }
    tasks as f64 / begun.elapsed().as_secs_f64()
}

/// From the request until whoever waits has the end, in microseconds: the way there, the run on the other node and
/// the way back.
async fn alone(bench: &Bench) -> Vec<i64> {
    let client = bench.server.client();
    let mut latencies = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let answer = client.post("/v1/functions/noop/tasks", String::new()).await;
        let id = answer.json()["task_id"].as_str().expect("a task").to_owned();
        let ended = client.get(&format!("/v1/tasks/{id}?wait=5s")).await.json();
        assert_eq!(ended["state"], "done", "{ended}");
        latencies.push(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    latencies
}
