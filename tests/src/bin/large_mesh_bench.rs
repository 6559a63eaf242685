//! What a mesh of hundreds sends when it is quiet: nodes that are nothing but mesh, all in this process, with real
//! QUIC over loopback. More of them than a machine can run whole nodes of, with one database.
//!
//! ```text
//! cargo run --release -p beatmesh-tests --bin large_mesh_bench -- --nodes 50,200 --quiet 60
//! ```
//!
//! As root it runs in a network namespace of its own and counts all that goes over loopback: the failure detector,
//! gossip, acknowledgements and headers.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use beatmesh_mesh::counters::Counters;
use beatmesh_mesh::detector::pace::Pace;
use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::system::{Ending, SystemSpawner, environment};
use beatmesh_mesh::transport::Inbox;
use beatmesh_mesh::transport::channel::Channel;
use beatmesh_mesh::{Mesh, MeshConfig, MeshParts};
use beatmesh_tests::loopback;
use bytes::Bytes;
use clap::Parser;
use serde_json::json;

/// What a mesh of hundreds sends when it is quiet: nodes that are nothing but mesh, all in this process
#[derive(Parser)]
#[command(
    after_help = "Nothing else should run on the machine meanwhile. Two hundred nodes need two minutes on two \
cores, and 3 GB.

Examples:
  large_mesh_bench --nodes 20 --quiet 10
  large_mesh_bench --nodes 50,100,200 --json"
)]
struct Args {
    /// Sizes of the meshes, from 2 to 800
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "50,200")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=800))]
    nodes: Vec<u16>,
    /// Seconds in which nothing happens, half of them before anything is counted
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u16).range(2..))]
    quiet: u16,
    /// One line of JSON for each mesh
    #[arg(long)]
    json: bool,
}

/// As many nodes as a newcomer finds in the node table and dials at first.
const DIALLED: usize = 48;

/// All know all and their facts by then, or something is wrong.
const FORMED: Duration = Duration::from_secs(300);

/// Between two lines about a mesh that is still coming together.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Facts of a usual size: roles, pools, an address, a digest of the configuration.
const FACTS: [(&str, &str); 5] = [
    ("ready", "1"),
    ("roles", "beat,server,worker"),
    ("http", "127.0.0.1:8080"),
    ("config", "0123456789abcdef"),
    ("load", "0"),
];

struct Nobody;

impl Inbox for Nobody {
    fn on_channel(&self, _: NodeId, _: u16, _: Bytes, _: Channel) {}
    fn on_notice(&self, _: NodeId, _: Bytes) {}
    fn on_news(&self, _: u16, _: u64) {}
}

async fn join(number: usize) -> Result<Mesh> {
    let spawner = Arc::new(SystemSpawner::new(tokio::runtime::Handle::current(), Ending::default()));
    let env = environment(spawner.clone(), spawner);
    let config = MeshConfig {
        mesh: "bench".parse()?,
        store: "bench".to_owned(),
        node: format!("node-{number:04}").parse()?,
        generation: Generation(1),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: None,
        secret: b"a secret of this benchmark".to_vec().into(),
        facts: FACTS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        pace: Pace::LAN,
        parts: MeshParts::default(),
    };
    Mesh::join(&env, config, Arc::new(Nobody)).await.context("a node does not join")
}

/// Tells how far a mesh has come, now and then: it may take minutes.
struct Progress {
    told: Instant,
}

impl Progress {
    fn tell(&mut self, begun: Instant, nodes: &[Mesh]) {
        if self.told.elapsed() < TOLD_EVERY {
            return;
        }
        self.told = Instant::now();
        let counters: Vec<_> = nodes.iter().map(Mesh::counters).collect();
        let sum = |count: fn(&Counters) -> u64| counters.iter().map(count).sum::<u64>();
        let fewest = nodes.iter().map(|node| node.view().ring.members().len()).min().unwrap_or(0);
        eprintln!(
            "{:>4.0} s: {} nodes, each knows at least {fewest}; links {}, suspicions {}, held for dead {}, \
             refutations {}",
            begun.elapsed().as_secs_f64(),
            nodes.len(),
            sum(|counted| counted.links),
            sum(|counted| counted.detector.suspicions),
            sum(|counted| counted.detector.deaths),
            sum(|counted| counted.detector.refutations),
        );
    }
}

/// Whether all know all and what they say of themselves.
fn is_whole(nodes: &[Mesh]) -> bool {
    nodes.iter().all(|node| node.view().ring.members().len() == nodes.len())
}

fn sent(nodes: &[Mesh]) -> (u64, u64) {
    let all = nodes.iter().map(|node| node.counters().udp);
    all.fold((0, 0), |(bytes, datagrams), udp| (bytes + udp.bytes_out, datagrams + udp.datagrams_out))
}

/// The figures of one mesh; rates are of one node, in bytes and datagrams a second.
struct Measured {
    nodes: usize,
    formed: Duration,
    /// Where this process had loopback for itself.
    frames: Option<f64>,
    payload: f64,
    datagrams: f64,
    links: f64,
    deaths: u64,
}

impl Measured {
    fn print(&self, as_json: bool) {
        let Self { nodes, formed, frames, payload, datagrams, links, deaths } = self;
        if as_json {
            let line = json!({
                "nodes": nodes,
                "all_know_all_s": formed.as_secs_f64(),
                "frame_bytes_per_node_and_second": frames,
                "udp_payload_bytes_per_node_and_second": payload,
                "datagrams_per_node_and_second": datagrams,
                "links_of_a_node": links,
                "held_for_dead": deaths,
            });
            return println!("{line}");
        }
        let frames = frames.map_or("-".to_owned(), |frames| format!("{frames:.0} B/s"));
        println!(
            "| {nodes} | {:.1} s | {frames} | {payload:.0} B/s, {datagrams:.1} datagrams/s | {links:.1} | {deaths} |",
            formed.as_secs_f64(),
        );
    }
}

async fn measure(count: usize, quiet: Duration, is_alone: bool) -> Result<Measured> {
    let begun = Instant::now();
    let mut nodes: Vec<Mesh> = Vec::new();
    let mut progress = Progress { told: begun };
    for number in 0..count {
        let node = join(number).await?;
        nodes.iter().rev().take(DIALLED).for_each(|other| node.introduce(other.advertise()));
        nodes.push(node);
        // One after the other: hundreds that start at once would measure the machine, which has all of them.
        let knows_all = |node: &Mesh| node.view().members.len() == number + 1;
        while !nodes.last().is_some_and(knows_all) && begun.elapsed() < FORMED {
            progress.tell(begun, &nodes);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while !is_whole(&nodes) {
        ensure!(begun.elapsed() < FORMED, "{count} nodes do not all know each other within {FORMED:?}");
        progress.tell(begun, &nodes);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let formed = begun.elapsed();
    while begun.elapsed() < formed + quiet / 2 {
        progress.tell(begun, &nodes);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (before, frames, from) = (sent(&nodes), loopback::bytes(), Instant::now());
    tokio::time::sleep(quiet / 2).await;
    let (after, frames_after, seconds) = (sent(&nodes), loopback::bytes(), from.elapsed().as_secs_f64());
    let each = |sum: u64| sum as f64 / count as f64 / seconds;
    let frames = frames.zip(frames_after).filter(|_| is_alone).map(|(before, after)| each(after - before));
    let links: u64 = nodes.iter().map(|node| node.counters().links).sum();
    ensure!(is_whole(&nodes), "a node has lost others although nothing happened");
    Ok(Measured {
        nodes: count,
        formed,
        frames,
        payload: each(after.0 - before.0),
        datagrams: each(after.1 - before.1),
        links: links as f64 / count as f64,
        deaths: nodes.iter().map(|node| node.counters().detector.deaths).sum(),
    })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let is_alone = loopback::enter_own();
    if !is_alone {
        eprintln!("no network namespace of its own (it wants root): frames on loopback are not counted");
    }
    if !args.json {
        println!(
            "| nodes | all know all | sent by a quiet node, frames of loopback | the same, UDP payload | links of a node | held for dead |"
        );
        println!("|---|---|---|---|---|---|");
    }
    for nodes in &args.nodes {
        // A runtime for each mesh: with it all of its tasks and sockets go.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let measured = runtime.block_on(async {
            tokio::select! {
                measured = measure((*nodes).into(), Duration::from_secs(args.quiet.into()), is_alone) => measured,
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        });
        measured?.print(args.json);
    }
    Ok(())
}
