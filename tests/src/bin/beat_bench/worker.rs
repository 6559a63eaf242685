//! A worker is killed with a hundred tasks in its hands, while another one stands by.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_tests::{Node, Scratch, SideFile, TestMesh, ledger, until};

use crate::ground::{Server, StoreKind, lone_node};
use crate::progress;
use crate::report::Report;

/// Tasks in the hands of the one that is killed.
const IN_FLIGHT: usize = 100;

/// Until they all run somewhere, with the leases' end as the net below.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills as often as that.
pub async fn measure(kind: StoreKind, trials: u32, report: &mut Report) {
    let what = format!("{}, worker killed with {IN_FLIGHT} tasks", kind.name());
    progress(format!("{what}: {trials} trials"));
    let (dir, server) = (Scratch::new(), Server::start(kind));
    let side = SideFile::new(dir.path(), "side");
    let front = lone_node(&server, &dir, "front", "server,beat").start();
    let start = |name| lone_node(&server, &dir, name, "worker").set("node.slots", 2 * IN_FLIGHT).start();
    let mut mesh = TestMesh { nodes: vec![front, start("worker-1")], dir: Scratch::new() };
    mesh.client(0).deploy("hold", &side.function(&script(&side))).await;
    let (mut restarts, mut all_again, mut lost, mut not_once) = (Vec::new(), Vec::new(), 0, 0);
    for trial in 0..trials {
        let name = if trial % 2 == 0 { "worker-2" } else { "worker-1" };
        restarts
            .extend(one(&mut mesh, &side, || start(name), &mut lost, &mut not_once, &mut all_again).await);
    }
    let tasks = IN_FLIGHT * usize::try_from(trials).unwrap_or(usize::MAX);
    report.times(format!("{what}: all have started elsewhere"), "<= 2,000 ms", &all_again);
    report.times(format!("{what}: each has started elsewhere"), "", &restarts);
    report.count(format!("{what}: tasks lost"), "0", lost, tasks);
    report.count(format!("{what}: tasks that were not begun twice and ended once"), "0", not_once, tasks);
}

/// The first attempt never ends by itself, the second one at once. `EPOCHREALTIME` is bash's own: no process is
/// started for it. What it writes need not survive the machine, so nothing waits for a disk.
fn script(side: &SideFile) -> String {
    let append = side.append("$BEATMESH_TASK $BEATMESH_ATTEMPT $EPOCHREALTIME");
    let append = append.split(" && ").next().unwrap_or_default();
    format!("{append}; [ $BEATMESH_ATTEMPT -gt 1 ] || exec sleep 100; echo $BEATMESH_ATTEMPT")
}

/// One kill: the mesh is a front and one worker, then another worker comes, then the first one dies. Answers after how
/// many milliseconds each task began again.
async fn one(
    mesh: &mut TestMesh,
    side: &SideFile,
    other: impl FnOnce() -> Node,
    lost: &mut usize,
    not_once: &mut usize,
    all_again: &mut Vec<i64>,
) -> Vec<i64> {
    let before = side.lines().len();
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT {
        tasks.push(mesh.client(0).enqueue("hold", "?retries=0", "").await);
    }
    let lines = async || side.lines().len() - before;
    until("all run", PATIENCE, lines, |lines| *lines == IN_FLIGHT).await;
    mesh.nodes.push(other());
    mesh.until_formed().await;
    let killed = ledger::now();
    let mut victim = mesh.nodes.remove(1);
    victim.kill();
    until("all run again", PATIENCE, lines, |lines| *lines >= 2 * IN_FLIGHT).await;
    let mut begun: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for task in &tasks {
        let record = mesh.client(0).finished(task).await;
        *lost += usize::from(record["state"] != "done");
        let is_as_it_should = record["result"].as_str().map(str::trim) == Some("2")
            && (&record["attempts"], &record["lost_leases"]) == (&2.into(), &1.into());
        *not_once += usize::from(!is_as_it_should);
    }
    for line in &side.lines()[before..] {
        let words: Vec<&str> = line.split(' ').collect();
        let [task, attempt, time] = words[..] else { panic!("a mixed line: {line}") };
        // Seconds with six digits behind the point, or the comma of some languages.
        let micros: i64 = time.replace(['.', ','], "").parse().expect("a time");
        begun.entry(task.to_owned()).or_default().push((attempt.to_owned(), micros / 1_000));
    }
    *not_once += begun.values().filter(|begun| begun.len() != 2).count();
    let again = begun.values().flatten().filter(|(attempt, _)| attempt != "1").map(|(_, at)| at - killed);
    let again: Vec<i64> = again.collect();
    let last = again.iter().max().copied();
    progress(format!("  the last one began again after {last:?} ms"));
    all_again.extend(last);
    again
}
