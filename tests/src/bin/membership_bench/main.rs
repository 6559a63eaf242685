//! How fast real processes on loopback learn who died, left or stood still, and what that costs: beatmesh, and
//! beside it the agents of Serf, when it is installed (`apt install serf`).
//!
//! ```text
//! cargo build --release -p beatmesh-node
//! cargo run --release -p beatmesh-tests --bin membership_bench -- --nodes 5,10 --trials 50
//! ```
//!
//! All observers tell this process what they see, beatmesh by its stream of events, Serf by its log, and all
//! times are taken here. As root it runs in a network namespace of its own, so that all that goes over loopback
//! is the group's.

mod board;
mod group;
mod table;
mod trials;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use group::{Group, System};
use trials::Measured;

const USAGE: &str = "membership_bench [--nodes 5,10] [--trials 50] [--stops 10] [--quiet 30] \
[--systems beatmesh,serf-local,serf-lan] [--json]
  --nodes    sizes of the groups
  --trials   kills, and as many goodbyes
  --stops    stops of 3 s, each watched for 15 s
  --quiet    seconds in which nothing happens
  --systems  what is measured, of what is installed
Nothing else should run on the machine meanwhile.";

struct Args {
    nodes: Vec<usize>,
    trials: usize,
    stops: usize,
    quiet: Duration,
    systems: Vec<System>,
    json: bool,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let quiet = Duration::from_secs(30);
        let (nodes, systems) = (vec![5, 10], System::ALL.to_vec());
        let mut args = Self { nodes, trials: 50, stops: 10, quiet, systems, json: false };
        while let Some(word) = words.next() {
            if word == "--json" {
                args.json = true;
                continue;
            }
            let value = words.next().with_context(|| format!("{word} wants a value"))?;
            let number = || value.parse::<usize>().with_context(|| format!("{word} {value}: no number"));
            match word.as_str() {
                "--nodes" => args.nodes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--trials" => args.trials = number()?,
                "--stops" => args.stops = number()?,
                "--quiet" => args.quiet = Duration::from_secs(number()? as u64),
                "--systems" => {
                    let wanted: Vec<_> = value.split(',').collect();
                    args.systems.retain(|system| wanted.contains(&system.name().as_str()));
                }
                _ => bail!("{word} is not known"),
            }
        }
        if args.nodes.iter().any(|count| *count < 2) || args.systems.is_empty() {
            bail!("a group has two nodes at least, and something has to be measured");
        }
        Ok(args)
    }
}

fn main() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1)).with_context(|| USAGE)?;
    let is_alone = enter_own_network();
    if !is_alone {
        eprintln!("no network namespace of its own (it wants root): frames on loopback are not counted");
    }
    // Processes die with the thread that started them, so all are started on this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(&args, is_alone))
}

async fn run(args: &Args, is_alone: bool) -> Result<()> {
    let mut systems = Vec::new();
    for system in &args.systems {
        match system.version() {
            Some(version) => systems.push((*system, version)),
            None => eprintln!("{} is not installed: left out", system.name()),
        }
    }
    let mut documents = Vec::new();
    for nodes in &args.nodes {
        let mut columns = Vec::new();
        for (system, version) in &systems {
            eprintln!("{} nodes of {} ({version})", nodes, system.name());
            let measured = measure(*system, *nodes, args, is_alone).await?;
            let mut document = table::json(*nodes, &system.name(), &measured);
            document["version"] = json!(version);
            documents.push(document);
            columns.push((system.name(), measured));
        }
        if !args.json {
            println!("{}", table::markdown(*nodes, &columns));
        }
    }
    if args.json {
        println!("{:#}", json!(documents));
    } else {
        let names = systems.iter().map(|(system, version)| format!("{}: {version}", system.name()));
        println!("{}", names.collect::<Vec<_>>().join("; "));
    }
    Ok(())
}

async fn measure(system: System, nodes: usize, args: &Args, is_alone: bool) -> Result<Measured> {
    let mut group = Group::start(system, nodes).await?;
    let quiet = trials::be_quiet(&group, args.quiet, is_alone).await?;
    let mut measured = Measured { quiet: Some(quiet), ..Measured::default() };
    trials::disturb(&mut group, args.trials, args.stops, &mut measured).await?;
    Ok(measured)
}

/// Leaves the machine's network for one with nothing but loopback; answers whether that went well.
fn enter_own_network() -> bool {
    #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
    // SAFETY: a plain system call, before there are other threads.
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status();
    outcome == 0 && up().is_ok_and(|status| status.success())
}
