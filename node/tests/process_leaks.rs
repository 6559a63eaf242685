//! What executions leave behind in the node: nothing.
//!
//! The test counts what the whole process has, so it is alone in this binary.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod harness;

use std::fs;
use std::time::Duration;

use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use harness::*;
use tokio::task::JoinSet;

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn children() -> Vec<(u32, char)> {
    let pids = fs::read_dir("/proc").expect("procfs").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| state_and_parent(pid).map(|(state, parent)| (pid, state, parent)))
        .filter(|(_, _, parent)| *parent == std::process::id())
        .map(|(pid, state, _)| (pid, state))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_executions_leave_no_zombie_and_no_descriptor() {
    for orphans in [Orphans::Sweep, Orphans::Leave] {
        let runtime = std::sync::Arc::new(ProcessRuntime::start("node-1", orphans).expect("a runtime"));
        answer(&*runtime, shell("true")).await;
        let before = open_files();
        let mut running = JoinSet::new();
        for turn in 0..200_u32 {
            let runtime = runtime.clone();
            running.spawn(async move {
                let script = ["true", "exit 1", "sleep 1000 & exit 0", "sleep 1000"][turn as usize % 4];
                let mut execution = shell(script);
                if turn % 7 == 0 {
                    execution = harness::execution(process(&["no-such-program"]));
                }
                execution.timeout = if turn % 4 == 3 { Duration::from_millis(20) } else { DEADLINE };
                // A part is dropped in the middle, some of it before the program has started.
                if turn % 5 == 0 {
                    let some_time = Duration::from_millis(u64::from(turn) / 10);
                    drop(tokio::time::timeout(some_time, answer(&*runtime, execution)).await);
                } else {
                    answer(&*runtime, execution).await;
                }
            });
            if running.len() >= 16 {
                running.join_next().await.expect("one runs").expect("no panic");
            }
        }
        while let Some(end) = running.join_next().await {
            end.expect("no panic");
        }
        eventually("every child is reaped", || children().is_empty()).await;
        eventually("every descriptor is closed", || open_files() <= before).await;
    }
}
