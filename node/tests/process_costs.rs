//! What executions leave behind in the node, and what a large answer costs it.
//!
//! These tests count things of the whole process, so they take turns.

mod harness;

use std::fs;
use std::time::Duration;

use beatmesh_node::worker::runtime::Functions;
use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use bytes::Bytes;
use harness::*;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

static TURN: Mutex<()> = Mutex::const_new(());

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

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_ascii_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_executions_leave_no_zombie_and_no_descriptor() {
    let _turn = TURN.lock().await;
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

#[tokio::test]
async fn a_hundred_megabytes_reach_a_slow_reader_through_little_memory() {
    let _turn = TURN.lock().await;
    let runtime = ProcessRuntime::start("node-1", Orphans::Sweep).expect("a runtime");
    let mut flood = shell("exec head -c 100000000 /dev/zero");
    flood.output_limit = u64::MAX;
    flood.timeout = Duration::from_secs(120);
    let (sender, mut output) = mpsc::channel::<Bytes>(4);
    let before = resident_kib();
    let read = async {
        let (mut bytes, mut most) = (0, 0);
        while let Some(chunk) = output.recv().await {
            bytes += chunk.len();
            most = most.max(resident_kib());
            sleep(Duration::from_millis(1)).await;
        }
        (bytes, most)
    };
    let (ended, (bytes, most)) = tokio::join!(runtime.run(flood, sender), read);
    assert_eq!((ended.result, bytes), (Ok(()), 100_000_000));
    assert!(most < before + 8 * 1024, "{before} KiB before, {most} KiB at most");
}
