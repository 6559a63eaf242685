//! Replication is cut, and a while later the Redis dies: its replica is promoted and lacks what was acknowledged
//! meanwhile, unless somebody had waited for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::servers::{MASTER, Redis, Sentinels};
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, SideFile, TestMesh, http, ledger, until};
use futures_util::StreamExt;
use tokio::task::{JoinHandle, block_in_place};

use crate::progress;
use crate::report::Report;

/// From the cut until the master dies.
const CUT: Duration = Duration::from_millis(800);

/// A failover with the long times of a Sentinel.
const BACK: Duration = Duration::from_secs(30);

/// Between two tasks of one client; three of them make some 200 tasks a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Of all trials of one durability.
#[derive(Default)]
struct Found {
    acknowledged: usize,
    lost: usize,
    ticks: usize,
    /// Due times that ran more than once.
    again: usize,
    /// From the death until another master was agreed on, and until tasks were taken and done again.
    promoted: Vec<i64>,
    back: Vec<i64>,
    /// Tasks lost in each trial.
    lost_each: Vec<f64>,
    again_each: Vec<f64>,
}

/// Fails over as often as that, with new servers and nodes each time.
pub async fn measure(durability: &str, trials: u32, report: &mut Report) {
    let what = format!("Redis failover, `{durability}`");
    progress(format!("{what}: {trials} trials"));
    let mut found = Found::default();
    for trial in 0..trials {
        one(durability, &mut found).await;
        progress(format!(
            "{what}: {} of {trials}, {:.0} tasks lost, {:.0} ticks again",
            trial + 1,
            found.lost_each[trial as usize],
            found.again_each[trial as usize]
        ));
    }
    let goal = if durability == "replicated" { "0" } else { "" };
    report.count(format!("{what}: acknowledged tasks lost"), goal, found.lost, found.acknowledged);
    report.runs(format!("{what}: tasks lost by one failover"), goal, "tasks", &found.lost_each);
    report.count(format!("{what}: ticks fired again"), "", found.again, found.ticks);
    report.runs(format!("{what}: ticks fired again by one failover"), "", "ticks", &found.again_each);
    report.times(format!("{what}: until Sentinels agree on another master"), "", &found.promoted);
    report.times(format!("{what}: until tasks are taken and done again"), "", &found.back);
}

async fn one(durability: &str, found: &mut Found) {
    let (mut master, replica, spare) = block_in_place(|| (Redis::start(), Redis::start(), Redis::start()));
    let sentinels = block_in_place(|| {
        replica.replica_of(&master);
        Sentinels::start(3, &master, 2)
    });
    let url = sentinels.url(MASTER);
    let settings =
        |spec: beatmesh_tests::NodeSpec| spec.set("queue.url", &url).set("queue.durability", durability);
    let mesh = TestMesh::start_with(3, settings).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    ledger::start_ticking(&mesh.client(0), &side).await;
    let load = Load::start(&mesh);
    ledger::until_ticks(&mesh.client(0), "tick", 3).await;
    // Nobody gets in any more, not even the replica; who is in stays.
    master.config_set("requirepass", "cut");
    master.cli(&["--no-auth-warning", "-a", "cut", "client", "kill", "type", "replica"]);
    // This pause is the fault itself.
    tokio::time::sleep(CUT).await;
    master.kill();
    let dead = Instant::now();
    block_in_place(|| sentinels.wait_for_another(master.addr(), BACK));
    found.promoted.push(milliseconds(dead));
    if durability == "replicated" {
        // It waits for a replica of the new master.
        block_in_place(|| spare.replica_of(&replica));
    }
    until_taken_again(&mesh).await;
    found.back.push(milliseconds(dead));
    let tasks = load.stop().await;
    let lost = lost(&mesh, &tasks).await;
    // What the new master does not know to be fired is fired again by now.
    ledger::caught_up(&mesh.client(1), "tick").await;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for line in side.lines() {
        *runs.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let again = runs.values().filter(|count| **count > 1).count();
    found.acknowledged += tasks.len();
    found.lost += lost;
    found.lost_each.push(lost as f64);
    found.ticks += runs.len();
    found.again += again;
    found.again_each.push(again as f64);
}

fn milliseconds(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// Each node finds the way back by itself.
async fn until_taken_again(mesh: &TestMesh) {
    for index in 0..mesh.nodes.len() {
        let client = mesh.client(index);
        let look = async || client.post("/v1/functions/echo/tasks", "back").await;
        let taken = until("tasks are taken again", BACK, look, |answer| answer.status == 202).await;
        let task = taken.json()["task_id"].as_str().expect("an id").to_owned();
        let look = async || client.get(&format!("/v1/tasks/{task}?wait=20s")).await;
        let is_done =
            |answer: &beatmesh_tests::Answer| answer.status == 200 && answer.json()["state"] == "done";
        until("it is done", BACK, look, is_done).await;
    }
}

/// Which of the tasks that were taken are not known any more; all others have to end well.
async fn lost(mesh: &TestMesh, tasks: &[String]) -> usize {
    let client = &mesh.client(0);
    let ends = tasks.iter().map(|task| async move {
        let answer = client.get(&format!("/v1/tasks/{task}?wait=60s")).await;
        if answer.status == 404 {
            return 1;
        }
        assert_eq!(answer.ok().json()["state"], "done");
        0
    });
    futures_util::stream::iter(ends).buffer_unordered(16).collect::<Vec<usize>>().await.iter().sum()
}

/// Tasks through all nodes until it is told to stop; answers the ids of those that were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(mesh: &TestMesh) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let clients = (0..mesh.nodes.len()).map(|at| tokio::spawn(enqueue(mesh.client(at), stop.clone())));
        Self { clients: clients.collect(), stop }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut taken = Vec::new();
        for client in self.clients {
            taken.extend(client.await.expect("no client panics"));
        }
        taken
    }
}

async fn enqueue(client: Client, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut tasks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let request = client.request(reqwest::Method::POST, "/v1/functions/echo/tasks").body("x");
        let answer = http::send(request).await.expect("a node that runs answers");
        match answer.status {
            202 => tasks.push(answer.json()["task_id"].as_str().expect("an id").to_owned()),
            503 => {}
            other => panic!("{other} {}", answer.text()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    tasks
}
