//! Links that are cut: each node in a network namespace, packets dropped by rules of nft. All share one store
//! through the file system, so this is the split in which both sides still reach the database.
//!
//! Skipped with a printed reason where namespaces cannot be made (they want root). `BEATMESH_LONG=1` isolates
//! for five minutes instead of ten seconds, and lets cuts that must not matter last for one.

use std::time::{Duration, Instant};

use beatmesh_tests::figures::from_env;
use beatmesh_tests::watch::deaths_but;
use beatmesh_tests::{Network, Node, SideFile, TestMesh, Watch, database, http, until};
use reqwest::Method;

/// Within this a side has noticed that the other is gone, and after a heal all are one mesh.
const NOTICED: Duration = Duration::from_secs(15);

/// How long a cut that must not matter lasts.
fn cut_for() -> Duration {
    Duration::from_secs(if is_long() { 60 } else { 20 })
}

fn is_long() -> bool {
    from_env("BEATMESH_LONG", 0) > 0
}

/// Sights of suspects that a busy machine may cause in that time. Measured: none, and 80 when nobody is asked to
/// ping for others.
const FEW: usize = 20;

/// Wants root and a kernel that can.
fn network(count: u8) -> Option<Network> {
    Network::new(count).map_err(|reason| println!("skipped: {reason}")).ok()
}

/// How often somebody was a suspect somewhere: it may come and go, and says how close it was.
fn suspicions(watches: &[Watch]) -> usize {
    let all = watches.iter().flat_map(Watch::sightings);
    all.filter(|sighting| sighting.liveness == "suspect").count()
}

/// Waits until this node holds all of these for dead and nobody else.
async fn holds_for_dead(mesh: &TestMesh, index: usize, names: &[&str]) {
    let look = async || {
        let view = mesh.nodes[index].view().await;
        let members = view["members"].as_array().cloned().unwrap_or_default();
        let dead = members.into_iter().filter(|member| member["liveness"] == "dead");
        dead.filter_map(|member| member["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let what = format!("{} holds {names:?} for dead", mesh.nodes[index].name());
    until(&what, NOTICED, look, |dead| dead == names).await;
}

/// Heals and waits until all agree; prints how long that took since the first link was there again.
async fn one_mesh_again(mesh: &mut TestMesh, network: &Network, fault: &str) {
    let healed = Instant::now();
    network.heal();
    let look = async || {
        let mut rings = Vec::new();
        for node in &mesh.nodes {
            let view = node.view().await;
            let alive = view["members"]
                .as_array()
                .map_or(0, |members| members.iter().filter(|member| member["liveness"] == "alive").count());
            rings.push((alive, view["ring"]["fingerprint"].clone(), view["ring"]["frozen"].clone()));
        }
        rings
    };
    let is_one = |rings: &Vec<(usize, serde_json::Value, serde_json::Value)>| {
        rings.iter().all(|ring| ring == &rings[0] && ring.0 == rings.len() && ring.2 == false)
    };
    until("views are equal again", NOTICED, look, is_one).await;
    println!("{fault}, then equal views {} ms after the heal", healed.elapsed().as_millis());
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// A cut between the first two of five, for a while: it must not matter.
async fn kills_nobody(what: &str, cut: impl Fn(&Network), met: [bool; 2]) {
    let Some(network) = network(5) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let watches = mesh.watch().await;
    let lasting = cut_for();
    cut(&network);
    tokio::time::sleep(lasting).await;
    assert_eq!([0, 1].map(|node| network.dropped(node) > 0), met, "the cut is one");
    let suspicions = suspicions(&watches);
    println!("{what} for {lasting:?}: {suspicions} sights of suspects");
    assert!(suspicions <= FEW, "they are asked for through the others");
    assert_eq!(deaths_but(&watches, &[]), [""; 0]);
    assert!(watches.iter().all(|watch| watch.rings().is_empty()), "{watches:#?}");
    network.heal();
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_do_not_hear_each_other_are_alive_to_all_while_others_hear_both() {
    kills_nobody("two of five cut off from each other", |network| network.cut(0, 1), [true, true]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_deaf_in_one_direction_kills_nobody() {
    let cut = |network: &Network| network.cut_one_way(0, 1);
    kills_nobody("one of five not heard by another", cut, [false, true]).await;
}

/// On and off at another pace than the detector's, so that each of its phases is met.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_comes_and_goes_kills_nobody() {
    let Some(network) = network(3) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let watches = mesh.watch().await;
    let (begun, mut flaps, lasting) = (Instant::now(), 0, cut_for());
    while begun.elapsed() < lasting {
        network.cut(0, 1);
        tokio::time::sleep(Duration::from_millis(730)).await;
        network.heal();
        tokio::time::sleep(Duration::from_millis(410)).await;
        flaps += 1;
    }
    assert!([0, 1].iter().all(|node| network.dropped(*node) > 0), "the cuts were some");
    println!(
        "a line that came and went {flaps} times in {lasting:?}: {} sights of suspects",
        suspicions(&watches)
    );
    assert_eq!(deaths_but(&watches, &[]), [""; 0]);
    assert!(watches.iter().all(|watch| watch.rings().is_empty()), "{watches:#?}");
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_a_line_that_is_cut_ends_long_before_the_function_would() {
    let Some(network) = network(3) else { return };
    let mesh = TestMesh::start_in(&network).await;
    let side = SideFile::new(mesh.dir.path(), "began");
    let script = format!("{}; sleep 50", side.append("x"));
    mesh.client(0).deploy("long", &side.function(&script)).await;
    let (client, key) = (mesh.client(0), mesh.key_of(1).await);
    let call = client.request(Method::POST, "/v1/functions/long/call").header("Beatmesh-Key", key);
    let calling = tokio::spawn(async move { http::send(call).await });
    until("the function has begun", NOTICED, async || side.lines(), |lines| !lines.is_empty()).await;
    let cut = Instant::now();
    network.cut(0, 1);
    let answer = tokio::time::timeout(NOTICED, calling).await.expect("the line is dead").unwrap().unwrap();
    println!("a call whose line was cut ended after {} ms", cut.elapsed().as_millis());
    assert_eq!(answer.problem(502, "answer_lost")["outcome"], "unknown");
    let worker = mesh.nodes[0].view().await["members"][1].clone();
    assert_eq!(
        (&worker["id"], &worker["liveness"]),
        (&"node-2".into(), &"alive".into()),
        "the third hears it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_nobody_hears_is_dead_and_comes_back_when_it_is_heard() {
    let Some(network) = network(5) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let watches = mesh.watch().await;
    (1..5).for_each(|other| network.cut_one_way(0, other));
    for index in 1..5 {
        holds_for_dead(&mesh, index, &["node-1"]).await;
    }
    one_mesh_again(&mut mesh, &network, "one of five heard by nobody").await;
    assert_eq!(deaths_but(&watches[1..], &["node-1"]), [""; 0], "who hears each other is not dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_halves_are_one_mesh_again_when_the_split_heals() {
    let Some(network) = network(5) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let watches = mesh.watch().await;
    let (few, many) = (["node-1", "node-2"], ["node-3", "node-4", "node-5"]);
    network.split(&[0, 1], &[2, 3, 4]);
    for index in 0..2 {
        holds_for_dead(&mesh, index, &many).await;
    }
    for index in 2..5 {
        holds_for_dead(&mesh, index, &few).await;
    }
    // More than half look dead to the two: they keep their ring, and only the Beat follows who answers.
    for (index, node) in mesh.nodes.iter().enumerate() {
        let view = node.view().await;
        let members = view["ring"]["members"].as_array().map_or(0, Vec::len);
        let is_few = index < 2;
        assert_eq!(
            (&view["ring"]["frozen"], members),
            (&is_few.into(), if is_few { 5 } else { 3 }),
            "{view:#}"
        );
        let own: &[&str] = if is_few { &few } else { &many };
        assert!(own.contains(&view["beat"].as_str().unwrap_or_default()), "{view:#}");
    }
    one_mesh_again(&mut mesh, &network, "split into two and three").await;
    assert_eq!(deaths_but(&watches[..2], &many), [""; 0], "nobody of one's own side is dead");
    assert_eq!(deaths_but(&watches[2..], &few), [""; 0], "nobody of one's own side is dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_were_alone_are_one_mesh_again() {
    let Some(network) = network(5) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let alone = Duration::from_secs(if is_long() { 300 } else { 10 });
    let cut = Instant::now();
    isolate_all(&mesh, &network).await;
    tokio::time::sleep_until((cut + alone).into()).await;
    one_mesh_again(&mut mesh, &network, &format!("all alone for {alone:?}")).await;
}

/// Nobody hears anybody, and all have noticed.
async fn isolate_all(mesh: &TestMesh, network: &Network) {
    let count = mesh.nodes.len();
    for index in 0..count - 1 {
        let others: Vec<usize> = (index + 1..count).collect();
        network.split(&[index], &others);
    }
    for index in 0..count {
        let others = mesh.nodes.iter().map(Node::name).filter(|name| *name != mesh.nodes[index].name());
        holds_for_dead(mesh, index, &others.collect::<Vec<_>>()).await;
    }
}

/// Who was a member is remembered: the node table is not needed to find it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_were_alone_find_each_other_without_the_database() {
    let Some(network) = network(3) else { return };
    let mut mesh = TestMesh::start_in(&network).await;
    let (home, aside) = (mesh.dir.path().to_owned(), mesh.dir.join("aside"));
    database::put(&home, &aside);
    isolate_all(&mesh, &network).await;
    let healed = Instant::now();
    network.heal();
    let inside = async || {
        let mut inside = Vec::new();
        for node in &mesh.nodes {
            let members = node.view().await["members"].as_array().cloned().unwrap_or_default();
            inside.push(members.iter().filter(|member| member["liveness"] == "alive").count());
        }
        inside
    };
    until("they are one mesh", NOTICED, inside, |inside| inside.iter().all(|count| *count == 3)).await;
    println!("one mesh {} ms after the heal, without the database", healed.elapsed().as_millis());
    database::put(&aside, &home);
    mesh.until_formed().await;
    mesh.assert_well().await;
}
