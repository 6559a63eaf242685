//! What users do during a run: deploy a function, put schedules in, edit one of them again and again, enqueue
//! tasks. All through real HTTP, at whichever node answers.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use beatmesh_node::catalogue::function::Function;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::queue::task::TaskId;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::history::{Event, History};
use crate::world::client::send;
use crate::world::functions::{FLAKY, ORDERED, POISON};
use crate::world::store::state::StoreState;

/// The schedule that every run has: due each second, and no due time may be skipped.
pub const SCHEDULE: &str = "every-second";

/// A schedule that is due each second and skips what had been decided before the store forgot it. Only some
/// runs have it.
pub const SKIPPING: &str = "skips-rollbacks";

/// The schedule that is edited, paused, resumed and deleted during the run.
const EDITED: &str = "edited";

/// Its due times, one after the other: texts that T1 can count.
const TIMES: [&str; 3] = ["* * * * * *", "*/2 * * * * *", "*/3 * * * * *"];

/// The function that most of it runs.
const FUNCTION: &str = "work";

/// A function of which two tasks of one order key may run at once.
pub const PAIRED: &str = "paired";

/// Order keys of each function: few, so that tasks meet.
const KEYS: [&str; 3] = ["one", "two", "three"];

/// So many nodes are waited for; others may join later.
const FIRST: usize = 3;

/// Milliseconds between two calls of one user.
const CALL_PACE_MS: std::ops::Range<u64> = 150..900;

/// All nodes are up and in the ring within this, or something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A definition that a node could not store is put in again after this.
const PUT_AGAIN: Duration = Duration::from_millis(100);

/// Milliseconds between two tasks.
const PACE_MS: std::ops::Range<u64> = 100..600;

/// Milliseconds between two edits of one user: some must fall between a due time and its late firing after a
/// crash of the Beat.
const EDIT_PACE_MS: std::ops::Range<u64> = 50..700;

/// Puts so many schedules in before anybody runs, all of them due at every full minute; answers their names.
pub fn prepare(store: &mut StoreState, schedules: usize) -> Vec<ScheduleName> {
    let definition = json!({ "cron": "0 * * * * *", "function": FUNCTION, "misfire": "fire_all" });
    let definition: Schedule = serde_json::from_value(definition).expect("it is a schedule");
    let names = (0..schedules).map(|number| format!("minutely-{number:05}"));
    let names: Vec<ScheduleName> = names.map(|name| name.parse().expect("it is a name")).collect();
    if !names.is_empty() {
        store.prepare(
            FUNCTION.parse().expect("it is a name"),
            function(),
            names.iter().cloned(),
            &definition,
        );
    }
    names
}

fn function() -> Function {
    let definition = json!({ "runtime": "process", "command": ["scripted"] });
    serde_json::from_value(definition).expect("it is a function")
}

/// What users are to do, by the time since the world's start.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Until then they go on.
    pub until: Duration,
    /// When one of them enqueues a task that takes down every node that runs it.
    pub poison_at: Option<Duration>,
    /// Whether there is [`SKIPPING`].
    pub skips_rollbacks: bool,
    /// Whether there are tasks with order keys.
    pub keys: bool,
}

/// Acts as the users.
///
/// # Errors
/// The mesh does not come up, or refuses what is right.
pub async fn run(nodes: Vec<String>, mut dice: StdRng, history: History, order: Order) -> anyhow::Result<()> {
    let until = order.until;
    let nodes: Vec<IpAddr> = nodes.iter().map(|name| turmoil::lookup(name.as_str())).collect();
    let started = tokio::time::timeout(READY_WITHIN, async {
        for node in &nodes[..FIRST] {
            while !matches!(send(*node, Method::GET, "/readyz", &[], "").await, Ok((StatusCode::OK, _))) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    started.await.context("the nodes did not become ready in time")?;
    let pick = |dice: &mut StdRng| nodes[dice.random_range(0..FIRST)];

    let function = serde_json::to_value(function())?;
    put(pick(&mut dice), &format!("/v1/functions/{FUNCTION}"), &function).await?;
    let flaky = json!({
        "runtime": "process", "command": ["scripted"], "retries": { "max": 3, "backoff": "200ms..1s" },
    });
    put(pick(&mut dice), &format!("/v1/functions/{FLAKY}"), &flaky).await?;
    let schedule = json!({ "cron": "* * * * * *", "function": FUNCTION, "misfire": "fire_all" });
    put(pick(&mut dice), &format!("/v1/schedules/{SCHEDULE}"), &schedule).await?;
    if order.skips_rollbacks {
        let mut schedule = schedule;
        schedule["on_store_rollback"] = json!("skip");
        put(pick(&mut dice), &format!("/v1/schedules/{SKIPPING}"), &schedule).await?;
    }

    let ordering = if order.keys {
        put_ordered(pick(&mut dice)).await?;
        Some(StdRng::seed_from_u64(dice.random()))
    } else {
        None
    };

    // Two users: while one waits for a node that has died, the other goes on.
    let [one, other, calling] = [(); 3].map(|()| StdRng::seed_from_u64(dice.random()));
    let editing = edit_all_along(&nodes, one, &history, until);
    let editing_too = edit_all_along(&nodes, other, &history, until);
    let enqueueing = async {
        let mut count = 0;
        while is_before(until) {
            tokio::time::sleep(Duration::from_millis(dice.random_range(PACE_MS))).await;
            count += 1;
            let first = dice.random_range(0..nodes.len());
            let (key, input) = (format!("task-{count}"), Bytes::from_static(b"{}"));
            let function = if dice.random_bool(0.3) { FLAKY } else { FUNCTION };
            let task = Task { function, key: &key, order_key: None, input };
            enqueue(&nodes, first, &history, &task).await?;
            // Whoever did not hear the answer asks once more, somewhere else.
            if dice.random_bool(0.2) {
                enqueue(&nodes, first + 1, &history, &task).await?;
            }
        }
        anyhow::Ok(())
    };
    let poisoning = async {
        let Some(at) = order.poison_at else { return Ok(()) };
        let now = turmoil::sim_elapsed().unwrap_or_default();
        tokio::time::sleep(at.saturating_sub(now)).await;
        let input = Bytes::from_static(POISON);
        let task = Task { function: FUNCTION, key: "poison", order_key: None, input };
        while enqueue(&nodes, 0, &history, &task).await?.is_none() {
            tokio::time::sleep(PUT_AGAIN).await;
        }
        Ok(())
    };
    let calling = call_all_along(&nodes, calling, until);
    let ordering = async {
        match ordering {
            Some(dice) => order_all_along(&nodes, dice, &history, until).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(enqueueing, editing, editing_too, calling, poisoning, ordering).map(drop)
}

fn is_before(until: Duration) -> bool {
    turmoil::sim_elapsed().is_some_and(|now| now < until)
}

/// Deploys the functions of tasks with order keys.
async fn put_ordered(node: IpAddr) -> anyhow::Result<()> {
    let mut function = json!({
        "runtime": "process", "command": ["scripted"], "retries": { "max": 3, "backoff": "200ms..1s" },
    });
    put(node, &format!("/v1/functions/{ORDERED}"), &function).await?;
    function["per_order_key"] = json!(2);
    put(node, &format!("/v1/functions/{PAIRED}"), &function).await
}

/// Enqueues tasks with order keys, and cancels some of them.
async fn order_all_along(
    nodes: &[IpAddr],
    mut dice: StdRng,
    history: &History,
    until: Duration,
) -> anyhow::Result<()> {
    let mut count = 0;
    while is_before(until) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(PACE_MS))).await;
        let (function, order_key) =
            ([ORDERED, PAIRED][dice.random_range(0..2)], KEYS[dice.random_range(0..3)]);
        // Often the second comes while the first runs.
        for _ in 0..dice.random_range(1..=2) {
            count += 1;
            let (key, input) = (format!("ordered-{count}"), Bytes::from_static(b"{}"));
            let task = Task { function, key: &key, order_key: Some(order_key), input };
            let first = dice.random_range(0..nodes.len());
            let taken = enqueue(nodes, first, history, &task).await?;
            if dice.random_bool(0.2) {
                enqueue(nodes, first + 1, history, &task).await?;
            }
            if let Some(id) = taken.filter(|_| dice.random_bool(0.15)) {
                cancel(nodes[dice.random_range(0..nodes.len())], id).await?;
            }
        }
    }
    Ok(())
}

/// Takes a task back, if it has not begun.
async fn cancel(node: IpAddr, task: TaskId) -> anyhow::Result<()> {
    let path = format!("/v1/tasks/{task}");
    match send(node, Method::DELETE, &path, &[], "").await {
        // It has begun, or the store has forgotten it.
        Ok((StatusCode::OK | StatusCode::CONFLICT | StatusCode::NOT_FOUND, _)) => Ok(()),
        // A node in trouble.
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => Ok(()),
        Ok((status, answer)) => bail!("DELETE {path}: {status}: {answer}"),
    }
}

/// Edits one schedule in every way at random moments. Whether an edit was made is judged by the store's
/// history: a node in trouble may not know.
async fn edit_all_along(
    nodes: &[IpAddr],
    mut dice: StdRng,
    history: &History,
    until: Duration,
) -> anyhow::Result<()> {
    let path = format!("/v1/schedules/{EDITED}");
    let mut cron = TIMES[0];
    while is_before(until) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(EDIT_PACE_MS))).await;
        let node = nodes[dice.random_range(0..nodes.len())];
        let (method, path, body) = match dice.random_range(0..10) {
            0..=3 => {
                // Another input is an edit that keeps the times, and with them the cursor: what such an edit
                // makes void, only its revision makes void.
                let (times, input) = (dice.random_range(0..2 * TIMES.len()), dice.random_range(0..3));
                cron = TIMES.get(times).copied().unwrap_or(cron);
                let definition =
                    json!({ "cron": cron, "function": FUNCTION, "misfire": "fire_all", "input": input });
                (Method::PUT, path.clone(), definition.to_string())
            }
            4 | 5 => (Method::POST, format!("{path}/pause"), String::new()),
            6..=8 => (Method::POST, format!("{path}/resume"), String::new()),
            _ => (Method::DELETE, path.clone(), String::new()),
        };
        let enabled = match path.rsplit_once('/') {
            Some((_, "pause")) => Some(false),
            Some((_, "resume")) => Some(true),
            _ => None,
        };
        match send(node, method.clone(), &path, &[], body).await {
            Ok((StatusCode::OK, answer)) => {
                let revision = answer["revision"].as_u64();
                let revision = revision.with_context(|| format!("{method} {path}: no revision: {answer}"))?;
                let schedule = EDITED.parse().expect("it is a name");
                history.record(Event::EditAcknowledged { schedule, revision, enabled });
            }
            Ok((StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE, _))
            | Err(_) => {}
            Ok((status, answer)) => bail!("{method} {path}: {status}: {answer}"),
        }
    }
    Ok(())
}

/// Puts a definition in, again and again while the node says that it does not know: the same definition
/// twice is one.
async fn put(node: IpAddr, path: &str, definition: &serde_json::Value) -> anyhow::Result<()> {
    loop {
        match send(node, Method::PUT, path, &[], definition.to_string()).await? {
            (StatusCode::OK, _) => return Ok(()),
            (StatusCode::SERVICE_UNAVAILABLE, _) => tokio::time::sleep(PUT_AGAIN).await,
            (status, answer) => bail!("PUT {path}: {status}: {answer}"),
        }
    }
}

/// Calls the function, and expects its answer or a word about what is wrong. That no call runs twice is judged
/// by the history.
async fn call_all_along(nodes: &[IpAddr], mut dice: StdRng, until: Duration) -> anyhow::Result<()> {
    let path = format!("/v1/functions/{FUNCTION}/call");
    while is_before(until) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(CALL_PACE_MS))).await;
        let node = nodes[dice.random_range(0..nodes.len())];
        match send(node, Method::POST, &path, &[], "{}").await {
            Ok((StatusCode::OK | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {}
            Ok((status, answer)) => bail!("POST {path}: {status}: {answer}"),
        }
    }
    Ok(())
}

/// A task that a user wants done.
struct Task<'a> {
    function: &'a str,
    /// Sent twice it is the same task.
    key: &'a str,
    order_key: Option<&'a str>,
    input: Bytes,
}

/// Enqueues one task, at other nodes when one does not answer: the key makes it the same task. Answers
/// which one it is, if somebody took it.
async fn enqueue(
    nodes: &[IpAddr],
    first: usize,
    history: &History,
    task: &Task<'_>,
) -> anyhow::Result<Option<TaskId>> {
    let Task { function, key, order_key, input } = task;
    let mut path = format!("/v1/functions/{function}/tasks");
    if let Some(order_key) = order_key {
        path.push_str(&format!("?order_key={order_key}"));
    }
    let deadly = input == POISON;
    for node in nodes.iter().cycle().skip(first).take(nodes.len()) {
        match send(*node, Method::POST, &path, &[("Idempotency-Key", *key)], input.clone()).await {
            Ok((StatusCode::ACCEPTED, answer)) => {
                let id = answer["task_id"].as_str().context("202 without a task id")?;
                let task: TaskId = id.parse().map_err(anyhow::Error::msg)?;
                let key = (*key).to_owned();
                history.record(Event::Acknowledged { task, key, deadly });
                return Ok(Some(task));
            }
            // A node in trouble, and it says so.
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {}
            Ok((status, answer)) => bail!("POST {path}: {status}: {answer}"),
        }
    }
    // Nobody took it: nothing is promised.
    Ok(None)
}
