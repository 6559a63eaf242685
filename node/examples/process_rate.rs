//! How many executions of `/bin/true` per second one node manages: `cargo run --release --example process_rate`.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::queue::task::{Attempt, Origin, TaskId};
use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use beatmesh_node::worker::runtime::{Execution, Functions};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const EXECUTIONS: usize = 2_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let runtime = Arc::new(ProcessRuntime::start("rate", Orphans::Sweep)?);
    let execution = Execution {
        task: TaskId::new(UnixMs(0), 0),
        attempt: Attempt(1),
        function: "true".parse()?,
        definition: Arc::new(toml::from_str("runtime = \"process\"\ncommand = [\"/bin/true\"]")?),
        input: Bytes::new(),
        content_type: String::new(),
        origin: Origin::Call,
        timeout: Duration::from_secs(10),
        output_limit: 1024,
    };
    for concurrency in [1, 8] {
        let start = Instant::now();
        let mut lanes = JoinSet::new();
        for _ in 0..concurrency {
            let (runtime, execution) = (Arc::clone(&runtime), execution.clone());
            lanes.spawn(async move {
                for _ in 0..EXECUTIONS / concurrency {
                    let (sender, _output) = mpsc::channel(4);
                    let ended = runtime.run(execution.clone(), sender).await;
                    assert!(ended.result.is_ok(), "{ended:?}");
                }
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane?;
        }
        let elapsed = start.elapsed();
        let rate = EXECUTIONS as f64 / elapsed.as_secs_f64();
        println!("concurrency {concurrency}: {EXECUTIONS} executions in {elapsed:.2?}, {rate:.0}/s");
    }
    Ok(())
}
