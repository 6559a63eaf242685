//! Nodes find each other, agree on everything, and are found again after a restart.

use std::time::{Duration, Instant};

use beatmesh_tests::{NodeSpec, Scratch, Signal, TestMesh, until};

#[tokio::test]
async fn three_nodes_find_each_other_through_the_node_table_and_agree() {
    let mut mesh = TestMesh::start(3).await;
    for node in &mesh.nodes {
        let view = node.view().await;
        assert_eq!(view["mesh"], "beatmesh");
        assert_eq!(view["self"], node.name());
        let members = view["members"].as_array().unwrap();
        assert_eq!(members.len(), 3, "{view:#}");
        for member in members {
            assert_eq!(member["liveness"], "alive", "{member:#}");
            assert_eq!(member["ready"], true, "{member:#}");
            assert_eq!(member["roles"], serde_json::json!(["beat", "server", "worker"]), "{member:#}");
            let known = &mesh.nodes[mesh.index_of(member["id"].as_str().unwrap())];
            assert_eq!(member["http"], known.http().to_string());
            assert_eq!(member["mesh"], known.mesh_addr().to_string());
            let one = node.client().get(&format!("/v1/mesh/members/{}", known.name())).await.ok().json();
            assert_eq!(one["generation"], member["generation"]);
        }
        let missing = node.client().get("/v1/mesh/members/nobody").await;
        missing.problem(404, "member_not_found");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_key_has_the_same_owner_on_every_node() {
    let mesh = TestMesh::start(3).await;
    let mut owners = std::collections::BTreeSet::new();
    for key in 0..30 {
        let path = format!("/v1/mesh/ring?key=k{key}&n=3");
        let first = mesh.client(0).get(&path).await.ok().json();
        assert_eq!(first["successors"].as_array().unwrap().len(), 3);
        for index in 1..3 {
            assert_eq!(mesh.client(index).get(&path).await.ok().json(), first);
        }
        owners.insert(first["owner"].as_str().unwrap().to_owned());
    }
    assert_eq!(owners.len(), 3, "30 keys spread over 3 nodes: {owners:?}");
    mesh.client(0).get("/v1/mesh/ring").await.problem(400, "bad_request");
    mesh.client(0).get("/v1/mesh/ring?key=a&n=0").await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_member_with_other_shared_settings_is_shown_and_warned_of_once() {
    let lease = |spec: NodeSpec, name: &str| {
        if name == "node-3" { spec.set("queue.lease", "20s") } else { spec }
    };
    let dir = Scratch::new();
    let start = |name: &str| lease(NodeSpec::new(&dir, name), name).start();
    let nodes = ["node-1", "node-2", "node-3"].map(start).into();
    let mut mesh = TestMesh { nodes, dir: Scratch::new() };
    mesh.until_formed().await;
    let view = mesh.nodes[0].view().await;
    let config = |index: usize| view["members"][index]["config"].as_str().expect("every member has one");
    assert_eq!(config(0), config(1));
    assert_ne!(config(0), config(2));
    for (index, warnings) in [(0, 1), (1, 1), (2, 2)] {
        let warned = async || mesh.nodes[index].events("a member runs with other settings").len();
        until("it warns", Duration::from_secs(5), warned, |count| *count == warnings).await;
    }
    let warning = &mesh.nodes[0].events("a member runs with other settings")[0];
    assert_eq!(warning["settings"], "queue.lease", "{warning}");
    let mut members = beatmesh_tests::binary::command();
    members.args(["members", "--url", mesh.client(0).base()]);
    let said = beatmesh_tests::process::run(members, b"", Duration::from_secs(10));
    let marked: Vec<_> = said.stdout.lines().filter(|line| line.contains("other settings")).collect();
    assert!(marked.len() == 1 && marked[0].starts_with("node-3"), "{said:?}");
    assert!(marked[0].ends_with("other settings: queue.lease"), "{said:?}");
    // Further changes of the view are no news.
    mesh.nodes[1].kill();
    mesh.until_ring(&["node-1", "node-3"]).await;
    assert_eq!(mesh.nodes[0].events("a member runs with other settings").len(), 1);
}

#[tokio::test]
async fn a_node_that_takes_http_everywhere_is_shown_at_an_address_that_others_can_dial() {
    let dir = Scratch::new();
    let keys = dir.secret_file("keys", "ci:canary-0123456789-abcdefghijk\n");
    let spec = NodeSpec::new(&dir, "node-1").set("security.api_keys_file", keys.display());
    let node = spec.http("0.0.0.0:0".parse().unwrap()).start();
    let request = node.client().request(reqwest::Method::GET, "/v1/mesh");
    let request = request.header("Authorization", "bearer canary-0123456789-abcdefghijk");
    let view = beatmesh_tests::http::send(request).await.unwrap().ok().json();
    assert_eq!(view["members"][0]["http"], format!("127.0.0.1:{}", node.http().port()));
}

/// The rows of the node table are removed again and again, so that only the seeds are left to find by.
#[tokio::test]
async fn nodes_find_each_other_by_a_seed_alone() {
    let dir = Scratch::new();
    let forget = || {
        let mut sqlite = std::process::Command::new("sqlite3");
        sqlite.args(["-cmd", ".timeout 5000"]).arg(dir.join("mesh.db")).arg("DELETE FROM nodes");
        let said = beatmesh_tests::process::run(sqlite, b"", Duration::from_secs(10));
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    let first = NodeSpec::new(&dir, "node-1").start();
    forget();
    let seed = first.mesh_addr();
    let second = NodeSpec::new(&dir, "node-2").flag("--seed", seed).start();
    forget();
    // Two seeds, one of them where nobody is.
    let third = NodeSpec::new(&dir, "node-3").flag("--seed", "127.0.0.1:9").flag("--seed", seed).start();
    let mesh = TestMesh { nodes: vec![first, second, third], dir };
    mesh.until_formed().await;
}

#[tokio::test]
async fn a_node_without_the_role_of_worker_runs_nothing_and_is_no_beat() {
    let dir = Scratch::new();
    let all = NodeSpec::new(&dir, "node-1").start();
    let server = NodeSpec::new(&dir, "node-2").flag("--roles", "server").start();
    let mesh = TestMesh { nodes: vec![all, server], dir };
    mesh.until_formed().await;
    mesh.client(1).deploy("echo", &beatmesh_tests::side_file::builtin("echo")).await;
    for key in 0..10 {
        let request = mesh.client(1).request(reqwest::Method::POST, "/v1/functions/echo/call");
        let answer =
            beatmesh_tests::http::send(request.header("Beatmesh-Key", key.to_string())).await.unwrap();
        assert_eq!(answer.ok().node(), "node-1");
    }
    assert_eq!(mesh.nodes[1].view().await["beat"], "node-1");
}

#[tokio::test]
async fn a_killed_node_leaves_the_ring_and_comes_back_with_a_higher_generation() {
    let mut mesh = TestMesh::start(3).await;
    let generation = |view: &serde_json::Value| {
        let members = view["members"].as_array().unwrap().clone();
        let member = members.into_iter().find(|member| member["id"] == "node-3").unwrap();
        member["generation"].as_u64().unwrap()
    };
    let before = generation(&mesh.nodes[0].view().await);
    mesh.nodes[2].kill();
    mesh.until_ring(&["node-1", "node-2"]).await;
    mesh.nodes[2].restart();
    mesh.until_formed().await;
    let after = generation(&mesh.nodes[0].view().await);
    assert!(after > before, "{after} after {before}");
}

#[tokio::test]
async fn a_node_that_leaves_is_out_of_the_ring_at_once_and_its_row_is_gone() {
    let mut mesh = TestMesh::start(3).await;
    let status = mesh.nodes[1].stop();
    assert!(status.success(), "{status}");
    // Well before any silence would be noticed: it said goodbye.
    let look = async || mesh.nodes[0].view().await["ring"]["members"].clone();
    let is_gone = |members: &serde_json::Value| members == &serde_json::json!(["node-1", "node-3"]);
    until("the leaver is out of the ring", Duration::from_millis(500), look, is_gone).await;
    let mut sqlite = std::process::Command::new("sqlite3");
    sqlite
        .args(["-cmd", ".timeout 5000"])
        .arg(mesh.dir.join("mesh.db"))
        .arg("SELECT node FROM nodes ORDER BY node");
    let said = beatmesh_tests::process::run(sqlite, b"", Duration::from_secs(10));
    assert_eq!(said.stdout, "node-1\nnode-3\n", "{said:?}");
    mesh.nodes[1].restart();
    mesh.until_formed().await;
}

/// With the usual pace a member that is silent for two seconds is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_pace_for_far_apart_a_stall_kills_nobody_and_a_death_is_found_all_the_same() {
    let mut mesh = TestMesh::start_with(3, |spec| spec.set("mesh.pace", "wan")).await;
    let watches = mesh.watch().await;
    let stalled = Instant::now();
    mesh.nodes[2].signal(Signal::Stop);
    tokio::time::sleep(Duration::from_secs(2)).await;
    mesh.nodes[2].signal(Signal::Continue);
    let others = &watches[..2];
    let is_missed =
        || others.iter().flat_map(beatmesh_tests::Watch::sightings).any(|seen| seen.is("node-3", "dead"));
    mesh.until_formed().await;
    assert!(!is_missed(), "it was back before its time was up");
    let killed = Instant::now();
    mesh.nodes[2].kill();
    for watch in others {
        let within = Duration::from_secs(60);
        let death = watch.until("the death", stalled, within, |seen| seen.is("node-3", "dead")).await;
        assert!(death.at > killed);
        println!("killed, then dead to {}: {} ms", watch.node(), (death.at - killed).as_millis());
    }
}
