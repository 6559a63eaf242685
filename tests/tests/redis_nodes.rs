//! Nodes that die, stand still and restart, with their queue in a real Redis: every due time is fired and executed
//! once, and no task is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::{from_env, summary};
use beatmesh_tests::servers::Redis;
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{
    Client, NodeSpec, SideFile, Signal, TestMesh, database, http, ledger, until, until_some,
};
use futures_util::StreamExt;
use serde_json::json;

/// A mesh with its queue in a Redis of its own.
async fn start(count: usize, settings: impl Fn(NodeSpec) -> NodeSpec) -> (TestMesh, Redis) {
    let redis = Redis::start();
    let url = redis.url();
    let mesh = TestMesh::start_with(count, |spec| settings(spec.set("queue.url", &url))).await;
    (mesh, redis)
}

/// Asserts that the ledger is complete and its tasks have run once each; answers it.
async fn assert_kept(mesh: &TestMesh, index: usize, since: i64, side: &SideFile) -> Vec<ledger::Tick> {
    let client = mesh.client(index);
    let ticks = ledger::caught_up(&client, "tick").await;
    ledger::assert_complete(&ticks, since, 1_000);
    ledger::all_executed(&client, &ticks).await;
    let again = ledger::assert_executed(&client, &ticks, side).await;
    let lateness: Vec<i64> = ticks.iter().map(|tick| tick.lateness).collect();
    println!("{} due times, lateness {}, executed again: {again}", ticks.len(), summary(&lateness));
    ticks
}

#[tokio::test]
async fn every_due_time_is_fired_and_executed_once_however_often_the_beat_is_killed() {
    let kills = from_env("BEATMESH_KILLS", 4);
    let (mut mesh, _redis) = start(3, |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    let mut latest = Vec::new();
    for kill in 0..kills {
        let beat = mesh.beat_seen_by(0).await;
        let witness = mesh.other_than(beat);
        let before = ledger::caught_up(&mesh.client(witness), "tick").await.len();
        // At another phase of the second each time, the moment of the commit among them.
        tokio::time::sleep(Duration::from_millis(u64::from(kill) * 370 % 1_000)).await;
        mesh.nodes[beat].kill();
        let ticks = ledger::caught_up(&mesh.client(witness), "tick").await;
        latest.extend(ticks[before..].iter().map(|tick| tick.lateness).max());
        mesh.nodes[beat].restart();
        mesh.until_formed().await;
    }
    println!("{kills} kills of the Beat; the latest tick around each: {}", summary(&latest));
    assert_kept(&mesh, 0, since, &side).await;
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_beat_that_stands_still_and_a_mesh_that_stands_still_fire_nothing_twice_and_miss_nothing() {
    let (mut mesh, _redis) = start(3, |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    let beat = mesh.beat_seen_by(0).await;
    let witness = mesh.other_than(beat);
    ledger::caught_up(&mesh.client(witness), "tick").await;
    mesh.nodes[beat].signal(Signal::Stop);
    // These pauses are the faults themselves, not waits for luck.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let meanwhile = ledger::read(&mesh.client(witness), "tick").await;
    mesh.nodes[beat].signal(Signal::Continue);
    assert_ne!(meanwhile.last().unwrap().node, mesh.nodes[beat].name(), "somebody has stood in");
    mesh.until_formed().await;
    ledger::caught_up(&mesh.client(witness), "tick").await;
    for node in &mesh.nodes {
        node.signal(Signal::Stop);
    }
    let length = if from_env("BEATMESH_LONG", 0) > 0 { 10 } else { 4 };
    tokio::time::sleep(Duration::from_secs(length)).await;
    for node in &mesh.nodes {
        node.signal(Signal::Continue);
    }
    mesh.until_formed().await;
    assert_kept(&mesh, 1, since, &side).await;
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_worker_that_stood_still_past_its_lease_does_not_complete_the_task_of_another() {
    let (mut mesh, _redis) = start(3, |spec| spec.set("queue.lease", "2s")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!(
        "{}; if [ $BEATMESH_ATTEMPT = 1 ]; then sleep 1; else sleep 4; fi; printf 'attempt %s' $BEATMESH_ATTEMPT",
        side.append("$BEATMESH_NODE")
    );
    mesh.client(0).deploy("long", &side.function(&script)).await;
    let task = mesh.client(0).enqueue("long", "", "").await;
    until("it runs", Duration::from_secs(5), async || side.lines().len(), |n| *n == 1).await;
    let first = mesh.index_of(&side.lines()[0]);
    mesh.nodes[first].signal(Signal::Stop);
    let begin = Instant::now();
    until("it runs elsewhere", Duration::from_secs(15), async || side.lines().len(), |n| *n == 2).await;
    println!("a task of a worker that stands still began again after {:?} (lease 2 s)", begin.elapsed());
    // Its program has ended long since; the second attempt still runs.
    mesh.nodes[first].signal(Signal::Continue);
    let record = mesh.client(mesh.other_than(first)).finished(&task).await;
    assert_eq!((&record["state"], &record["attempts"]), (&"done".into(), &2.into()), "{record:#}");
    assert_eq!(record["result"], "attempt 2", "the late completion was not taken: {record:#}");
    assert_eq!(side.lines().len(), 2);
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_task_that_kills_its_worker_each_time_is_put_aside_as_dead() {
    let (mut mesh, _redis) =
        start(2, |spec| spec.set("queue.lease", "1s").set("queue.max_lost_leases", 1)).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let poison = side.function(&format!("{}; kill -9 $PPID; sleep 9", side.append("ran")));
    mesh.client(0).deploy("poison", &poison).await;
    let task = mesh.client(0).enqueue("poison", "", "").await;
    for _ in 0..2 {
        let died = async || (0..2).find(|index| mesh.nodes[*index].ended().is_some());
        let dead = until_some("its worker dies", Duration::from_secs(15), died).await;
        mesh.nodes[dead].restart();
    }
    let record = mesh.client(0).finished(&task).await;
    assert_eq!(record["state"], "dead", "{record:#}");
    assert_eq!((&record["attempts"], side.lines().len()), (&2.into(), 2));
    // A person gives it another chance.
    mesh.client(0).deploy("poison", &builtin("noop")).await;
    mesh.client(0).post(&format!("/v1/tasks/{task}/retry"), "").await.ok();
    assert_eq!(mesh.client(1).finished(&task).await["state"], "done");
    mesh.assert_well().await;
}

/// Definitions are cached, and the queue is another store.
#[tokio::test]
async fn without_the_database_ticks_and_tasks_go_on_and_edits_are_refused() {
    let (mut mesh, _redis) = start(3, |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    ledger::until_ticks(&mesh.client(2), "tick", 2).await;
    let (home, aside) = (mesh.dir.path().to_owned(), mesh.dir.join("aside"));
    database::put(&home, &aside);
    let before = ledger::caught_up(&mesh.client(0), "tick").await.len();
    for index in 0..3 {
        let task = mesh.client(index).enqueue("echo", "", "still here").await;
        assert_eq!(mesh.client((index + 1) % 3).finished(&task).await["result"], "still here");
        let edit = mesh.client(index).post("/v1/schedules/tick/pause", "").await;
        assert_eq!(edit.status, 503, "{}", edit.text());
    }
    // Another Beat knows the schedules as well.
    let beat = mesh.beat_seen_by(0).await;
    mesh.nodes[beat].signal(Signal::Stop);
    let witness = mesh.other_than(beat);
    ledger::until_ticks(&mesh.client(witness), "tick", before + 4).await;
    mesh.nodes[beat].signal(Signal::Continue);
    database::put(&aside, &home);
    let look = async || mesh.client(0).put("/v1/functions/new", &builtin("noop")).await.status;
    until("edits are taken again", Duration::from_secs(20), look, |status| *status < 300).await;
    mesh.until_formed().await;
    assert_kept(&mesh, 0, since, &side).await;
    mesh.assert_well().await;
}

/// Each would keep cursors of its own: every due time would be fired twice.
#[tokio::test]
async fn a_node_of_the_same_database_with_another_queue_does_not_start_until_all_others_have_stopped() {
    let (mut mesh, redis) = start(2, |spec| spec).await;
    let without = NodeSpec::new(&mesh.dir, "node-3");
    let said = without.fail();
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr.contains("queue.url: it names the database") && said.stderr.contains("a Redis"),
        "{said:?}"
    );
    for node in &mut mesh.nodes {
        assert!(node.stop().success());
    }
    // The queue moves. That the last one stopped and did not just start can be known after some seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut node = without.start();
    let said = NodeSpec::new(&mesh.dir, "node-4").set("queue.url", redis.url()).fail();
    assert!(said.stderr.contains("queue.url: it names a Redis"), "{said:?}");
    node.kill();
    // Its own row does not keep it from starting in another way.
    let node = NodeSpec::new(&mesh.dir, "node-3").set("queue.url", redis.url()).start();
    drop(node);
}

/// Fault 32 of the list. `BEATMESH_SCHEDULES=10000` for more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_of_many_schedules_dies_when_all_are_due() {
    let count = from_env("BEATMESH_SCHEDULES", 1_000);
    let (mut mesh, redis) = start(3, |spec| spec).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    // Often enough that nobody waits long for all to be due at once, and seldom enough to make them meanwhile.
    let definition = json!({"cron": "*/20 * * * * *", "function": "noop"});
    let clients: Vec<Client> = (0..3).map(|index| mesh.client(index)).collect();
    let making = (0..count).map(|number| {
        let (client, definition) = (clients[number as usize % 3].clone(), definition.clone());
        async move {
            client.put(&format!("/v1/schedules/s{number}"), &definition).await.ok();
        }
    });
    let begin = Instant::now();
    futures_util::stream::iter(making).buffer_unordered(16).collect::<Vec<()>>().await;
    println!("{count} schedules made in {:?}", begin.elapsed());
    let beat = mesh.beat_seen_by(0).await;
    let number = |words: &[&str]| redis.cli(words).parse::<u32>().expect("a number");
    let lines = || number(&["zcard", "{beatmesh:beatmesh}:lines"]);
    let ended = || number(&["zcard", "{beatmesh:beatmesh}:ended:done"]);
    // The last seconds before they are due: whatever was due before has been fired.
    let due = ((ledger::now() + 3_000) / 20_000 + 1) * 20_000;
    until("they are due soon", Duration::from_secs(30), async || ledger::now(), |now| *now >= due - 500)
        .await;
    let before = lines();
    let fired = || lines() - before;
    // It has begun to fire them: all of them take some ten milliseconds, so there is no pause between two looks.
    let late = Instant::now() + Duration::from_secs(10);
    while fired() == 0 {
        assert!(Instant::now() < late, "nothing is fired");
    }
    mesh.nodes[beat].kill();
    let when_killed = fired();
    until("all are fired", Duration::from_secs(120), async || fired(), |fired| *fired >= count).await;
    let latest = redis.cli(&["zrange", "{beatmesh:beatmesh}:lines", "-1", "-1", "withscores"]);
    let latest = latest.lines().last().and_then(|score| score.parse::<i64>().ok()).expect("a time") - due;
    println!("killed when {when_killed} of {count} were fired; the last one {latest} ms after it was due");
    if when_killed >= count {
        println!("it was too fast to be met in the middle: BEATMESH_SCHEDULES makes them more");
    }
    let limit = 5_000 + i64::from(count) * 5;
    assert!(latest < limit, "{latest} ms is not bounded by {limit}");
    let all = lines();
    until("all have run", Duration::from_secs(120), async || ended(), |ended| *ended >= all).await;
    assert_eq!((fired(), ended()), (count, all), "each once");
    mesh.nodes[beat].restart();
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request_and_loses_no_task_and_no_tick() {
    let (mut mesh, _redis) = start(3, |spec| spec).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let since = ledger::start_ticking(&mesh.client(0), &side).await;
    ledger::until_ticks(&mesh.client(0), "tick", 2).await;
    let (mut answered, mut tasks) = (0, Vec::new());
    for leaver in 0..3 {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let others = (0..3).filter(|index| *index != leaver);
        let clients: Vec<_> = others
            .flat_map(|index| [mesh.client(index), mesh.client(index)])
            .map(|client| tokio::spawn(load(client, stop.clone(), count.clone())))
            .collect();
        let goes_on = async || {
            let wanted = count.load(Ordering::Relaxed) + 100;
            let look = async || count.load(Ordering::Relaxed);
            until("requests are answered", Duration::from_secs(20), look, |seen| *seen >= wanted).await;
        };
        goes_on().await;
        assert!(mesh.nodes[leaver].stop().success());
        goes_on().await;
        mesh.nodes[leaver].restart();
        goes_on().await;
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (accepted, bad) = client.await.expect("no client panics");
            assert!(bad.is_empty(), "{bad:#?}");
            tasks.extend(accepted);
        }
        answered += count.load(Ordering::Relaxed);
        mesh.until_formed().await;
    }
    for task in &tasks {
        assert_eq!(mesh.client(0).finished(task).await["state"], "done");
    }
    println!("{answered} requests answered, {} tasks accepted and done, none failed", tasks.len());
    let ticks = assert_kept(&mesh, 0, since, &side).await;
    let late = ticks.iter().map(|tick| tick.lateness).max().unwrap();
    assert!(late < 2_000, "a graceful leave of the Beat made a tick late by {late} ms");
    mesh.assert_well().await;
}

/// Calls and tasks by turns until it is told to stop; answers the tasks that were taken, and whatever failed.
async fn load(client: Client, stop: Arc<AtomicBool>, count: Arc<AtomicU32>) -> (Vec<String>, Vec<String>) {
    let (mut tasks, mut bad) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let is_task = count.fetch_add(1, Ordering::Relaxed).is_multiple_of(4);
        let what = if is_task { "tasks" } else { "call" };
        let request = client.request(reqwest::Method::POST, &format!("/v1/functions/echo/{what}"));
        match http::send(request.body("x")).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) if answer.status == 202 => {
                tasks.push(answer.json()["task_id"].as_str().expect("an id").to_owned());
            }
            Ok(answer) => bad.push(format!("{what}: {} {}", answer.status, answer.text())),
            Err(error) => bad.push(format!("{what}: {error:?}")),
        }
    }
    (tasks, bad)
}

/// The Beat looks once where all schedules stand when definitions have changed; the request that changes one must not.
#[tokio::test]
async fn an_edit_itself_does_not_read_where_all_schedules_stand() {
    const EDITS: u64 = 60;
    let (mesh, redis) = start(1, |spec| spec).await;
    let client = mesh.client(0);
    client.deploy("noop", &builtin("noop")).await;
    let walks = || {
        let said = redis.cli(&["info", "commandstats"]);
        let calls =
            said.lines().find_map(|line| line.strip_prefix("cmdstat_hscan:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().expect("a number"))
    };
    let before = walks();
    for number in 0..EDITS {
        let definition = json!({"cron": "@every 1h", "function": "noop"});
        client.put(&format!("/v1/schedules/s-{number}"), &definition).await.ok();
    }
    let walked = walks() - before;
    assert!(walked < EDITS + EDITS / 4, "{walked} walks for {EDITS} edits");
}
