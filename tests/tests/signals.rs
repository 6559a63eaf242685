//! Nodes that are told to stop: under load, while somebody waits, while they start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::{Node, SideFile, Signal, TestMesh, until};

/// What the clients and the test tell each other.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicU32,
}

impl Load {
    /// Waits until so many further calls have been answered.
    async fn goes_on(&self, calls: u32) {
        let wanted = self.answered.load(Ordering::Relaxed) + calls;
        let answered = async || self.answered.load(Ordering::Relaxed);
        until("calls are answered", Duration::from_secs(20), answered, |answered| *answered >= wanted).await;
    }
}

/// Clients of the nodes with these indices that call until they are told to stop. Each answers every answer
/// that was no 200.
fn start_clients(
    mesh: &TestMesh,
    through: &[usize],
    load: &Arc<Load>,
) -> Vec<tokio::task::JoinHandle<Vec<String>>> {
    let clients = (0..8).map(|number| (number, mesh.client(through[number % through.len()]), load.clone()));
    let calling = |(number, client, load): (usize, beatmesh_tests::Client, Arc<Load>)| async move {
        let (mut count, mut bad) = (0, Vec::new());
        while !load.stop.load(Ordering::Relaxed) {
            let function = if number == 0 { "nap" } else { "echo" };
            let path = format!("/v1/functions/{function}/call");
            let request = client.request(reqwest::Method::POST, &path).body("x");
            let request = request.header("Beatmesh-Key", format!("{number}-{count}"));
            match beatmesh_tests::http::send(request).await {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => bad.push(format!("{} {}", answer.status, answer.text())),
                Err(error) => bad.push(format!("{error:?}")),
            }
            count += 1;
            load.answered.fetch_add(1, Ordering::Relaxed);
        }
        bad
    };
    clients.map(|one| tokio::spawn(calling(one))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_under_load_without_a_failed_call_and_finishes_its_task() {
    let mut mesh = TestMesh::start(3).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    mesh.client(0).deploy("nap", &shell("sleep 0.1")).await;
    let script =
        format!("{}; sleep 2; {}", side.append("begun $BEATMESH_NODE"), side.append("ended $BEATMESH_NODE"));
    mesh.client(0).deploy("long", &side.function(&script)).await;
    let mut total = 0;
    for leaver in [2, 1] {
        let name = mesh.nodes[leaver].name().to_owned();
        // Tasks until the leaver has one.
        let mut mine = None;
        for _ in 0..40 {
            let task = mesh.client(leaver).enqueue("long", "", "").await;
            let look = async || mesh.client(0).get(&format!("/v1/tasks/{task}")).await.json()["node"].clone();
            let node = until("the task runs", Duration::from_secs(10), look, |node| node.is_string()).await;
            if node == name.as_str() {
                mine = Some(task);
                break;
            }
        }
        let mine = mine.expect("one of forty tasks runs on the leaver");
        let load = Arc::new(Load::default());
        let others: Vec<usize> = (0..3).filter(|index| *index != leaver).collect();
        let clients = start_clients(&mesh, &others, &load);
        load.goes_on(100).await;
        let status = mesh.nodes[leaver].stop();
        assert!(status.success(), "{status}");
        load.goes_on(100).await;
        load.stop.store(true, Ordering::Relaxed);
        for client in clients {
            let bad = client.await.unwrap();
            assert!(bad.is_empty(), "calls through other nodes failed: {bad:#?}");
        }
        total += load.answered.load(Ordering::Relaxed);
        let record = mesh.client(0).finished(&mine).await;
        assert_eq!((&record["state"], &record["attempts"]), (&"done".into(), &1.into()), "{record:#}");
        assert_eq!(record["node"], name.as_str());
        mesh.nodes[leaver].restart();
        mesh.until_formed().await;
    }
    println!("{total} calls through the other nodes while two nodes left, none failed");
}

#[tokio::test]
async fn a_leaving_node_answers_the_request_that_it_is_serving() {
    let mut mesh = TestMesh::start(2).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0)
        .deploy("nap", &side.function(&format!("{}; sleep 1; echo rested", side.append("begun"))))
        .await;
    let client = mesh.client(1);
    let call = tokio::spawn(async move { client.call("nap", "").await });
    until("the call runs", Duration::from_secs(5), async || side.lines().len(), |n| *n == 1).await;
    mesh.nodes[1].signal(Signal::Terminate);
    assert_eq!(call.await.unwrap().ok().text(), "rested\n");
    assert!(mesh.nodes[1].wait(Duration::from_secs(5)).success());
}

#[tokio::test]
async fn a_leaving_node_answers_who_waits_for_a_task_and_does_not_wait_for_it() {
    let mut mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let task = mesh.client(0).enqueue("echo", "?delay=1h", "x").await;
    let client = mesh.client(0);
    let waiting = tokio::spawn(async move { client.get(&format!("/v1/tasks/{task}?wait=60s")).await });
    // Nothing tells from outside that a request waits; one that comes later is answered all the same.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begin = Instant::now();
    mesh.nodes[0].signal(Signal::Terminate);
    assert_eq!(waiting.await.unwrap().ok().json()["state"], "scheduled");
    assert!(mesh.nodes[0].wait(Duration::from_secs(10)).success());
    assert!(begin.elapsed() < Duration::from_secs(3), "it held the end up: {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_call_that_another_node_routed_to_a_leaving_node_is_answered_too() {
    let mut mesh = TestMesh::start(2).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0)
        .deploy("nap", &side.function(&format!("{}; sleep 1; echo rested", side.append("begun"))))
        .await;
    let (client, key) = (mesh.client(0), mesh.key_of(1).await);
    let call = tokio::spawn(async move {
        let request = client.request(reqwest::Method::POST, "/v1/functions/nap/call");
        beatmesh_tests::http::send(request.header("Beatmesh-Key", key)).await.unwrap()
    });
    until("the call runs", Duration::from_secs(5), async || side.lines().len(), |n| *n == 1).await;
    mesh.nodes[1].signal(Signal::Terminate);
    let answer = call.await.unwrap().ok();
    assert_eq!((answer.text().as_str(), answer.node()), ("rested\n", "node-2"));
    assert!(mesh.nodes[1].wait(Duration::from_secs(5)).success());
}

/// Deploys `nap` and calls it on the node with this index until the function has begun.
async fn napping(
    mesh: &TestMesh,
    index: usize,
    seconds: u32,
    headers: &[(&str, &str)],
) -> tokio::task::JoinHandle<beatmesh_tests::Answer> {
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!("{}; sleep {seconds}; echo rested", side.append("begun"));
    mesh.client(index).deploy("nap", &side.function(&script)).await;
    let call = tokio::spawn(call_nap(mesh, index, headers));
    until("the call runs", Duration::from_secs(5), async || side.lines().len(), |n| *n == 1).await;
    call
}

fn call_nap(
    mesh: &TestMesh,
    index: usize,
    headers: &[(&str, &str)],
) -> impl Future<Output = beatmesh_tests::Answer> + use<> {
    let mut request = mesh.client(index).request(reqwest::Method::POST, "/v1/functions/nap/call");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    async { beatmesh_tests::http::send(request).await.expect("the node answers") }
}

#[tokio::test]
async fn a_call_that_waits_for_a_slot_on_a_stopping_node_is_told_to_come_back() {
    let mut mesh = TestMesh::start_with(1, |spec| spec.set("node.slots", 1)).await;
    let first = napping(&mesh, 0, 3, &[]).await;
    let waiting = tokio::spawn(call_nap(&mesh, 0, &[]));
    // Far longer than it takes to wait; it cannot be seen from outside.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!waiting.is_finished());
    mesh.nodes[0].signal(Signal::Terminate);
    let begin = Instant::now();
    let answer = waiting.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "at once, not after {:?}", begin.elapsed());
    answer.problem(503, "no_worker");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(first.await.unwrap().ok().text(), "rested\n", "what runs is finished");
    assert!(mesh.nodes[0].wait(Duration::from_secs(5)).success());
}

#[tokio::test]
async fn a_leaving_node_gives_a_call_that_waits_there_to_a_worker_that_is_free() {
    let mut mesh = TestMesh::start_with(2, |spec| spec.set("node.slots", 1)).await;
    let key = mesh.key_of(0).await;
    let headers = [("Beatmesh-Key", key.as_str())];
    let first = napping(&mesh, 0, 2, &headers).await;
    // It waits a moment at the key's owner.
    let waiting = tokio::spawn(call_nap(&mesh, 0, &headers));
    tokio::time::sleep(Duration::from_millis(50)).await;
    mesh.nodes[0].signal(Signal::Terminate);
    assert_eq!(waiting.await.unwrap().ok().node(), "node-2");
    assert_eq!(first.await.unwrap().ok().node(), "node-1");
    assert!(mesh.nodes[0].wait(Duration::from_secs(5)).success());
}

#[tokio::test]
async fn a_task_that_outlives_the_shutdown_budget_is_given_back_and_runs_elsewhere() {
    let mut mesh = TestMesh::start_with(2, |spec| spec.set("limits.shutdown", "500ms")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script =
        format!("{}; [ $BEATMESH_ATTEMPT -gt 1 ] || sleep 25; echo good", side.append("$BEATMESH_NODE"));
    mesh.client(0).deploy("long", &side.function(&script)).await;
    let task = mesh.client(0).enqueue("long", "", "").await;
    until("it runs", Duration::from_secs(5), async || side.lines().len(), |n| *n == 1).await;
    let first = mesh.index_of(&side.lines()[0]);
    let begin = Instant::now();
    assert!(mesh.nodes[first].stop().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "it took {:?}", begin.elapsed());
    let record = mesh.client(mesh.other_than(first)).finished(&task).await;
    assert_eq!((&record["state"], &record["attempts"]), (&"done".into(), &2.into()), "{record:#}");
    assert_eq!(record["lost_leases"], 0, "it was handed back, not lost");
    assert!(begin.elapsed() < Duration::from_secs(6), "long before the lease's end: {:?}", begin.elapsed());
    Node::until_gone(&side).await;
}

/// What the other node says of the one of this name.
async fn liveness(mesh: &TestMesh, name: &str) -> Option<String> {
    let view = mesh.nodes[0].view().await;
    let members = view["members"].as_array().cloned().unwrap_or_default();
    let found = members.iter().find(|member| member["id"] == name);
    found.and_then(|member| member["liveness"].as_str()).map(str::to_owned)
}

/// Whether this process, and with it whatever it starts, was told to ignore SIGHUP: bit 0 of the mask.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & 1 != 0
}

#[tokio::test]
async fn the_end_of_the_terminal_is_an_orderly_stop_unless_it_is_to_be_outlived() {
    if ignores_hangups() {
        println!("skipped: these tests run under nohup, so the nodes that they start ignore hangups as well");
        return;
    }
    let mut mesh = TestMesh::start(2).await;
    mesh.nodes[1].signal(Signal::HangUp);
    assert!(mesh.nodes[1].wait(Duration::from_secs(10)).success());
    assert_eq!(mesh.nodes[1].events("node is leaving").len(), 1);
    let left = async || liveness(&mesh, "node-2").await;
    until("its goodbye is heard", Duration::from_secs(2), left, |state| state.as_deref() != Some("alive"))
        .await;

    let spec = beatmesh_tests::NodeSpec::new(&mesh.dir, "node-3");
    let node = spec.command();
    let mut command = std::process::Command::new("nohup");
    command.arg(node.get_program()).args(node.get_args()).current_dir(mesh.dir.path());
    for (name, value) in node.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let log = mesh.dir.join("nohup.log");
    let mut process = beatmesh_tests::Process::start("node-3", command, &log);
    let text = async || process.log();
    until("it is ready", Duration::from_secs(20), text, |log| log.contains("node is ready")).await;
    process.signal(Signal::HangUp);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(process.ended(), None, "nohup asks that it goes on");
    process.signal(Signal::Terminate);
    assert!(process.wait(Duration::from_secs(10)).success());
}

#[tokio::test]
async fn a_node_that_is_stopped_while_it_starts_leaves_nothing_behind() {
    let mesh = TestMesh::start(1).await;
    let rows = || {
        let mut sqlite = std::process::Command::new("sqlite3");
        sqlite.arg(mesh.dir.join("mesh.db")).arg("SELECT node FROM nodes");
        beatmesh_tests::process::run(sqlite, b"", Duration::from_secs(10))
    };
    let announced = async || rows().stdout.contains("node-1");
    until("rows are found", Duration::from_secs(5), announced, |found| *found).await;
    let mut orderly = 0;
    for moment in 0..24 {
        let name = format!("brief-{moment}");
        let command = beatmesh_tests::NodeSpec::new(&mesh.dir, &name).command();
        let mut process =
            beatmesh_tests::Process::start(&name, command, &mesh.dir.join(&format!("{name}.log")));
        // At a different moment of the start each time: a debug build takes some tens of milliseconds.
        std::thread::sleep(Duration::from_millis(4 * moment));
        process.signal(Signal::Terminate);
        let status = process.wait(Duration::from_secs(15));
        // Before it listens, a signal ends it as it ends any process.
        if status.code().is_some() {
            assert!(status.success(), "{status}: {}", process.log());
            orderly += 1;
        }
        assert!(!rows().stdout.contains(&name), "its row is there after a signal in moment {moment}");
        let state = async || liveness(&mesh, &name).await;
        let gone = |state: &Option<String>| matches!(state.as_deref(), None | Some("left"));
        until("its goodbye was heard", Duration::from_secs(2), state, gone).await;
    }
    assert!(orderly > 0, "some signals came after it listened");
}

#[tokio::test]
async fn a_node_that_is_stopped_while_it_waits_for_its_store_says_goodbye_to_who_knows_it() {
    let mut mesh = TestMesh::start(2).await;
    mesh.nodes[1].kill();
    let state = async || liveness(&mesh, "node-2").await;
    let is = |wanted: &'static str| move |state: &Option<String>| state.as_deref() == Some(wanted);
    until("its death is noticed", Duration::from_secs(15), state, is("dead")).await;
    let mut sqlite = std::process::Command::new("sqlite3");
    sqlite.arg(mesh.dir.join("mesh.db")).arg("ALTER TABLE functions RENAME TO hidden");
    let said = beatmesh_tests::process::run(sqlite, b"", Duration::from_secs(10));
    assert_eq!(said.code, Some(0), "{said:?}");
    mesh.nodes[1].restart_later();
    // The other one dials where its row says that it was.
    let state = async || liveness(&mesh, "node-2").await;
    until("it is met again", Duration::from_secs(15), state, is("alive")).await;
    assert!(!mesh.nodes[1].events("the catalogue cannot be read yet").is_empty());
    assert!(mesh.nodes[1].events("node is ready").is_empty());
    mesh.nodes[1].signal(Signal::Terminate);
    assert!(mesh.nodes[1].wait(Duration::from_secs(5)).success());
    let state = async || liveness(&mesh, "node-2").await;
    until("its goodbye is heard", Duration::from_secs(10), state, is("left")).await;
}
