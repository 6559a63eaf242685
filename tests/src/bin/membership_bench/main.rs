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

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use beatmesh_tests::loopback;
use serde_json::json;

use group::{Group, System};
use trials::Measured;

const USAGE: &str = "membership_bench [OPTIONS]
  --nodes 5,10        sizes of the groups
  --trials 50         kills, and as many goodbyes
  --stops 10          stops of each length, each watched for 15 s afterwards
  --stopped 3,15      lengths of the stops, in seconds
  --quiet 30          seconds in which nothing happens
  --busy 0            seconds beside four busy loops, in which nobody may be held for dead
  --peer-trials 12    kills and goodbyes of the other systems, which take longer
  --peer-stops 3      their stops
  --systems beatmesh,serf-local,serf-lan   what is measured, of what is installed
  --json              every single time
Nothing else should run on the machine meanwhile.";

/// What is done to a group.
#[derive(Clone, Copy)]
struct Plan {
    trials: usize,
    stops: usize,
}

struct Args {
    nodes: Vec<usize>,
    own: Plan,
    peers: Plan,
    stopped: Vec<Duration>,
    quiet: Duration,
    busy: Duration,
    systems: Vec<System>,
    json: bool,
}

impl Args {
    /// `None` when somebody asks for help.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let seconds = Duration::from_secs;
        let mut args = Self {
            nodes: vec![5, 10],
            own: Plan { trials: 50, stops: 10 },
            peers: Plan { trials: 12, stops: 3 },
            stopped: vec![seconds(3), seconds(15)],
            quiet: seconds(30),
            busy: Duration::ZERO,
            systems: System::ALL.to_vec(),
            json: false,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--json" => {
                    args.json = true;
                    continue;
                }
                _ => {}
            }
            let value = words.next().with_context(|| format!("{word} wants a value"))?;
            let number = || value.parse::<usize>().with_context(|| format!("{word} {value}: no number"));
            let numbers = || {
                let numbers = value.split(',').map(str::parse::<usize>).collect::<Result<Vec<_>, _>>();
                numbers.with_context(|| format!("{word} {value}: no numbers"))
            };
            match word.as_str() {
                "--nodes" => args.nodes = numbers()?,
                "--trials" => args.own.trials = number()?,
                "--stops" => args.own.stops = number()?,
                "--peer-trials" => args.peers.trials = number()?,
                "--peer-stops" => args.peers.stops = number()?,
                "--stopped" => args.stopped = numbers()?.into_iter().map(|n| seconds(n as u64)).collect(),
                "--quiet" => args.quiet = seconds(number()? as u64),
                "--busy" => args.busy = seconds(number()? as u64),
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
        Ok(Some(args))
    }

    fn plan(&self, system: System) -> Plan {
        if system == System::Beatmesh { self.own } else { self.peers }
    }
}

fn main() -> ExitCode {
    let outcome = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => measure_all(&args),
        Ok(None) => {
            println!("{USAGE}");
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error:#}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    outcome.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn measure_all(args: &Args) -> Result<()> {
    let is_alone = loopback::enter_own();
    if !is_alone {
        eprintln!("no network namespace of its own (it wants root): frames on loopback are not counted");
    }
    // Processes die with the thread that started them, so all are started on this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(args, is_alone))
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
    let mut measured = Measured::default();
    if !args.quiet.is_zero() {
        measured.quiet = Some(trials::be_quiet(&group, args.quiet, is_alone).await?);
    }
    let Plan { trials, stops } = args.plan(system);
    trials::kill_and_leave(&mut group, trials, &mut measured).await?;
    for lasting in &args.stopped {
        measured
            .stops
            .push(trials::stop_and_wake(&group, stops, *lasting, &mut measured.false_deaths).await?);
    }
    if !args.busy.is_zero() {
        measured.busy = Some(trials::be_busy(&group, args.busy).await?);
    }
    Ok(measured)
}
