//! Nodes that move, come and go, are copied, or look for each other in a node table full of rubbish.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::from_env;
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::watch::deaths_but;
use beatmesh_tests::{Node, NodeSpec, Scratch, TestMesh, database, http, until};
use reqwest::Method;
use serde_json::Value;

/// Nodes find each other within this, whatever stands in the table; it takes a second or two.
const SECONDS: Duration = Duration::from_secs(15);

/// Three nodes look twice before each sees another, on a busy machine more often, and dial 48 addresses each time.
/// Measured: 254. Without a bound it would be 800 in each look.
const MOST_DIALS: usize = 3 * 4 * 48;

/// A member as a node shows it; null when it does not.
async fn member(node: &Node, name: &str) -> Value {
    let view = node.view().await;
    let members = view["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["id"] == name).unwrap_or_default()
}

/// Dials: each begins with a connection id of its own (RFC 9000, 17.2).
type Dials = Arc<Mutex<BTreeSet<Vec<u8>>>>;

/// Takes what is sent to one port of all addresses of this machine and answers nothing. A thread reads from now on
/// until the process ends: what a full buffer dropped would not be counted.
fn silent_port() -> (u16, Dials) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("there is a free port");
    let (port, dials) = (socket.local_addr().expect("it is bound").port(), Dials::default());
    let ids = dials.clone();
    std::thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok(length) = socket.recv(&mut packet) {
            if length > 32 && packet[0] & 0xf0 == 0xc0 {
                let id = packet[6..6 + usize::from(packet[5].min(20))].to_vec();
                ids.lock().expect("nobody panics with it").insert(id);
            }
        }
    });
    (port, dials)
}

/// Ten thousand rows, the newest an hour old: of nobody at ten thousand addresses, of another mesh's node, and some
/// that hold nonsense.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_in_a_table_full_of_stale_rows_and_rows_of_another_mesh() {
    let (dir, elsewhere) = (Scratch::new(), Scratch::new());
    let mut other = NodeSpec::new(&elsewhere, "other-1").set("mesh.name", "other").start();
    let (port, dials) = silent_port();
    // The tables are there as soon as a node has been there once.
    assert!(NodeSpec::new(&dir, "node-1").start().stop().success());
    let rows = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
         INSERT INTO nodes (node, generation, addr, last_seen)
         SELECT 'stale-' || i, 1000, CASE i % 10 WHEN 0 THEN '{}' WHEN 1 THEN 'nowhere'
           ELSE '127.1.' || (i / 200) || '.' || (1 + i % 200) || ':{port}' END,
           unixepoch() * 1000 - 3600000 - i FROM n;",
        other.mesh_addr()
    );
    database::ask(&dir, &rows);
    let begun = Instant::now();
    let nodes = ["node-1", "node-2", "node-3"].map(|name| NodeSpec::new(&dir, name).start()).into();
    let mut mesh = TestMesh { nodes, dir };
    mesh.until_formed().await;
    println!("found each other after {} ms", begun.elapsed().as_millis());
    assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
    // The pace of one that is alone: whoever went on dialling like that would be seen.
    tokio::time::sleep_until((begun + Duration::from_secs(7)).into()).await;
    let count = dials.lock().expect("nobody panics with it").len();
    println!("{count} dials of stale rows by three nodes");
    assert!((1..=MOST_DIALS).contains(&count), "{count} dials");
    for node in &mesh.nodes {
        let view = node.view().await;
        assert_eq!(view["members"].as_array().map(Vec::len), Some(3), "{view:#}");
        assert!(node.events("refused a peer").len() <= 1, "{} told of each", node.name());
    }
    let own = other.view().await;
    assert_eq!(own["members"].as_array().map(Vec::len), Some(1), "it is alone: {own:#}");
    let count = database::ask(&mesh.dir, "SELECT count(*) FROM nodes WHERE node LIKE 'stale-%'");
    assert_eq!(count, "10000", "they were there all the time");
    other.assert_well().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_at_another_address_is_known_there_in_its_next_life() {
    let mut mesh = TestMesh::start(3).await;
    let watches = mesh.watch().await;
    for is_killed in [false, true] {
        let (old, before) = (mesh.nodes[2].mesh_addr(), member(&mesh.nodes[0], "node-3").await);
        if is_killed {
            mesh.nodes[2].kill();
        } else {
            assert!(mesh.nodes[2].stop().success());
        }
        let any = "127.0.0.1:0".parse().unwrap();
        // The old port is kept busy, so that the system gives another one.
        let _busy = std::net::UdpSocket::bind(old).expect("it is free");
        mesh.nodes[2] = NodeSpec::new(&mesh.dir, "node-3").mesh(any).start();
        let new = mesh.nodes[2].mesh_addr();
        assert_ne!(old, new);
        for node in &mesh.nodes {
            let is_there = |seen: &Value| {
                seen["mesh"] == new.to_string()
                    && seen["liveness"] == "alive"
                    && seen["generation"].as_u64() > before["generation"].as_u64()
            };
            let what = format!("{} knows where it is", node.name());
            until(&what, SECONDS, async || member(node, "node-3").await, is_there).await;
        }
        mesh.until_formed().await;
        let row = database::ask(&mesh.dir, "SELECT addr FROM nodes WHERE node = 'node-3'");
        assert_eq!(row, new.to_string(), "one row, the new one");
    }
    assert_eq!(deaths_but(&watches[..2], &["node-3"]), [""; 0]);
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_and_goes_every_few_seconds_costs_no_call_and_nobody_else() {
    let long = from_env("BEATMESH_LONG", 0) > 0;
    let mut mesh = TestMesh::start(3).await;
    let mut watches = mesh.watch().await;
    watches.truncate(2);
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let clients = [mesh.client(0), mesh.client(1)];
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = over.clone();
    let calling = tokio::spawn(async move {
        let (mut calls, mut failed) = (0_u32, Vec::new());
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let request = clients[calls as usize % 2].request(Method::POST, "/v1/functions/echo/call");
            let answer = http::send(request.header("Beatmesh-Key", calls.to_string()).body("hello")).await;
            match answer {
                Ok(answer) if answer.status == 200 && answer.text() == "hello" => {}
                other => failed.push(format!("{other:?}")),
            }
            calls += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (calls, failed)
    });
    let begun = Instant::now();
    let (whole, half) = (Duration::from_secs(if long { 120 } else { 20 }), Duration::from_millis(2_500));
    let mut rounds = 0;
    while begun.elapsed() < whole {
        assert!(mesh.nodes[2].stop().success());
        mesh.until_ring(&["node-1", "node-2"]).await;
        tokio::time::sleep_until((begun + half * (2 * rounds + 1)).into()).await;
        mesh.nodes[2].restart();
        mesh.until_formed().await;
        tokio::time::sleep_until((begun + half * (2 * rounds + 2)).into()).await;
        rounds += 1;
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let (calls, failed) = calling.await.unwrap();
    println!("{calls} calls while a node left and came {rounds} times, {} failed", failed.len());
    assert!(calls > 500 && failed.is_empty(), "{calls} calls, failed: {failed:#?}");
    assert_eq!(deaths_but(&watches, &[]), [""; 0], "who says goodbye is not dead either");
    for watch in &watches {
        let suspects = watch.sightings().into_iter().filter(|seen| seen.liveness == "suspect");
        let others: Vec<_> = suspects.filter(|seen| seen.member != "node-3").collect();
        assert!(others.is_empty(), "{}: {others:#?}", watch.node());
    }
    mesh.assert_well().await;
}

/// As a machine that was cloned, data directory and all, and started beside the original.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_nodes_data_directory_does_not_become_the_node_while_that_runs() {
    let mut mesh = TestMesh::start(2).await;
    let before = member(&mesh.nodes[1], "node-1").await;
    let copy = mesh.dir.join("copy");
    let mut cp = std::process::Command::new("cp");
    cp.arg("-a").arg(mesh.nodes[0].data_dir()).arg(&copy);
    assert_eq!(beatmesh_tests::process::run(cp, b"", SECONDS).code, Some(0));
    let said = NodeSpec::new(&mesh.dir, "node-1").flag("--data-dir", copy.display()).fail();
    let line = said.stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    println!("{line}");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(line.contains("`node-1`"), "{said:?}");
    mesh.until_formed().await;
    let after = member(&mesh.nodes[1], "node-1").await;
    assert_eq!(
        (&after["generation"], &after["http"], &after["liveness"]),
        (&before["generation"], &before["http"], &"alive".into()),
        "the first goes on in its life"
    );
    mesh.assert_well().await;
}
