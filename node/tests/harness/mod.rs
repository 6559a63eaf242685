//! Executions for tests, and eyes on the processes behind them.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::function::Function;
use beatmesh_node::queue::task::{Attempt, Origin, TaskId};
use beatmesh_node::worker::runtime::{Ended, Execution, Functions};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes on a loaded machine; reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn process(command: &[&str]) -> Function {
    let function = json!({ "runtime": "process", "command": command });
    let function: Function = serde_json::from_value(function).expect("a process function");
    function.validate().expect("a valid function");
    function
}

pub fn execution(definition: Function) -> Execution {
    static TASKS: AtomicU64 = AtomicU64::new(1);
    Execution {
        task: TaskId::new(UnixMs(1_000), TASKS.fetch_add(1, Ordering::Relaxed).into()),
        attempt: Attempt(1),
        function: "tried".parse().expect("a name"),
        definition: Arc::new(definition),
        input: Bytes::new(),
        content_type: String::new(),
        origin: Origin::Call,
        timeout: DEADLINE,
        output_limit: 1024 * 1024,
    }
}

pub fn shell(script: &str) -> Execution {
    execution(process(&["/bin/sh", "-c", script]))
}

/// Runs it to its end and collects what it answers.
pub async fn answer(functions: &dyn Functions, execution: Execution) -> (Ended, Vec<u8>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    let mut answer = Vec::new();
    let collect = async {
        while let Some(chunk) = receiver.recv().await {
            answer.extend_from_slice(&chunk);
        }
    };
    let both = async { tokio::join!(functions.run(execution, sender), collect) };
    let (ended, ()) = timeout(2 * DEADLINE, both).await.expect("the execution ends");
    (ended, answer)
}

pub fn pids(text: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(text);
    text.split_ascii_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// The next line of output as a pid, while the execution goes on.
pub async fn next_pid(output: &mut mpsc::Receiver<Bytes>) -> u32 {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let chunk = timeout(DEADLINE, output.recv()).await.expect("output in time").expect("output");
        line.extend_from_slice(&chunk);
    }
    pids(&line)[0]
}

/// The state letter and the parent in `/proc/<pid>/stat`; `None` when there is no such process.
pub fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Runs code or may do so again: neither gone nor a zombie.
pub fn lives(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

pub fn exists(pid: u32) -> bool {
    state_and_parent(pid).is_some()
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not in {DEADLINE:?}: {what}"));
}

/// Waits until nothing is left of a process, not even a zombie.
pub async fn gone(pid: u32) {
    eventually(&format!("process {pid} is gone"), || !exists(pid)).await;
}
