//! What is measured, one after the other on the same mesh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::Client;
use beatmesh_tests::figures::percentile;
use beatmesh_tests::servers::Redis;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::{Bench, Options, Server};

/// Lone tasks whose latency is measured.
const ALONE: usize = 1_000;

/// Between two of them: the mesh is idle again.
const PAUSE: Duration = Duration::from_millis(10);

/// A worker that is not there takes nothing: tasks wait until it is let go on.
pub async fn all(bench: &mut Bench, options: &Options) -> [f64; 7] {
    bench.worker.signal(beatmesh_tests::Signal::Stop);
    let enqueued = in_batches(bench, options).await;
    let before = Instant::now();
    bench.worker.signal(beatmesh_tests::Signal::Continue);
    let processed = until_empty(bench, options.tasks, before).await;
    let singly = one_at_a_time(bench, options.tasks / 5).await;
    until_empty(bench, 0, Instant::now()).await;
    let answers = answered(bench).await;
    let starts = started(bench).await;
    let ms = |of: &[i64], percent| percentile(of, percent) as f64 / 1_000.0;
    let [start, answer] = [&starts, &answers].map(|of| [ms(of, 50.0), ms(of, 99.0)]);
    [enqueued, processed, singly, start[0], start[1], answer[0], answer[1]]
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
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tasks that have not ended.
async fn open(bench: &Bench) -> u64 {
    if let Server::Redis(redis) = &bench.store {
        return open_in_redis(redis).await.expect("a Redis that answers");
    }
    let queues = bench.server.client().get("/v1/queues").await.json();
    let states = ["ready", "scheduled", "retry", "leased"];
    let of = |queue: &Value| states.iter().filter_map(|state| queue[state].as_u64()).sum::<u64>();
    queues["queues"].as_array().map_or(0, |queues| queues.iter().map(of).sum())
}

/// Not with a command of the shell: to start one costs more than many tasks.
async fn open_in_redis(redis: &Redis) -> std::io::Result<u64> {
    let counts = ["ready", "scheduled", "retry", "leased"].map(|state| format!("default {state}"));
    let words = ["HMGET", "{beatmesh:beatmesh}:counts"].into_iter().chain(counts.iter().map(String::as_str));
    let question = words.fold(format!("*{}\r\n", 2 + counts.len()), |question, word| {
        format!("{question}${}\r\n{word}\r\n", word.len())
    });
    let mut stream = BufStream::new(TcpStream::connect(redis.addr()).await?);
    stream.write_all(question.as_bytes()).await?;
    stream.flush().await?;
    let mut lines = stream.lines();
    let (mut sum, mut left) = (0, counts.len());
    while left > 0 {
        let line = lines.next_line().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        // Of each count its length, and then itself; or -1 in place of both.
        left -= usize::from(line == "$-1" || line.starts_with(|first: char| first.is_ascii_digit()));
        sum += line.parse().unwrap_or(0);
    }
    Ok(sum)
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

/// From the request until the function begins on the other node, in microseconds. The worker says when in its log, by
/// the same clock, so it is another one than the one whose throughput is measured.
async fn started(bench: &mut Bench) -> Vec<i64> {
    bench.worker.stop();
    let worker = bench.another("timed").set("log.level", "info,beatmesh_node::worker=debug").start();
    let client = bench.server.client();
    warm_up(&client).await;
    let mut asked = BTreeMap::new();
    for _ in 0..ALONE {
        tokio::time::sleep(PAUSE).await;
        let before = wall_us();
        let answer = client.post("/v1/functions/noop/tasks", String::new()).await;
        asked.insert(answer.json()["task_id"].as_str().expect("a task").to_owned(), before);
    }
    until_empty(bench, 0, Instant::now()).await;
    let begun = worker.events("a task begins");
    let latencies = begun.iter().filter_map(|line| {
        let at: jiff::Timestamp = line["timestamp"].as_str()?.parse().expect("a time");
        Some(at.as_microsecond() - asked.get(line["task"].as_str()?)?)
    });
    let latencies: Vec<_> = latencies.collect();
    assert_eq!(latencies.len(), ALONE, "every task has begun once");
    bench.worker = worker;
    latencies
}

fn wall_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    i64::try_from(now.as_micros()).expect("a time of this age")
}

/// Connections are made, and the worker is known.
async fn warm_up(client: &Client) {
    for _ in 0..20 {
        waited_for(client).await;
    }
}

async fn waited_for(client: &Client) {
    let answer = client.post("/v1/functions/noop/tasks", String::new()).await;
    let id = answer.json()["task_id"].as_str().expect("a task").to_owned();
    let ended = client.get(&format!("/v1/tasks/{id}?wait=5s")).await.json();
    assert_eq!(ended["state"], "done", "{ended}");
}

/// From the request until whoever waits has the end, in microseconds: the way there, the run on the other node and
/// the way back.
async fn answered(bench: &Bench) -> Vec<i64> {
    let client = bench.server.client();
    warm_up(&client).await;
    let mut latencies = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        waited_for(&client).await;
        latencies.push(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    latencies
}
