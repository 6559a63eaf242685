//! A node that is killed with SIGKILL cannot clean up; the kernel does it.

mod harness;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use beatmesh_node::worker::runtime::Functions;
use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use harness::*;
use tokio::sync::mpsc;

const PLAY_NODE: &str = "PLAY_NODE_TO_BE_KILLED";

/// The node's part, played by this binary when the test below starts it again. Alone it does nothing.
#[tokio::test]
async fn node_to_be_killed() {
    if std::env::var_os(PLAY_NODE).is_none() {
        return;
    }
    let runtime = ProcessRuntime::start("node-1", Orphans::Sweep).expect("a runtime");
    let (sender, mut output) = mpsc::channel(4);
    let say_pid = async {
        println!("\npid={}", next_pid(&mut output).await);
        std::future::pending::<()>().await;
    };
    tokio::join!(runtime.run(shell("echo $$; exec sleep 1000"), sender), say_pid);
}

#[tokio::test]
async fn a_killed_node_takes_its_programs_with_it() {
    let mut node = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "node_to_be_killed", "--nocapture"])
        .env(PLAY_NODE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary again");
    let lines = BufReader::new(node.stdout.take().expect("its stdout")).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pid=").map(|pid| pid.parse::<u32>().expect("a pid")))
        .expect("a pid from the node");
    assert!(lives(pid));
    node.kill().expect("SIGKILL");
    node.wait().expect("its end");
    // Whoever adopts it reaps it at leisure; dead it must be.
    eventually("the program is dead", || !lives(pid)).await;
}
