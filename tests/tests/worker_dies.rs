//! Workers that die, or stand still, with tasks in their hands.

use std::time::{Duration, Instant};

use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Node, SideFile, Signal, TestMesh, until};

#[tokio::test]
async fn tasks_of_a_killed_worker_run_again_after_the_lease_and_its_processes_die_with_it() {
    let mut mesh = TestMesh::start_with(3, |spec| spec.set("queue.lease", "3s")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!(
        "{}; [ $BEATMESH_ATTEMPT -gt 1 ] || exec sleep 25; echo good",
        side.append("$BEATMESH_TASK $BEATMESH_ATTEMPT $BEATMESH_NODE")
    );
    mesh.client(0).deploy("long", &side.function(&script)).await;
    let mut tasks = Vec::new();
    for _ in 0..9 {
        tasks.push(mesh.client(0).enqueue("long", "", "").await);
    }
    until("all run", Duration::from_secs(10), async || side.lines().len(), |n| *n == 9).await;
    let node_of = |line: &String| line.rsplit(' ').next().unwrap().to_owned();
    let victim = mesh.index_of(&node_of(&side.lines()[0]));
    let name = mesh.nodes[victim].name().to_owned();
    let lines = side.lines();
    let lost: Vec<&str> = lines
        .iter()
        .filter(|line| node_of(line) == name)
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    mesh.nodes[victim].kill();
    let dead = Instant::now();
    let of_victim = async || {
        let of_node = beatmesh_tests::processes::with_variable("BEATMESH_NODE", &name);
        side.processes().into_iter().filter(|pid| of_node.contains(pid)).count()
    };
    until("the kernel kills the programs of the dead node", Duration::from_secs(2), of_victim, |n| *n == 0)
        .await;
    let client = mesh.client(mesh.other_than(victim));
    for task in &lost {
        let record = client.finished(task).await;
        assert_eq!((&record["state"], &record["attempts"]), (&"done".into(), &2.into()), "{record:#}");
        assert_eq!(record["lost_leases"], 1, "{record:#}");
        assert_ne!(record["node"], name.as_str());
    }
    println!("{} tasks of the dead worker had run again after {:?} (lease 3 s)", lost.len(), dead.elapsed());
    // Lease, the sweep's pace when the Beat has died too, and the run itself.
    assert!(dead.elapsed() < Duration::from_secs(12), "{:?}", dead.elapsed());
    let again: Vec<_> = side.lines().split_off(9);
    assert_eq!(again.len(), lost.len(), "only lost tasks run again: {again:#?}");
}

/// L6: the mesh knows that the worker is dead, and the store has not heard of it either.
#[tokio::test]
async fn tasks_of_a_killed_worker_begin_elsewhere_long_before_their_leases_run_out() {
    const LEASE: Duration = Duration::from_secs(60);
    let lease = |spec: beatmesh_tests::NodeSpec| spec.set("queue.lease", "60s");
    let mut mesh = TestMesh::start_with(3, lease).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!(
        "{}; [ $BEATMESH_ATTEMPT -gt 1 ] || exec sleep 50; echo good",
        side.append("$BEATMESH_TASK $BEATMESH_NODE")
    );
    mesh.client(0).deploy("long", &side.function(&script)).await;
    for _ in 0..9 {
        mesh.client(0).enqueue("long", "", "").await;
    }
    until("all run", Duration::from_secs(10), async || side.lines().len(), |n| *n == 9).await;
    let victim = mesh.index_of(side.lines()[0].rsplit(' ').next().unwrap());
    let name = mesh.nodes[victim].name().to_owned();
    let held = side.lines().iter().filter(|line| line.ends_with(&name)).count();
    mesh.nodes[victim].kill();
    let dead = Instant::now();
    let begun = async || side.lines().len() - 9;
    until("all begin elsewhere", LEASE / 3, begun, |n| *n == held).await;
    println!(
        "{held} tasks of the dead worker had begun elsewhere after {:?} (lease {LEASE:?})",
        dead.elapsed()
    );
    // Those of the others were left alone.
    assert_eq!(side.lines().len(), 9 + held);
}

/// Fault 29 of the list: it wakes up with a result that nobody may take any more.
#[tokio::test]
async fn a_worker_that_stood_still_past_its_lease_does_not_complete_the_task_of_another() {
    let mut mesh = TestMesh::start_with(3, |spec| spec.set("queue.lease", "2s")).await;
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
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// The kernel's death signal reaches the program that the node has started, not that program's children:
/// those are the business of the node's next life.
#[tokio::test]
async fn what_a_killed_node_left_running_is_gone_when_it_is_back_and_nobody_else_is_harmed() {
    let mut mesh = TestMesh::start_with(2, |spec| spec.set("limits.shutdown", "500ms")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!("{}; sleep 25 & setsid sleep 25 & wait", side.append("$BEATMESH_LIFE"));
    mesh.client(0).deploy("parent", &side.function(&script)).await;
    for index in 0..2 {
        let request = mesh.client(index).request(reqwest::Method::POST, "/v1/functions/parent/call");
        let request = request.header("Beatmesh-Key", mesh.key_of(index).await);
        tokio::spawn(async move { drop(beatmesh_tests::http::send(request).await) });
        let began = async || side.lines().len();
        until("the call has marked its processes", Duration::from_secs(5), began, |n| *n == index + 1).await;
    }
    let of = |name: &str| {
        let of_node = beatmesh_tests::processes::with_variable("BEATMESH_NODE", name);
        side.processes().into_iter().filter(|pid| of_node.contains(pid)).count()
    };
    for name in ["node-1", "node-2"] {
        until("shell and children run", Duration::from_secs(5), async || of(name), |n| *n == 3).await;
    }
    // As from a copy of node-1's data directory: the same token in another place.
    let (token, place) = side.lines()[0].split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mut bystander = std::process::Command::new("sleep");
    bystander.arg("60").env("BEATMESH_NODE", "node-1").env("BEATMESH_FUNCTION", "parent");
    bystander.env("BEATMESH_LIFE", format!("{token}-f{place}"));
    let mut bystander =
        beatmesh_tests::Process::start("bystander", bystander, &mesh.dir.path().join("bystander.log"));

    mesh.nodes[0].kill();
    until("only the children are left", Duration::from_secs(2), async || of("node-1"), |n| *n == 2).await;
    mesh.nodes[0].restart();
    assert_eq!(of("node-1"), 0, "they are gone before the node is ready");
    let told = mesh.nodes[0].events("killed processes that a former life");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((&told[0]["killed"], &told[0]["functions"]), (&2.into(), &"parent".into()), "{told:#?}");
    assert_eq!(of("node-2"), 3, "those of another node live");
    assert_eq!(bystander.ended(), None, "one with nearly the same mark lives");
    mesh.until_formed().await;
    mesh.assert_well().await;
    assert!(mesh.nodes[1].stop().success());
    Node::until_gone(&side).await;
}

#[tokio::test]
async fn a_task_that_kills_its_worker_each_time_is_put_aside_as_dead() {
    let settings =
        |spec: beatmesh_tests::NodeSpec| spec.set("queue.lease", "1s").set("queue.max_lost_leases", 1);
    let mut mesh = TestMesh::start_with(2, settings).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0)
        .deploy("poison", &side.function(&format!("{}; kill -9 $PPID; sleep 9", side.append("ran"))))
        .await;
    let task = mesh.client(0).enqueue("poison", "", "").await;
    for _ in 0..2 {
        let died = async || {
            let ended: Vec<usize> = (0..2).filter(|index| mesh.nodes[*index].ended().is_some()).collect();
            ended
        };
        let ended =
            beatmesh_tests::until("its worker dies", Duration::from_secs(15), died, |n| !n.is_empty()).await;
        for index in ended {
            mesh.nodes[index].restart();
        }
    }
    let record = mesh.client(0).finished(&task).await;
    assert_eq!(record["state"], "dead", "{record:#}");
    assert_eq!((&record["attempts"], side.lines().len()), (&2.into(), 2));
    mesh.assert_well().await;
    // A person gives it another chance.
    mesh.client(0).deploy("poison", &builtin("noop")).await;
    mesh.client(0).post(&format!("/v1/tasks/{task}/retry"), "").await.ok();
    assert_eq!(mesh.client(1).finished(&task).await["state"], "done");
}
