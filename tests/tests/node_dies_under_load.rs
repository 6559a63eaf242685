//! Ten thousand calls from 32 clients while a node is killed and restarted: what each client sees.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::{from_env, summary};
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, SideFile, TestMesh, http, until};
use reqwest::Method;

const CLIENTS: u32 = 32;

/// Some thousand calls on a loaded machine, and room for those that BEATMESH_CALLS asks for.
const IN_TIME: Duration = Duration::from_secs(600);

/// What calls came to.
#[derive(Debug, Default)]
struct Counts {
    ok: u32,
    /// Tries of the process function that were answered 200.
    run: Vec<String>,
    /// 502 with `outcome: unknown`.
    lost: u32,
    /// The connection to the dead node's own port failed.
    refused: u32,
    /// A connection to a living node failed: this must not happen.
    broken: Vec<String>,
    /// Anything else: this must not happen.
    other: Vec<String>,
    milliseconds: Vec<i64>,
    by_node: BTreeMap<String, u32>,
}

/// The nodes' ports, and who is dead now.
struct Ports {
    http: Vec<SocketAddr>,
    /// Calls begun; the kill and the restart come at a third and at two thirds.
    begun: AtomicU32,
    total: u32,
    /// 0 alive; else the life of the victim changes, and its port may fail.
    victim: usize,
    dying: AtomicU32,
}

/// One client: it stays with its node as long as that answers, and goes on with the next one otherwise.
async fn client(number: u32, ports: Arc<Ports>) -> Counts {
    let mut counts = Counts::default();
    let mut at = number as usize % ports.http.len();
    let mut clients: Vec<Client> = ports.http.iter().map(|addr| Client::new(*addr)).collect();
    loop {
        let call = ports.begun.fetch_add(1, Ordering::Relaxed);
        if call >= ports.total {
            return counts;
        }
        // Mostly builtins, every tenth a process; half of them with a key, so that they hop.
        let function = if call.is_multiple_of(10) { "process" } else { "echo" };
        let mut tries = 0;
        loop {
            // Every try is one of its own: what the client itself repeats may run twice.
            tries += 1;
            let body = format!("call {call} try {tries}");
            let request = clients[at].request(Method::POST, &format!("/v1/functions/{function}/call"));
            let request = request.body(body.clone());
            let request =
                if call.is_multiple_of(2) { request.header("Beatmesh-Key", body.clone()) } else { request };
            let was_dying = ports.dying.load(Ordering::SeqCst) > 0;
            let begin = Instant::now();
            match http::send(request).await {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.text(), body, "somebody else's answer");
                    counts.ok += 1;
                    if function == "process" {
                        counts.run.push(body);
                    }
                    counts.milliseconds.push(i64::try_from(begin.elapsed().as_millis()).unwrap());
                    *counts.by_node.entry(answer.node().to_owned()).or_default() += 1;
                }
                Ok(answer) if answer.status == 502 => {
                    let problem = answer.problem(502, "answer_lost");
                    assert_eq!(problem["outcome"], "unknown", "{problem:#}");
                    counts.lost += 1;
                }
                Ok(answer) => counts.other.push(format!("{function}: {} {}", answer.status, answer.text())),
                Err(error) => {
                    let is_dying = was_dying || ports.dying.load(Ordering::SeqCst) > 0;
                    if at == ports.victim && is_dying {
                        counts.refused += 1;
                        // Its connections are of no use any more; the call goes to another node.
                        clients[at] = Client::new(ports.http[at]);
                        at = (at + 1) % ports.http.len();
                        continue;
                    }
                    counts.broken.push(format!("{error:?}"));
                }
            }
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_living_nodes_see_200_or_an_unknown_outcome_and_nothing_else() {
    let total = from_env("BEATMESH_CALLS", 10_000);
    let mut mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    // No fsync: only nodes die here, not the machine.
    let script = format!("read -r line; echo \"$line\" >> '{}'; printf %s \"$line\"", side.mark());
    mesh.client(0).deploy("process", &side.function(&script)).await;
    mesh.client(1).call("process", "warm").await.ok();
    let stop_there = mesh.key_of(1).await;
    let slow = format!("echo slow >> '{}'; sleep 1.5; echo slept", side.mark());
    mesh.client(0).deploy("slow", &side.function(&slow)).await;
    let victim = 1;
    let ports = Arc::new(Ports {
        http: mesh.nodes.iter().map(beatmesh_tests::Node::http).collect(),
        begun: AtomicU32::new(0),
        total,
        victim,
        dying: AtomicU32::new(0),
    });
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number, ports.clone()))).collect();
    let reached = async |part: u32| {
        let begun = async || ports.begun.load(Ordering::Relaxed);
        until("so many calls have begun", IN_TIME, begun, |begun| *begun >= part).await;
    };
    reached(total / 3).await;
    // One call is in the victim's hands for certain: accepted, running, not answered.
    let in_hand =
        mesh.client(0).request(Method::POST, "/v1/functions/slow/call").header("Beatmesh-Key", stop_there);
    let in_hand = tokio::spawn(http::send(in_hand));
    let begun = async || side.lines().iter().filter(|line| *line == "slow").count();
    until("the slow call runs on the victim", Duration::from_secs(5), begun, |n| *n == 1).await;
    // What the dead node may have had in flight: at most one call of each client.
    ports.dying.store(1, Ordering::SeqCst);
    mesh.nodes[victim].kill();
    reached(total * 2 / 3).await;
    mesh.nodes[victim].restart();
    ports.dying.store(0, Ordering::SeqCst);
    let lost = in_hand.await.unwrap().unwrap().problem(502, "answer_lost");
    assert_eq!(lost["outcome"], "unknown", "{lost:#}");
    let mut all = Counts::default();
    for client in clients {
        let counts = client.await.expect("no client panics");
        all.ok += counts.ok;
        all.run.extend(counts.run);
        all.lost += counts.lost;
        all.refused += counts.refused;
        all.broken.extend(counts.broken);
        all.other.extend(counts.other);
        all.milliseconds.extend(counts.milliseconds);
        for (node, count) in counts.by_node {
            *all.by_node.entry(node).or_default() += count;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{total} calls of {CLIENTS} clients in {seconds:.1} s, node-2 killed and restarted meanwhile:");
    println!("  200: {}, 502 with outcome unknown: {}", all.ok, all.lost);
    println!(
        "  connection errors at the dead node's own port, each repeated at another node: {}",
        all.refused
    );
    println!("  anything else: {}", all.broken.len() + all.other.len());
    println!("  {}; by node {:?}", summary(&all.milliseconds), all.by_node);
    assert!(all.other.is_empty(), "{:#?}", all.other);
    assert!(all.broken.is_empty(), "connections of living nodes failed: {:#?}", all.broken);
    assert_eq!(all.ok + all.lost, total);
    assert!(all.lost <= CLIENTS, "more than the dead node can have had in flight: {}", all.lost);
    assert!(all.refused >= 1, "the kill met nobody");
    assert_eq!(all.by_node.len(), 3);
    let runs = side.lines();
    let mut once = runs.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), runs.len(), "a call that was accepted once ran twice");
    let missing: Vec<_> = all.run.iter().filter(|run| once.binary_search(run).is_err()).collect();
    assert!(missing.is_empty(), "answered 200 and never run: {missing:?}");
    println!("  {} calls of the process function ran, none twice", runs.len());
    mesh.until_formed().await;
    mesh.assert_well().await;
}
