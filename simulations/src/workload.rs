//! What users do during a run: deploy a function, put a schedule in, enqueue tasks. All through real HTTP,
//! at whichever node answers.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use beatmesh_node::queue::task::TaskId;
use hyper::{Method, StatusCode};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

use crate::history::{Event, History};
use crate::world::client::send;

/// The schedule that every run has: due each second, and no due time may be skipped.
pub const SCHEDULE: &str = "every-second";

/// The function that everything runs.
const FUNCTION: &str = "work";

/// All nodes are up and in the ring within this, or something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Milliseconds between two tasks.
const PACE_MS: std::ops::Range<u64> = 100..600;

/// Acts as the users until `until`, counted from the world's start.
///
/// # Errors
/// The mesh does not come up, or refuses what is right.
pub async fn run(
    nodes: Vec<String>,
    mut dice: StdRng,
    history: History,
    until: Duration,
) -> anyhow::Result<()> {
    let nodes: Vec<IpAddr> = nodes.iter().map(|name| turmoil::lookup(name.as_str())).collect();
    let started = tokio::time::timeout(READY_WITHIN, async {
        for node in &nodes {
            while !matches!(send(*node, Method::GET, "/readyz", &[], "").await, Ok((StatusCode::OK, _))) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    started.await.context("the nodes did not become ready in time")?;
    let pick = |dice: &mut StdRng| nodes[dice.random_range(0..nodes.len())];

    let function = json!({ "runtime": "process", "command": ["scripted"] });
    put(pick(&mut dice), &format!("/v1/functions/{FUNCTION}"), &function).await?;
    let schedule = json!({ "cron": "* * * * * *", "function": FUNCTION, "misfire": "fire_all" });
    put(pick(&mut dice), &format!("/v1/schedules/{SCHEDULE}"), &schedule).await?;

    let mut count = 0;
    while turmoil::sim_elapsed().is_some_and(|now| now < until) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(PACE_MS))).await;
        count += 1;
        enqueue(&nodes, &mut dice, &history, count).await?;
    }
    Ok(())
}

async fn put(node: IpAddr, path: &str, definition: &serde_json::Value) -> anyhow::Result<()> {
    let (status, answer) = send(node, Method::PUT, path, &[], definition.to_string()).await?;
    if status != StatusCode::OK {
        bail!("PUT {path}: {status}: {answer}");
    }
    Ok(())
}

/// Enqueues one task, at other nodes when one does not answer: the key makes it the same task.
async fn enqueue(nodes: &[IpAddr], dice: &mut StdRng, history: &History, count: u64) -> anyhow::Result<()> {
    let (path, key) = (format!("/v1/functions/{FUNCTION}/tasks"), format!("task-{count}"));
    let first = dice.random_range(0..nodes.len());
    for node in nodes.iter().cycle().skip(first).take(nodes.len()) {
        match send(*node, Method::POST, &path, &[("Idempotency-Key", &key)], "{}").await {
            Ok((StatusCode::ACCEPTED, answer)) => {
                let id = answer["task_id"].as_str().context("202 without a task id")?;
                let task: TaskId = id.parse().map_err(anyhow::Error::msg)?;
                history.record(Event::Acknowledged { task });
                return Ok(());
            }
            // A node in trouble, and it says so.
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {}
            Ok((status, answer)) => bail!("POST {path}: {status}: {answer}"),
        }
    }
    // Nobody took it: nothing is promised.
    Ok(())
}
