//! Ten thousand calls from 32 clients while a node is killed and restarted: what each client sees.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beatmesh_tests::figures::{from_env, summary};
use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::{Client, TestMesh, http};
use reqwest::Method;

const CLIENTS: u32 = 32;

/// What calls came to.
#[derive(Debug, Default)]
struct Counts {
    ok: u32,
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
        let function = if call % 10 == 0 { "process" } else { "echo" };
        let body = format!("call {call}");
        loop {
            let request = clients[at].request(Method::POST, &format!("/v1/functions/{function}/call"));
            let request = request.body(body.clone());
            let request = if call % 2 == 0 { request.header("Beatmesh-Key", body.clone()) } else { request };
            let was_dying = ports.dying.load(Ordering::SeqCst) > 0;
            let begin = Instant::now();
            match http::send(request).await {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.text(), body, "somebody else's answer");
                    counts.ok += 1;
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
    mesh.client(0).deploy("process", &shell("cat")).await;
    mesh.client(1).call("process", "warm").await.ok();
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
        while ports.begun.load(Ordering::Relaxed) < part {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    reached(total / 3).await;
    // What the dead node may have had in flight: at most one call of each client.
    ports.dying.store(1, Ordering::SeqCst);
    mesh.nodes[victim].kill();
    reached(total * 2 / 3).await;
    mesh.nodes[victim].restart();
    ports.dying.store(0, Ordering::SeqCst);
    let mut all = Counts::default();
    for client in clients {
        let counts = client.await.expect("no client panics");
        all.ok += counts.ok;
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
    println!("  connection errors at the dead node's own port, each repeated at another node: {}", all.refused);
    println!("  anything else: {}", all.broken.len() + all.other.len());
    println!("  {}; by node {:?}", summary(&all.milliseconds), all.by_node);
    assert!(all.other.is_empty(), "{:#?}", all.other);
    assert!(all.broken.is_empty(), "connections of living nodes failed: {:#?}", all.broken);
    assert_eq!(all.ok + all.lost, total);
    assert!(all.lost <= CLIENTS, "more than the dead node can have had in flight: {}", all.lost);
    assert!(all.refused >= 1, "the kill met nobody");
    assert_eq!(all.by_node.len(), 3);
    mesh.until_formed().await;
    mesh.assert_well().await;
}
