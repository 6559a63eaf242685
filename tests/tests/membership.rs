//! Nodes that die, stand still or come back again and again: who is dead is known, who is not is not.
//!
//! The times are printed and not asserted, but for deadlines that a busy machine keeps as well.
//! `BEATMESH_RESTARTS=100` makes the crash loop longer.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::{from_env, summary};
use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::watch::deaths_but;
use beatmesh_tests::{Node, NodeSpec, Scratch, Signal, TestMesh, Watch, until, until_some};

/// Within this everybody knows of a death, a multiple of what a busy machine takes.
const DEATH: Duration = Duration::from_secs(10);

/// And within this everybody knows that a node is there.
const RETURN: Duration = Duration::from_secs(10);

/// Verdicts that come of a pause come within this, if any: some probes and the time to refute.
const LATE_VERDICTS: Duration = Duration::from_secs(5);

fn ms(since: Instant, at: Instant) -> i64 {
    i64::try_from(at.saturating_duration_since(since).as_millis()).expect("tests are short")
}

/// Waits until all of these nodes hold `name` for dead; answers after how many milliseconds each did.
async fn dead_everywhere<'w>(
    watches: impl Iterator<Item = &'w Watch>,
    name: &str,
    since: Instant,
) -> Vec<i64> {
    let mut took = Vec::new();
    for watch in watches {
        let death = watch.until("the death", since, DEATH, |seen| seen.is(name, "dead")).await;
        took.push(ms(since, death.at));
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_dead_to_all_others_and_nobody_else_is() {
    let mut mesh = TestMesh::start(5).await;
    let watches = mesh.watch().await;
    let name = mesh.nodes[4].name().to_owned();
    let killed = Instant::now();
    mesh.nodes[4].kill();
    let took = dead_everywhere(watches[..4].iter(), &name, killed).await;
    println!("killed, then dead to four others: {}", summary(&took));
    mesh.until_ring(&["node-1", "node-2", "node-3", "node-4"]).await;
    tokio::time::sleep_until((killed + LATE_VERDICTS).into()).await;
    assert_eq!(deaths_but(&watches[..4], &[&name]), [""; 0]);
    for node in &mut mesh.nodes[..4] {
        node.assert_well().await;
    }
}

/// One of five stands still for so long and goes on.
async fn one_stands_still(pause: Duration) {
    let mut mesh = TestMesh::start(5).await;
    let watches = mesh.watch().await;
    let name = mesh.nodes[4].name().to_owned();
    let stopped = Instant::now();
    mesh.nodes[4].signal(Signal::Stop);
    if pause > DEATH {
        let took = dead_everywhere(watches[..4].iter(), &name, stopped).await;
        println!("stopped, then dead to four others: {}", summary(&took));
    }
    tokio::time::sleep_until((stopped + pause).into()).await;
    let woken = Instant::now();
    mesh.nodes[4].signal(Signal::Continue);
    let mut took = Vec::new();
    for watch in &watches[..4] {
        let what = format!("{} holds it for alive", watch.node());
        let last = async || watch.last_of(&name);
        let seen =
            until(&what, RETURN, last, |last| last.as_ref().is_none_or(|last| last.liveness == "alive"));
        took.push(seen.await.map_or(0, |seen| ms(woken, seen.at)));
    }
    println!("stopped for {pause:?}, then alive to four others: {}", summary(&took));
    mesh.until_formed().await;
    tokio::time::sleep_until((woken + LATE_VERDICTS).into()).await;
    assert_eq!(deaths_but(&watches[4..], &[]), [""; 0], "who was stopped itself judges nobody");
    assert_eq!(deaths_but(&watches[..4], &[&name]), [""; 0]);
    let back = watches[..4].iter().filter_map(|watch| watch.last_of(&name));
    assert!(back.clone().all(|last| last.liveness == "alive"), "{:#?}", back.collect::<Vec<_>>());
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_3_s_buries_nobody_and_is_held_for_alive_again() {
    one_stands_still(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_15_s_buries_nobody_and_is_held_for_alive_again() {
    one_stands_still(Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_60_s_buries_nobody_and_is_held_for_alive_again() {
    if from_env("BEATMESH_LONG", 0) == 0 {
        return println!("skipped: it takes more than a minute; BEATMESH_LONG=1 runs it");
    }
    one_stands_still(Duration::from_secs(60)).await;
}

/// The mesh has a thread of its own: neither functions nor clients keep it from answering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_functions_and_clients_starve_nobody() {
    const BUSY: Duration = Duration::from_secs(20);
    let mut mesh = TestMesh::start(3).await;
    let watches = mesh.watch().await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    mesh.client(0).deploy("busy", &shell("timeout 5 sh -c 'while :; do :; done'; echo done")).await;
    let until = Instant::now() + BUSY;
    let mut load = tokio::task::JoinSet::new();
    for (index, function) in
        [(0, "busy"), (1, "busy"), (2, "busy"), (0, "busy"), (0, "echo"), (1, "echo"), (2, "echo")]
    {
        let client = mesh.client(index);
        load.spawn(async move {
            let mut calls = 0;
            while Instant::now() < until {
                let answer = client.post(&format!("/v1/functions/{function}/call"), "x".repeat(10_000)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                calls += 1;
            }
            (function, calls)
        });
    }
    for (function, calls) in load.join_all().await {
        println!("{calls} calls of {function}");
    }
    assert_eq!(deaths_but(&watches, &[]), [""; 0]);
    mesh.until_formed().await;
    mesh.assert_well().await;
}

/// The hardest moment for a pause: the time that another has to refute runs out meanwhile. Without the guard
/// against pauses whoever wakes buries it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stood_still_while_it_suspected_somebody_does_not_bury_it_on_waking() {
    let mut mesh = TestMesh::start(5).await;
    let watches = mesh.watch().await;
    let (suspect, name) = (&mesh.nodes[3], mesh.nodes[3].name().to_owned());
    let stopped = Instant::now();
    suspect.signal(Signal::Stop);
    watches[4].until("the suspicion", stopped, DEATH, |seen| seen.is(&name, "suspect")).await;
    mesh.nodes[4].signal(Signal::Stop);
    suspect.signal(Signal::Continue);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let woken = Instant::now();
    mesh.nodes[4].signal(Signal::Continue);
    mesh.until_formed().await;
    tokio::time::sleep_until((woken + LATE_VERDICTS).into()).await;
    assert_eq!(deaths_but(&watches[4..], &[]), [""; 0], "who was stopped itself judges nobody");
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_stood_still_nobody_is_dead_for_more_than_a_moment() {
    let mut mesh = TestMesh::start(5).await;
    let watches = mesh.watch().await;
    mesh.nodes.iter().for_each(|node| node.signal(Signal::Stop));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let woken = Instant::now();
    mesh.nodes.iter().for_each(|node| node.signal(Signal::Continue));
    mesh.until_formed().await;
    println!("all stopped for 10 s, then whole: {} ms", ms(woken, Instant::now()));
    tokio::time::sleep_until((woken + LATE_VERDICTS).into()).await;
    mesh.until_formed().await;
    for watch in &watches {
        let seen = watch.sightings();
        for (index, death) in seen.iter().enumerate().filter(|(_, sighting)| sighting.liveness == "dead") {
            let back = seen[index..].iter().find(|later| later.is(&death.member, "alive"));
            let moment = back.map(|back| ms(death.at, back.at));
            println!("{} held {} for dead for {moment:?} ms", watch.node(), death.member);
            assert!(moment.is_some_and(|moment| moment < 2_000), "{seen:#?}");
        }
    }
    mesh.assert_well().await;
}

/// Answers whatever comes on the ports of a node, as something does that is no node.
struct Usurper {
    datagrams: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Usurper {
    fn take_ports_of(node: &Node) -> Self {
        let patience = Some(Duration::from_millis(50));
        let udp = UdpSocket::bind(node.mesh_addr()).expect("the port is free");
        udp.set_read_timeout(patience).expect("a good value");
        let http = TcpListener::bind(node.http()).expect("the port is free");
        http.set_nonblocking(true).expect("listeners can");
        let (datagrams, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, ends) = (datagrams.clone(), over.clone());
        let echo = std::thread::spawn(move || {
            let mut datagram = [0; 2_048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut datagram) {
                    counts.fetch_add(1, Ordering::Relaxed);
                    let _ = udp.send_to(&datagram[..length], from);
                }
            }
        });
        let ends = over.clone();
        let web = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let Ok((mut client, _)) = http.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let _ = client.set_read_timeout(patience);
                let _ = client.read(&mut [0; 2_048]);
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            }
        });
        Self { datagrams, over, threads: vec![echo, web] }
    }
}

impl Drop for Usurper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_the_ports_of_a_dead_node_is_no_member() {
    let mut mesh = TestMesh::start(3).await;
    let mut watches = mesh.watch().await;
    let name = mesh.nodes[2].name().to_owned();
    let killed = Instant::now();
    mesh.nodes[2].kill();
    watches.truncate(2);
    let usurper = Usurper::take_ports_of(&mesh.nodes[2]);
    dead_everywhere(watches.iter(), &name, killed).await;
    let datagrams = usurper.datagrams.clone();
    let count = async || datagrams.load(Ordering::Relaxed);
    until("the dead node's port was tried", Duration::from_secs(30), count, |count| *count >= 20).await;
    drop(usurper);

    let other = Scratch::new();
    let (http, port) = (mesh.nodes[2].http(), mesh.nodes[2].mesh_addr());
    let mut stranger = NodeSpec::new(&other, &name).set("mesh.name", "other").http(http).mesh(port).start();
    let told = async || {
        let lines = mesh.nodes[..2].iter().chain([&stranger]).map(|node| node.events("refused a peer"));
        lines.flatten().next()
    };
    let told = until_some("the other mesh's node is refused", Duration::from_secs(40), told).await;
    println!("refused: {} {}", told["peer"], told["reason"]);
    let own = stranger.view().await;
    assert_eq!(own["members"].as_array().map(Vec::len), Some(1), "it is alone: {own:#}");
    stranger.assert_well().await;
    drop(stranger);

    for watch in &watches {
        let seen = watch.sightings();
        let dead = seen.iter().position(|seen| seen.is(&name, "dead")).expect("waited for");
        assert!(seen[dead..].iter().all(|seen| seen.liveness == "dead"), "{}: {seen:#?}", watch.node());
    }
    assert_eq!(deaths_but(&watches, &[&name]), [""; 0]);
    mesh.until_ring(&["node-1", "node-2"]).await;
    mesh.nodes[2].restart();
    mesh.until_formed().await;
    mesh.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_crashes_again_and_again_is_seen_each_time_and_takes_nobody_with_it() {
    let restarts = from_env("BEATMESH_RESTARTS", 20);
    let mut mesh = TestMesh::start(4).await;
    let mut watches = mesh.watch().await;
    watches.truncate(3);
    let name = mesh.nodes[3].name().to_owned();
    let generation = async |mesh: &TestMesh| {
        let view = mesh.nodes[3].view().await;
        let members = view["members"].as_array().cloned().unwrap_or_default();
        let own = members.into_iter().find(|member| member["id"] == name.as_str());
        own.and_then(|own| own["generation"].as_u64()).expect("it knows itself")
    };
    let mut last = generation(&mesh).await;
    let mut took = Vec::new();
    for restart in 0..restarts {
        // At another phase of the periods each time, before and after the others have noticed.
        tokio::time::sleep(Duration::from_millis(u64::from(restart) * 370 % 1_500)).await;
        let killed = Instant::now();
        mesh.nodes[3].kill();
        mesh.nodes[3].restart();
        let current = generation(&mesh).await;
        assert!(current > last, "{current} after {last}");
        last = current;
        for watch in &watches {
            let what = format!("life {} of {name}", restart + 2);
            let is_it =
                |seen: &beatmesh_tests::Sighting| seen.is(&name, "alive") && seen.generation == current;
            took.push(ms(killed, watch.until(&what, killed, RETURN, is_it).await.at));
        }
    }
    println!("{restarts} crashes, the next life seen by three others: {}", summary(&took));
    mesh.until_formed().await;
    assert_eq!(deaths_but(&watches, &[&name]), [""; 0]);
    mesh.assert_well().await;
}
