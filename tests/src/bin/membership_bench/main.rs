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

use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use beatmesh_tests::{binary, loopback};
use clap::Parser;
use serde_json::json;

use group::{Group, System};
use trials::Measured;

/// How fast real processes learn who died, left or stood still, and what that costs
#[derive(Parser)]
#[command(
    after_help = "Nothing else should run on the machine meanwhile. It takes some 4 s for each trial and half \
a minute for each stop. The program measured is the `beatmesh` beside this one, or that of BEATMESH_BIN.

Examples:
  membership_bench --nodes 5 --trials 5 --stops 1
  membership_bench --nodes 5,10 --systems beatmesh,serf-lan --json
  membership_bench --nodes 10 --systems beatmesh --trials 0 --stops 0 --quiet 0 --busy 600"
)]
struct Args {
    /// Sizes of the groups, from 2 to 100
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "5,10")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=100))]
    nodes: Vec<u16>,
    /// Kills, and as many goodbyes
    #[arg(long, value_name = "N", default_value_t = 50)]
    trials: usize,
    /// Stops of each length, each watched for 15 s afterwards
    #[arg(long, value_name = "N", default_value_t = 10)]
    stops: usize,
    /// Lengths of the stops
    #[arg(long, value_name = "SECONDS", value_delimiter = ',', default_value = "3,15")]
    stopped: Vec<NonZeroU16>,
    /// Seconds in which nothing happens; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    quiet: u16,
    /// Seconds beside four busy loops, in which nobody may be held for dead
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    busy: u16,
    /// Kills and goodbyes of the other systems, which take longer
    #[arg(long, value_name = "N", default_value_t = 12)]
    peer_trials: usize,
    /// Their stops
    #[arg(long, value_name = "N", default_value_t = 3)]
    peer_stops: usize,
    /// What is measured, of what is installed (`apt install serf`)
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', default_values_t = System::ALL)]
    systems: Vec<System>,
    /// Print every single time
    #[arg(long)]
    json: bool,
}

/// What is done to a group.
#[derive(Clone, Copy)]
struct Plan {
    trials: usize,
    stops: usize,
}

impl Args {
    fn plan(&self, system: System) -> Plan {
        match system {
            System::Beatmesh => Plan { trials: self.trials, stops: self.stops },
            System::Serf(_) => Plan { trials: self.peer_trials, stops: self.peer_stops },
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure_all(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &Args) -> Result<()> {
    if args.systems.contains(&System::Beatmesh) {
        binary::find().map_err(anyhow::Error::msg)?;
    }
    let is_alone = loopback::enter_own();
    if !is_alone {
        eprintln!("no network namespace of its own (it wants root): frames on loopback are not counted");
    }
    // Processes die with the thread that started them, so all are started on this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = run(args, is_alone) => outcome,
            // What was started ends with the future that is dropped, and its directory goes.
            _ = tokio::signal::ctrl_c() => bail!("interrupted; nothing is left running"),
        }
    })
}

async fn run(args: &Args, is_alone: bool) -> Result<()> {
    let mut systems = Vec::new();
    for system in &args.systems {
        match system.version() {
            Some(version) => systems.push((*system, version)),
            None => eprintln!("{} is not installed: left out", system.name()),
        }
    }
    if systems.is_empty() {
        bail!("nothing of what was asked for is installed");
    }
    let mut documents = Vec::new();
    for nodes in args.nodes.iter().map(|nodes| usize::from(*nodes)) {
        let mut columns = Vec::new();
        for (system, version) in &systems {
            eprintln!("{} nodes of {} ({version})", nodes, system.name());
            let measured = measure(*system, nodes, args, is_alone).await?;
            let mut document = table::json(nodes, system.name(), &measured);
            document["version"] = json!(version);
            documents.push(document);
            columns.push((system.name(), measured));
        }
        if !args.json {
            println!("{}", table::markdown(nodes, &columns));
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
    let seconds = |count: u16| Duration::from_secs(count.into());
    if args.quiet > 0 {
        measured.quiet = Some(trials::be_quiet(&group, seconds(args.quiet), is_alone).await?);
    }
    let Plan { trials, stops } = args.plan(system);
    trials::kill_and_leave(&mut group, trials, &mut measured).await?;
    for lasting in args.stopped.iter().map(|count| seconds(count.get())) {
        measured.stops.push(trials::stop_and_wake(&group, stops, lasting, &mut measured.false_deaths).await?);
    }
    if args.busy > 0 {
        measured.busy = Some(trials::be_busy(&group, seconds(args.busy)).await?);
    }
    Ok(measured)
}
