//! How much one SQLite file carries, every acknowledged change on the disk:
//! `cargo run --release --example store_rate [directory]`. Each figure is the median of five runs.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::{QueueName, ScheduleName};
use beatmesh_node::catalogue::schedule::Overlap;
use beatmesh_node::queue::task::{Completion, NewTask, TaskId, TaskOutcome, TaskState};
use beatmesh_node::queue::tick::{TickCommit, TickDecision, TickOutcome, Verdict};
use beatmesh_node::queue::{Claimant, TaskQueue};
use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::sql::SqlStore;
use beatmesh_node::store::sql::scratch::{Scratch, open};
use bytes::Bytes;
use tokio::task::JoinSet;
use uuid::Uuid;

const RUNS: usize = 5;
const CALLERS: usize = 64;
const WORKERS: usize = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let mut lines: Vec<(&str, Vec<f64>)> = [
        "enqueue, 1 caller",
        "enqueue, 64 callers",
        "enqueue, 1 caller, 100 at once",
        "claim 32, complete each",
        "enqueue, claim, complete at the same time",
        "commit_tick, 1 schedule",
        "commit_tick, 64 schedules",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    for _ in 0..RUNS {
        let scratch = Scratch::within(&parent);
        let store = Arc::new(open(&scratch.0).await);
        let rates = [
            enqueue(&store, 1, 1_000, 1).await?,
            enqueue(&store, CALLERS, 8_000, 1).await?,
            enqueue(&store, 1, 10_000, 100).await?,
            work_off(&store, 19_000).await?,
            end_to_end(&store, 10_000).await?,
            ticks(&store, "one", 1, 500).await?,
            ticks(&store, "many", CALLERS, 100).await?,
        ];
        lines.iter_mut().zip(rates).for_each(|((_, all), rate)| all.push(rate));
        store.close().await;
    }
    for (name, mut rates) in lines {
        rates.sort_by(f64::total_cmp);
        println!("{name:<42} {:>8.0}/s  ({:.0} to {:.0})", rates[RUNS / 2], rates[0], rates[RUNS - 1]);
    }
    Ok(())
}

fn task() -> NewTask {
    static TASKS: AtomicU64 = AtomicU64::new(1);
    let id = TaskId(Uuid::from_u128(u128::from(TASKS.fetch_add(1, Ordering::Relaxed)) << 32));
    let task = NewTask::new(id, "measured".parse().expect("a name"));
    NewTask { input: Bytes::from_static(&[b'x'; 200]), content_type: "text/plain".to_owned(), ..task }
}

async fn enqueue(store: &Arc<SqlStore>, callers: usize, tasks: usize, batch: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut lanes = JoinSet::new();
    for _ in 0..callers {
        let store = store.clone();
        lanes.spawn(async move {
            for _ in 0..tasks / callers / batch {
                store.enqueue((0..batch).map(|_| task()).collect()).await?;
            }
            anyhow::Ok(())
        });
    }
    join(lanes).await?;
    Ok(tasks as f64 / start.elapsed().as_secs_f64())
}

/// Claims and completes `tasks` tasks as the workers of some nodes would.
async fn work_off(store: &Arc<SqlStore>, tasks: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let left = Arc::new(AtomicU64::new(tasks as u64));
    let mut lanes = JoinSet::new();
    for worker in 0..WORKERS {
        let (store, left) = (store.clone(), left.clone());
        lanes.spawn(async move {
            let node = format!("node-{worker}");
            let who = Claimant { queues: vec![QueueName::default()], ..Claimant::new(node) };
            while left.load(Ordering::Relaxed) > 0 {
                let claimed = store.claim(&who, 32, Duration::from_secs(30)).await?;
                let mut ends = JoinSet::new();
                for task in claimed {
                    let (store, left) = (store.clone(), left.clone());
                    ends.spawn(async move {
                        let outcome = TaskOutcome::Done {
                            output: Bytes::from_static(b"{\"ok\":true}"),
                            content_type: "application/json".to_owned(),
                        };
                        let end = store.complete(task.id, task.attempt, outcome, String::new()).await?;
                        ensure!(end == Completion::Recorded(TaskState::Done), "{end:?}");
                        left.fetch_sub(1, Ordering::Relaxed);
                        Ok(())
                    });
                }
                join(ends).await?;
            }
            anyhow::Ok(())
        });
    }
    join(lanes).await?;
    Ok(tasks as f64 / start.elapsed().as_secs_f64())
}

async fn end_to_end(store: &Arc<SqlStore>, tasks: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let whole = tasks / CALLERS * CALLERS;
    tokio::try_join!(enqueue(store, CALLERS, whole, 1), work_off(store, whole))?;
    Ok(whole as f64 / start.elapsed().as_secs_f64())
}

/// Each schedule commits one due time after the other; due times are a millisecond apart.
async fn ticks(store: &Arc<SqlStore>, prefix: &str, schedules: usize, each: usize) -> anyhow::Result<f64> {
    let function = serde_json::json!({"runtime": "builtin", "handler": "noop"});
    store.put_function(&"measured".parse()?, &serde_json::from_value(function)?, None).await?;
    let definition = serde_json::json!({"cron": "* * * * * *", "function": "measured"});
    let definition = serde_json::from_value(definition)?;
    for n in 0..schedules {
        store.put_schedule(&format!("{prefix}-{n}").parse()?, &definition, None).await?;
    }
    // The due times that are committed below have to be past.
    tokio::time::sleep(Duration::from_millis(each as u64)).await;
    let states = store.schedule_states().await?;
    let start = Instant::now();
    let mut lanes = JoinSet::new();
    for state in states.into_iter().filter(|state| state.schedule.as_str().starts_with(prefix)) {
        let store = store.clone();
        lanes.spawn(async move {
            for n in 0..each as i64 {
                let cursor = UnixMs(state.cursor.0 + n);
                let outcome = store.commit_tick(commit(&state.schedule, state.revision, cursor)).await?;
                ensure!(matches!(outcome, TickOutcome::Committed { .. }), "{outcome:?}");
            }
            Ok(())
        });
    }
    join(lanes).await?;
    Ok((schedules * each) as f64 / start.elapsed().as_secs_f64())
}

fn commit(schedule: &ScheduleName, revision: u64, cursor: UnixMs) -> TickCommit {
    let due = UnixMs(cursor.0 + 1);
    TickCommit {
        schedule: schedule.clone(),
        revision,
        expected_cursor: cursor,
        decisions: vec![TickDecision { due, from: due, count: 1, verdict: Verdict::Fire }],
        function: "measured".parse().expect("a name"),
        queue: QueueName::default(),
        input: Bytes::new(),
        retries: 0,
        overlap: Overlap::Allow,
        order: None,
        node: "node-0".to_owned(),
    }
}

async fn join(mut lanes: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(lane) = lanes.join_next().await {
        lane.context("a lane panicked")??;
    }
    Ok(())
}
