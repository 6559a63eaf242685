//! Nodes whose Redis dies, forgets, is full or fails over: what was acknowledged survives as far as the durability
//! says, history is not fired again, and everything goes on by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::{from_env, summary};
use beatmesh_tests::servers::{Cluster, MASTER, Redis, Sentinels};
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Answer, Client, NodeSpec, SideFile, TestMesh, http, ledger, until, until_some};
use serde_json::{Value, json};

/// A store that is back is found within a second or two; a busy machine gets a multiple of it.
const BACK: Duration = Duration::from_secs(30);

async fn mesh_on(url: &str, settings: impl Fn(NodeSpec) -> NodeSpec) -> TestMesh {
    let mesh = TestMesh::start_with(3, |spec| settings(spec.set("queue.url", url))).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    mesh
}

/// Tasks cannot be taken, and clients are told to come back; calls are answered all the same.
async fn assert_no_tasks(client: &Client) {
    let answer = client.post("/v1/functions/echo/tasks", "x").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    let problem = answer.json();
    let kinds = ["store_unavailable", "outcome_unknown"];
    assert!(kinds.contains(&problem["type"].as_str().unwrap()), "{problem:#}");
    assert_eq!(client.call("echo", "calls go on").await.ok().text(), "calls go on");
}

/// Waits until tasks are taken and done again.
async fn tasks_again(mesh: &TestMesh) -> Duration {
    let begin = Instant::now();
    for index in 0..3 {
        let client = mesh.client(index);
        let look = async || client.post("/v1/functions/echo/tasks", "back").await;
        let taken = until("tasks are taken again", BACK, look, |answer| answer.status == 202).await;
        let task = taken.json()["task_id"].as_str().expect("an id").to_owned();
        // Each node finds the way back by itself.
        assert_eq!(ended(&mesh.client((index + 1) % 3), &task).await["result"], "back");
    }
    begin.elapsed()
}

/// The task at its end, through a node that may have no way to the queue yet.
async fn ended(client: &Client, task: &str) -> Value {
    let look = async || client.get(&format!("/v1/tasks/{task}?wait=20s")).await;
    let is_told = |answer: &Answer| answer.status != 503;
    let answer = until("the queue can be read", BACK, look, is_told).await;
    answer.ok().json()
}

/// What the function of a schedule has written down: due times, and how often each has run.
fn runs(side: &SideFile) -> BTreeMap<i64, u32> {
    let mut runs = BTreeMap::new();
    for line in side.lines() {
        *runs
            .entry(line.split(' ').next().and_then(|due| due.parse().ok()).expect("a due time"))
            .or_default() += 1;
    }
    runs
}

/// Whoever asks a node for the catalogue's and the queue's mind about the schedule.
async fn edit(client: &Client, cron: &str) -> Value {
    let definition = json!({"cron": cron, "function": "note", "misfire": "fire_all", "misfire_cap": 1000});
    client.put("/v1/schedules/tick", &definition).await.ok().json()
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_loses_no_task_and_no_due_time() {
    let mut redis = Redis::start_with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let mut mesh = mesh_on(&redis.url(), |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    ledger::until_ticks(&mesh.client(0), "tick", 2).await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        tasks.push(mesh.client(number % 3).enqueue("echo", "?delay=1s", "kept").await);
    }
    redis.kill();
    let away = Duration::from_secs(if from_env("BEATMESH_LONG", 0) > 0 { 30 } else { 5 });
    let dead = Instant::now();
    while dead.elapsed() < away {
        for index in 0..3 {
            assert_no_tasks(&mesh.client(index)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    redis.start_again();
    println!("tasks are taken and done again after {:?}", tasks_again(&mesh).await);
    for task in &tasks {
        assert_eq!(ended(&mesh.client(0), task).await["state"], "done");
    }
    let ticks = ledger::caught_up(&mesh.client(0), "tick").await;
    ledger::assert_complete(&ticks, since, 1_000);
    ledger::all_executed(&mesh.client(0), &ticks).await;
    let again = ledger::assert_executed(&mesh.client(0), &ticks, &side).await;
    let lateness: Vec<i64> = ticks.iter().map(|tick| tick.lateness).collect();
    println!("{} due times, lateness {}, executed again: {again}", ticks.len(), summary(&lateness));
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// A cache that somebody empties, and one that has no memory of its own.
#[tokio::test]
async fn an_empty_redis_is_given_the_schedules_anew_and_fires_no_history() {
    let mut redis = Redis::start();
    let mut mesh = mesh_on(&redis.url(), |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    ledger::start_ticking(&mesh.client(0), &side).await;
    let paused = json!({"cron": "* * * * * *", "function": "echo"});
    mesh.client(0).put("/v1/schedules/paused", &paused).await.ok();
    mesh.client(0).post("/v1/schedules/paused/pause", "").await.ok();
    for how in ["flushed", "restarted"] {
        ledger::until_ticks(&mesh.client(0), "tick", 3).await;
        let begin = ledger::now();
        match how {
            "flushed" => redis.flush(),
            _ => {
                redis.kill();
                redis.start_again();
            }
        }
        let client = mesh.client(1);
        let look = async || {
            let answer = client.get("/v1/schedules/tick/ticks?limit=10000").await;
            let lines = answer.json()["ticks"].as_array().cloned().unwrap_or_default();
            lines.iter().map(|line| ledger::time(&line["due"])).filter(|due| *due >= begin).min()
        };
        let first = until_some("the schedule goes on", BACK, look).await;
        println!("{how}: the first due time that is fired is {} ms later", first - begin);
        assert!(first - begin < 10_000, "that took long");
        println!("  tasks again after {:?}", tasks_again(&mesh).await);
        // The edit holds at once, and no tick of the old revision comes after it.
        let since = ledger::owed_since(&edit(&mesh.client(2), "*/2 * * * * *").await);
        let ticks = ledger::caught_up(&mesh.client(0), "tick").await;
        let later: Vec<_> = ticks.iter().filter(|tick| tick.due > since).collect();
        assert!(later.iter().all(|tick| tick.due % 2_000 == 0), "{later:#?}");
        edit(&mesh.client(0), "* * * * * *").await;
    }
    let view = mesh.client(0).get("/v1/schedules/paused/ticks?limit=10").await.ok().json();
    assert_eq!(view["ticks"], json!([]), "what was paused stays so");
    mesh.client(0).delete("/v1/schedules/tick").await.ok();
    let again: Vec<_> = runs(&side).into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(again.is_empty(), "history was fired again: {again:?}");
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// Nobody misses it by its ticks, and when it is due at last it is too late: what is written anew begins at the present.
#[tokio::test]
async fn a_schedule_that_is_not_due_for_long_is_written_anew_before_it_is_due() {
    let redis = Redis::start();
    let mut mesh = mesh_on(&redis.url(), |spec| spec).await;
    let rare = json!({"cron": "0 0 29 2 *", "function": "echo"});
    for number in 0..20 {
        mesh.client(number % 3).put(&format!("/v1/schedules/rare-{number}"), &rare).await.ok();
    }
    let complaints =
        || mesh.nodes.iter().map(|node| node.events("the queue's store is behind").len()).sum::<usize>();
    assert_eq!(complaints(), 0, "an edit that is under way is no loss");
    redis.flush();
    let begin = Instant::now();
    let known = || redis.cli(&["hlen", "{beatmesh:beatmesh}:schedules"]);
    until("all schedules are there again", BACK, async || known(), |known| known == "20").await;
    println!("all are there again after {:?}", begin.elapsed());
    assert!(complaints() > 0);
    mesh.assert_well().await;
}

/// A backup that is put back, or a failover to a replica that was far behind.
#[tokio::test]
async fn an_older_snapshot_runs_again_what_it_has_not_seen_and_goes_on() {
    let mut redis = Redis::start();
    let mut mesh = mesh_on(&redis.url(), |spec| spec.set("queue.lease", "2s")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    ledger::start_ticking(&mesh.client(0), &side).await;
    let other = |cron| json!({"cron": cron, "function": "echo"});
    mesh.client(0).put("/v1/schedules/other", &other("* * * * * *")).await.ok();
    mesh.client(0).deploy("long", &side.function("sleep 1.5; echo slept")).await;
    ledger::until_ticks(&mesh.client(0), "tick", 2).await;
    // One that waits in the snapshot, one that runs in it, and one that it does not hold.
    let delayed = mesh.client(0).enqueue("echo", "?delay=3s", "delayed").await;
    let running = mesh.client(0).enqueue("long", "", "").await;
    let look = async || mesh.client(0).get(&format!("/v1/tasks/{running}")).await.json()["state"].clone();
    until("it runs", BACK, look, |state| *state == "leased").await;
    redis.cli(&["save"]);
    let saved = ledger::now();
    assert_eq!(mesh.client(1).finished(&running).await["state"], "done");
    let unknown = mesh.client(0).enqueue("echo", "", "after").await;
    mesh.client(1).finished(&unknown).await;
    // An edit that the snapshot has not seen either.
    mesh.client(0).put("/v1/schedules/other", &other("*/2 * * * * *")).await.ok();
    let seen = ledger::read(&mesh.client(0), "tick").await.len();
    let seen = ledger::until_ticks(&mesh.client(0), "tick", seen + 2).await.len();
    redis.kill();
    redis.start_again();
    println!("tasks again after {:?}", tasks_again(&mesh).await);
    assert_eq!(mesh.client(1).finished(&delayed).await["result"], "delayed");
    let record = mesh.client(1).finished(&running).await;
    assert_eq!((&record["state"], &record["lost_leases"]), (&"done".into(), &1.into()), "{record:#}");
    assert_eq!(mesh.client(2).get(&format!("/v1/tasks/{unknown}")).await.status, 404);
    // The catalogue's edit is written again, and only its due times come from then on.
    let client = mesh.client(0);
    let known = ledger::caught_up(&client, "other").await;
    let others = ledger::until_ticks(&client, "other", known.len() + 2).await;
    let last = &others[known.len() - 1..];
    assert!(last.iter().all(|tick| tick.due % 2_000 == 0), "{last:#?}");
    let ticks = ledger::caught_up(&client, "tick").await;
    assert!(ticks.len() > seen, "nothing is missing of those that were fired twice");
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].due - pair[0].due, 1_000, "{pair:#?}");
    }
    ledger::all_executed(&client, &ticks).await;
    let dues: BTreeSet<i64> = ticks.iter().map(|tick| tick.due).collect();
    assert_eq!(dues.len(), ticks.len(), "no due time stands there twice");
    let again = runs(&side).into_iter().filter(|(_, count)| *count > 1);
    let again: Vec<_> = again.map(|(due, _)| due).collect();
    println!("due times that ran again: {}", again.len());
    assert!(!again.is_empty(), "those that the snapshot does not know are fired again");
    assert!(again.iter().all(|due| *due >= saved - 1_000), "only those since the snapshot: {again:?}");
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_full_redis_takes_nothing_new_and_ends_what_it_has() {
    let redis = Redis::start();
    let mut mesh = mesh_on(&redis.url(), |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    let other = json!({"cron": "* * * * * *", "function": "echo"});
    mesh.client(0).put("/v1/schedules/other", &other).await.ok();
    ledger::until_ticks(&mesh.client(0), "tick", 2).await;
    let task = mesh.client(0).enqueue("echo", "?delay=500ms", "waiting").await;
    redis.config_set("maxmemory", "1");
    for index in 0..3 {
        assert_no_tasks(&mesh.client(index)).await;
    }
    assert_eq!(mesh.client(1).finished(&task).await["result"], "waiting");
    // What makes it full can be stopped.
    mesh.client(2).post("/v1/schedules/other/pause", "").await.ok();
    // Some due times of the other one pass meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.config_set("maxmemory", "0");
    println!("tasks again after {:?}", tasks_again(&mesh).await);
    let ticks = ledger::caught_up(&mesh.client(0), "tick").await;
    ledger::assert_complete(&ticks, since, 1_000);
    ledger::all_executed(&mesh.client(0), &ticks).await;
    ledger::assert_executed(&mesh.client(0), &ticks, &side).await;
    mesh.assert_well().await;
}

/// Tasks through all nodes until it is told to stop: the ids of those that were taken, and what else was said.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<(Vec<String>, Vec<String>)>>,
}

impl Load {
    fn start(mesh: &TestMesh) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let clients = (0..3).map(|index| tokio::spawn(enqueue(mesh.client(index), stop.clone())));
        let clients = clients.collect();
        Self { stop, clients }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut taken = Vec::new();
        for client in self.clients {
            let (tasks, bad) = client.await.expect("no client panics");
            assert!(bad.is_empty(), "{bad:#?}");
            taken.extend(tasks);
        }
        taken
    }
}

async fn enqueue(client: Client, stop: Arc<AtomicBool>) -> (Vec<String>, Vec<String>) {
    let (mut tasks, mut bad) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let request = client.request(reqwest::Method::POST, "/v1/functions/echo/tasks").body("x");
        match http::send(request).await {
            Ok(answer) if answer.status == 202 => {
                tasks.push(answer.json()["task_id"].as_str().expect("an id").to_owned());
            }
            Ok(answer) if answer.status == 503 => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(answer) => bad.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => bad.push(format!("{error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (tasks, bad)
}

/// Which of the tasks that were taken are not known any more; all others have to end well.
async fn lost(mesh: &TestMesh, tasks: &[String]) -> usize {
    let mut lost = 0;
    for task in tasks {
        match mesh.client(0).get(&format!("/v1/tasks/{task}?wait=60s")).await {
            answer if answer.status == 404 => lost += 1,
            answer => assert_eq!(answer.ok().json()["state"], "done"),
        }
    }
    lost
}

/// Fault 18 of the list: replication is cut, the master dies, the replica is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_after_a_cut_loses_with_fast_what_was_acknowledged_meanwhile_and_with_replicated_nothing()
{
    for durability in ["fast", "replicated"] {
        let servers = [Redis::start(), Redis::start(), Redis::start()];
        let [mut master, replica, spare] = servers;
        replica.replica_of(&master);
        let sentinels = Sentinels::start(3, &master, 2);
        let mesh = mesh_on(&sentinels.url(MASTER), |spec| spec.set("queue.durability", durability)).await;
        let side = SideFile::new(mesh.dir.path(), "side");
        ledger::start_ticking(&mesh.client(0), &side).await;
        let load = Load::start(&mesh);
        ledger::until_ticks(&mesh.client(0), "tick", 3).await;
        // Nobody gets in any more, not even the replica; who is in stays.
        master.config_set("requirepass", "cut");
        let login = ["--no-auth-warning", "-a", "cut"];
        master.cli(&[&login[..], &["client", "kill", "type", "replica"]].concat());
        // This pause is the fault itself.
        tokio::time::sleep(Duration::from_millis(800)).await;
        master.kill();
        let dead = Instant::now();
        tokio::task::block_in_place(|| sentinels.wait_for_another(master.addr(), BACK));
        let promoted = dead.elapsed();
        if durability == "replicated" {
            // It waits for a replica of the new master.
            spare.replica_of(&replica);
        }
        tasks_again(&mesh).await;
        println!("{durability}: another master after {promoted:?}, tasks done after {:?}", dead.elapsed());
        let tasks = load.stop().await;
        let lost = lost(&mesh, &tasks).await;
        println!("  {} tasks acknowledged, {lost} lost", tasks.len());
        match durability {
            "fast" => assert!(lost > 0, "the cut met nothing"),
            _ => assert_eq!(lost, 0),
        }
        let ticks = ledger::caught_up(&mesh.client(1), "tick").await;
        let dues: BTreeSet<i64> = ticks.iter().map(|tick| tick.due).collect();
        assert_eq!(dues.len(), ticks.len(), "no due time stands there twice");
        let twice = runs(&side).into_iter().filter(|(_, count)| *count > 1).count();
        println!("  {} due times in the ledger, {twice} ran twice", ticks.len());
        assert!(twice <= 3, "only those of the cut may run again");
        if durability == "replicated" {
            for pair in ticks.windows(2) {
                assert_eq!(pair[1].due - pair[0].due, 1_000, "{pair:#?}");
            }
        }
        for node in &mesh.nodes {
            node.assert_no_panic();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_master_of_our_slot_dies_goes_on_with_its_replica() {
    let mut cluster = tokio::task::block_in_place(Cluster::start);
    let mut mesh = mesh_on(&cluster.url(), |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    ledger::start_ticking(&mesh.client(0), &side).await;
    let load = Load::start(&mesh);
    ledger::until_ticks(&mesh.client(0), "tick", 3).await;
    let key = "{beatmesh:beatmesh}:";
    let owner = cluster.owner(key);
    let dead = Instant::now();
    cluster.nodes[owner].kill();
    tokio::task::block_in_place(|| cluster.wait_for_another(owner, key));
    tasks_again(&mesh).await;
    println!("tasks done after {:?}", dead.elapsed());
    let tasks = load.stop().await;
    let lost = lost(&mesh, &tasks).await;
    println!("  {} tasks acknowledged, {lost} lost", tasks.len());
    assert!(lost <= 3, "more than what was on its way");
    let ticks = ledger::caught_up(&mesh.client(1), "tick").await;
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].due - pair[0].due, 1_000, "{pair:#?}");
    }
    let twice = runs(&side).into_iter().filter(|(_, count)| *count > 1).count();
    assert!(twice <= 1, "only what was on its way may run again: {twice}");
    mesh.until_formed().await;
    mesh.assert_well().await;
}
