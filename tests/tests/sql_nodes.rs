//! Three nodes on one database server: what happens to nodes, and what happens to the server, loses no due time and
//! no acknowledged task, and fires nothing twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::summary;
use beatmesh_tests::servers::{MariaDb, PASSWORD, Postgres, SqlServer};
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{
    Client, NodeSpec, Scratch, SideFile, Signal, TestMesh, http, ledger, until, until_some,
};
use reqwest::Method;
use serde_json::json;

/// A database that was killed recovers first, and nodes look again with pauses.
const CAUGHT_UP: Duration = Duration::from_secs(40);

/// What fault 24 may cost: the server ends a transaction that stands still after 2 s, the others try again.
const HELD_UP_AT_MOST: Duration = Duration::from_secs(8);

async fn mesh_on(url: &str) -> TestMesh {
    TestMesh::start_with(3, |spec| spec.flag("--db", url)).await
}

/// Every second, and every missed due time is owed. Answers from when on.
async fn start_ticking(mesh: &TestMesh, side: &SideFile) -> i64 {
    mesh.client(0).deploy("note", &side.function(&ledger::recording(side))).await;
    let definition =
        json!({"cron": "* * * * * *", "function": "note", "misfire": "fire_all", "misfire_cap": 1000});
    ledger::owed_since(&mesh.client(0).put("/v1/schedules/tick", &definition).await.ok().json())
}

/// The ledger as this node has it, while the database may be away.
async fn read(client: &Client) -> Option<Vec<ledger::Tick>> {
    let request = client.request(Method::GET, "/v1/schedules/tick/ticks?limit=1");
    let is_there =
        http::send(request.timeout(Duration::from_secs(3))).await.is_ok_and(|answer| answer.status == 200);
    if is_there { Some(ledger::read(client, "tick").await) } else { None }
}

/// Waits until the ledger, as the node with this index has it, reaches past now.
async fn caught_up(mesh: &TestMesh, index: usize) -> Vec<ledger::Tick> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    let client = mesh.client(index);
    until_some("the ledger has caught up", CAUGHT_UP, async || {
        read(&client).await.filter(|ticks| ticks.last().is_some_and(|tick| tick.due >= now))
    })
    .await
}

/// Somebody who enqueues tasks at all nodes, whatever happens, and remembers what was acknowledged.
struct Clients {
    acknowledged: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    enqueuing: tokio::task::JoinHandle<u32>,
}

impl Clients {
    fn start(mesh: &TestMesh) -> Self {
        let clients: Vec<Client> = (0..mesh.nodes.len()).map(|index| mesh.client(index)).collect();
        let (acknowledged, ends) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (noting, ending) = (acknowledged.clone(), ends.clone());
        let enqueuing = tokio::spawn(async move {
            let mut refused = 0;
            for client in clients.iter().cycle() {
                if ending.load(Ordering::Relaxed) {
                    break;
                }
                let request = client.request(Method::POST, "/v1/functions/echo/tasks").body("x");
                match http::send(request.timeout(Duration::from_secs(2))).await {
                    Ok(answer) if answer.status == 202 => {
                        let id = answer.json()["task_id"].as_str().expect("an id").to_owned();
                        noting.lock().expect("nobody panics with it").push(id);
                    }
                    _ => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            refused
        });
        Self { acknowledged, ends, enqueuing }
    }

    /// Stops, and sees that all that was acknowledged is done.
    async fn assert_all_done(self, client: &Client) {
        self.ends.store(true, Ordering::Relaxed);
        let refused = self.enqueuing.await.expect("it does not panic");
        let acknowledged = self.acknowledged.lock().expect("nobody panics with it").clone();
        for task in &acknowledged {
            let record = client.finished(task).await;
            assert_eq!(record["state"], "done", "{record:#}");
        }
        println!("tasks acknowledged and done: {}, not acknowledged: {refused}", acknowledged.len());
        assert!(acknowledged.len() > 100);
    }
}

fn assert_no_password_in_logs(mesh: &TestMesh) {
    for node in &mesh.nodes {
        let log = std::fs::read_to_string(mesh.dir.join(&format!("{}.log", node.name()))).expect("a log");
        assert!(!log.contains(PASSWORD), "{} has logged the password", node.name());
    }
}

/// Nodes die and stand still, the server dies and hangs: all of it while tasks and ticks go on.
async fn nothing_is_lost_and_nothing_doubled(server: &mut dyn SqlServer) {
    let url = server.create("mesh");
    let mut mesh = mesh_on(&url).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = start_ticking(&mesh, &side).await;
    let clients = Clients::start(&mesh);
    caught_up(&mesh, 0).await;

    for phase in [0, 400, 800] {
        let beat = mesh.beat_seen_by(0).await;
        let witness = mesh.other_than(beat);
        let seen = ledger::read(&mesh.client(witness), "tick").await.len();
        ledger::until_ticks(&mesh.client(witness), "tick", seen + 1).await;
        tokio::time::sleep(Duration::from_millis(phase)).await;
        mesh.nodes[beat].kill();
        caught_up(&mesh, witness).await;
        mesh.nodes[beat].restart();
        mesh.until_formed().await;
    }
    println!("the Beat was killed three times");

    for (phase, length) in [(500, 3_250), (0, 3_500)] {
        let beat = mesh.beat_seen_by(0).await;
        let witness = mesh.other_than(beat);
        caught_up(&mesh, witness).await;
        tokio::time::sleep(Duration::from_millis(phase)).await;
        mesh.nodes[beat].signal(Signal::Stop);
        // This pause is the fault itself, not a wait for luck.
        tokio::time::sleep(Duration::from_millis(length)).await;
        let meanwhile = read(&mesh.client(witness)).await.expect("the witness can read");
        mesh.nodes[beat].signal(Signal::Continue);
        assert_ne!(meanwhile.last().expect("a tick").node, mesh.nodes[beat].name(), "nobody has stood in");
        mesh.until_formed().await;
        caught_up(&mesh, witness).await;
    }
    println!("the Beat stood still twice");

    server.daemon().kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.daemon().start_again();
    let began = Instant::now();
    caught_up(&mesh, 1).await;
    println!("the server was killed; the ledger has caught up {:?} after it answered", began.elapsed());

    server.daemon().signal(Signal::Stop);
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.daemon().signal(Signal::Continue);
    let began = Instant::now();
    caught_up(&mesh, 2).await;
    println!("the server hung for 8 s; the ledger has caught up {:?} later", began.elapsed());

    clients.assert_all_done(&mesh.client(0)).await;
    let ticks = caught_up(&mesh, 0).await;
    mesh.client(0).post("/v1/schedules/tick/pause", "").await.ok();
    ledger::assert_complete(&ticks, since, 1_000);
    for tick in &ticks {
        let record = mesh.client(0).finished(tick.task.as_deref().expect("fired")).await;
        assert_eq!(record["state"], "done", "{record:#}");
    }
    let again = ledger::assert_executed(&mesh.client(0), &ticks, &side).await;
    let lateness: Vec<i64> = ticks.iter().map(|tick| tick.lateness).collect();
    println!(
        "due times: {}, all fired and executed; executions again after a lost lease: {again}",
        ticks.len()
    );
    println!("lateness of all ticks: {}", summary(&lateness));
    mesh.until_formed().await;
    mesh.assert_well().await;
    assert_no_password_in_logs(&mesh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_postgresql_whatever_happens_to_nodes_and_server() {
    nothing_is_lost_and_nothing_doubled(&mut Postgres::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_mariadb_whatever_happens_to_nodes_and_server() {
    nothing_is_lost_and_nothing_doubled(&mut MariaDb::start()).await;
}

/// Fault 24 of the list: the Beat is stopped inside its transaction, with the schedule's row locked. It is made to
/// wait for that row, which somebody else has in hand, stopped there, and then the row becomes its own.
async fn a_beat_stopped_in_its_transaction_holds_nobody_up<S: SqlServer + 'static>(server: S) {
    let server = Arc::new(server);
    let url = server.create("mesh");
    let mut mesh = mesh_on(&url).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let since = start_ticking(&mesh, &side).await;
    let beat = mesh.beat_seen_by(0).await;
    let witness = mesh.other_than(beat);
    caught_up(&mesh, witness).await;
    // In the middle of a second nobody commits a tick.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (sleep, wake) = server.sleep(8);
    let holder = server.clone();
    let holding = tokio::task::spawn_blocking(move || {
        let lock = "SELECT revision FROM schedule_states WHERE schedule = 'tick' FOR UPDATE";
        holder.ask("mesh", &format!("START TRANSACTION; {lock}; {sleep}"))
    });
    // The stand-ins try a second after the Beat: until then it is the one who waits.
    let look = async || server.ask("mesh", server.waiting()).unwrap_or_default();
    until("the Beat waits for the row", Duration::from_secs(10), look, |count| count.trim() == "1").await;
    mesh.nodes[beat].signal(Signal::Stop);
    server.ask("mesh", wake).expect("the holder is ended");
    assert!(holding.await.expect("no panic").is_err(), "the holder was ended");
    let stopped = Instant::now();
    // MariaDB shows its transactions anew only to those who have not asked for a tenth of a second.
    let look = async || {
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.ask("mesh", server.standing_still()).unwrap_or_default()
    };
    until("the Beat's transaction stands still", Duration::from_secs(2), look, |count| count.trim() == "1")
        .await;
    caught_up(&mesh, witness).await;
    let held_up = stopped.elapsed();
    println!("the Beat was stopped inside its transaction: the ledger has caught up {held_up:?} later");
    assert!(held_up < HELD_UP_AT_MOST, "{held_up:?}");
    mesh.nodes[beat].signal(Signal::Continue);
    mesh.until_formed().await;
    let ticks = caught_up(&mesh, beat).await;
    ledger::assert_complete(&ticks, since, 1_000);
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_stopped_in_its_transaction_on_postgresql_holds_nobody_up() {
    a_beat_stopped_in_its_transaction_holds_nobody_up(Postgres::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_stopped_in_its_transaction_on_mariadb_holds_nobody_up() {
    a_beat_stopped_in_its_transaction_holds_nobody_up(MariaDb::start()).await;
}

/// Machines that start together do so in any order, and leave in any order.
async fn a_node_started_before_its_database_waits_for_it(server: &mut dyn SqlServer) {
    let url = server.create("mesh");
    let dir = Scratch::new();
    let mut node = NodeSpec::new(&dir, "node-1").flag("--db", &url).start();
    node.assert_well().await;
    assert!(node.stop().success());
    server.daemon().kill();
    node.restart_later();
    let look = async || node.events("waiting for the database").len();
    until("the node says what it waits for", Duration::from_secs(10), look, |count| *count >= 3).await;
    server.daemon().start_again();
    let look = async || node.view().await;
    until("the node is there", Duration::from_secs(20), look, |view| view.is_object()).await;
    node.client().deploy("echo", &builtin("echo")).await;
    node.assert_well().await;

    // Asked to stop while it waits, it does so at once.
    assert!(node.stop().success());
    server.daemon().kill();
    node.restart_later();
    let look = async || node.events("waiting for the database").len();
    until("the node says what it waits for", Duration::from_secs(10), look, |count| *count >= 1).await;
    assert!(node.stop().success());
    server.daemon().start_again();

    for (url, words) in [
        (url.replace(PASSWORD, "canary-of-nobody"), "are the user and the password of the URL right"),
        (url.replace("/mesh", "/nowhere"), "CREATE DATABASE"),
    ] {
        let said = NodeSpec::new(&dir, "node-2").flag("--db", url).fail();
        assert_eq!(said.code, Some(1), "{said:?}");
        let error = said.stderr.lines().find(|line| line.starts_with("error")).expect("an error");
        println!("{error}");
        assert!(error.contains("seeds.database") && error.contains(words), "{error}");
        assert!(!said.stderr.contains("canary") && !said.stdout.contains("canary"), "{said:?}");
    }
    // Nor does a server that hangs keep a node from leaving.
    node.restart();
    server.daemon().signal(Signal::Stop);
    assert!(node.stop().success());
    node.assert_no_panic();
    server.daemon().signal(Signal::Continue);
    let log = std::fs::read_to_string(dir.join("node-1.log")).expect("a log");
    assert!(!log.contains(PASSWORD), "the password is in the log");
}

#[tokio::test]
async fn a_node_started_before_its_postgresql_waits_for_it() {
    a_node_started_before_its_database_waits_for_it(&mut Postgres::start()).await;
}

#[tokio::test]
async fn a_node_started_before_its_mariadb_waits_for_it() {
    a_node_started_before_its_database_waits_for_it(&mut MariaDb::start()).await;
}
