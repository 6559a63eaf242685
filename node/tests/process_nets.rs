//! Each net under an execution alone, without the sweep that would hide a hole in it: the end of the
//! group, the dropped future, and the kernel's, for a node that is killed and cannot clean up. And what a
//! large answer costs.

mod harness;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use beatmesh_node::worker::runtime::Functions;
use beatmesh_node::worker::runtime::process::{Orphans, ProcessRuntime};
use bytes::Bytes;
use harness::*;
use tokio::sync::mpsc;
use tokio::time::sleep;

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

const PLAY_HEIR: &str = "PLAY_NODE_WITH_INHERITED_CHILDREN";

/// A node that a shell has become, played by this binary: it has a child that it did not start.
#[tokio::test]
async fn node_with_an_inherited_child() {
    if std::env::var_os(PLAY_HEIR).is_none() {
        return;
    }
    let runtime = ProcessRuntime::start("node-1", Orphans::Sweep).expect("a runtime");
    let (_, output) = answer(&runtime, shell("setsid sleep 1000 & echo $!")).await;
    println!("\nescaped={}", pids(&output)[0]);
    // Until the test has seen enough.
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_child_that_no_function_started_is_left_alone() {
    let script = format!(
        "sleep 1000 & echo inherited=$!; exec {:?} \"$@\"",
        std::env::current_exe().expect("this binary")
    );
    let mut node = Command::new("sh")
        .args(["-c", &script, "node", "--exact", "node_with_an_inherited_child", "--nocapture"])
        .env(PLAY_HEIR, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(node.stdout.take().expect("its stdout")).lines().map_while(Result::ok);
    let mut pid = |name: &str| {
        let line = lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        line.expect("a pid").parse::<u32>().expect("a pid")
    };
    let (inherited, escaped) = (pid("inherited="), pid("escaped="));
    eventually("the function's escaped process is dead", || !lives(escaped)).await;
    assert!(lives(inherited), "it was none of the node's business");
    node.kill().expect("SIGKILL");
    node.wait().expect("its end");
    Command::new("kill").arg(inherited.to_string()).status().expect("kill");
}

#[tokio::test]
async fn the_group_alone_takes_the_grandchildren_with_it() {
    let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime");
    for end in ["exit 0", "exit 3", "kill -KILL $$", "exec sleep 1000"] {
        let mut parent = shell(&format!("sleep 1000 & echo $!; (sleep 1000 & echo $!); {end}"));
        parent.timeout = Duration::from_secs(2);
        let (_, answer) = answer(&runtime, parent).await;
        let grandchildren = pids(&answer);
        assert_eq!(grandchildren.len(), 2);
        // Without a subreaper, init reaps them, in its own time.
        eventually("the grandchildren are dead", || !grandchildren.iter().any(|pid| lives(*pid))).await;
    }
}

#[tokio::test]
async fn a_dropped_future_alone_kills_the_group_and_reaps_the_leader() {
    let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime");
    let (sender, mut output) = mpsc::channel(4);
    let mut running = Box::pin(runtime.run(shell("sleep 1000 & echo $! $$; wait"), sender));
    let (grandchild, leader) = tokio::select! {
        ended = &mut running => panic!("{ended:?}"),
        chunk = output.recv() => {
            let both = pids(&chunk.expect("output"));
            (both[0], both[1])
        }
    };
    assert!(lives(leader) && lives(grandchild));
    drop(running);
    gone(leader).await;
    eventually("the grandchild is dead", || !lives(grandchild)).await;
}

#[tokio::test]
async fn an_escaped_grandchild_that_holds_stdout_does_not_delay_the_answer() {
    let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime");
    // One keeps the pipe open and silent, one fills it for ever. The substitution returns when the escaped
    // process has taken over the real stdout.
    for escaped in ["sleep 1000", "yes"] {
        let script = format!("exec 3>&1; echo $(setsid sh -c 'echo $$; exec >&3 2>&-; exec {escaped}' &)");
        let mut holder = shell(&script);
        holder.output_limit = u64::MAX;
        let (ended, output) = answer(&runtime, holder).await;
        assert_eq!(ended.result, Ok(()), "{escaped}");
        let text = String::from_utf8(output).expect("UTF-8");
        let pid = text.lines().find_map(|line| line.parse::<u32>().ok()).expect("the escaped pid");
        if escaped == "sleep 1000" {
            assert!(lives(pid), "it was to hold the pipe open");
        }
        // Nobody sweeps here. The other one meets the closed pipe.
        Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status().expect("kill");
        eventually("the escaped process is dead", || !lives(pid)).await;
    }
}

#[tokio::test]
async fn a_dropped_runtime_kills_what_it_has_started() {
    // The start is dropped while it waits for the forking thread: nobody else holds what that thread starts.
    for _ in 0..20 {
        let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime");
        let (sender, _output) = mpsc::channel(4);
        let mut marked = shell("exec sleep 1000");
        marked.content_type = "text/x-dropped-runtime".into();
        let mut running = Box::pin(runtime.run(marked, sender));
        assert!(futures_util::poll!(&mut running).is_pending());
        drop(running);
        drop(runtime);
    }
    eventually("no marked program is left", || !marked_process_lives("text/x-dropped-runtime")).await;
}

#[tokio::test]
async fn a_hundred_megabytes_reach_a_slow_reader_through_little_memory() {
    let runtime = ProcessRuntime::start("node-1", Orphans::Leave).expect("a runtime");
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
            // This reader is the slow one.
            sleep(Duration::from_millis(1)).await;
        }
        (bytes, most)
    };
    let (ended, (bytes, most)) = tokio::join!(runtime.run(flood, sender), read);
    assert_eq!((ended.result, bytes), (Ok(()), 100_000_000));
    assert!(most < before + 16 * 1024, "{before} KiB before, {most} KiB at most");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_ascii_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn marked_process_lives(mark: &str) -> bool {
    std::fs::read_dir("/proc").expect("procfs").flatten().any(|entry| {
        std::fs::read(entry.path().join("environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|line| line.ends_with(mark.as_bytes())))
    })
}
