//! `beatmesh bench`: what this machine can do, measured with real node processes over real HTTP.
//!
//! The load comes from this process, so on a small machine client and nodes share its cores; the figures
//! are what a user would see there, not the nodes' limit.

mod load;
mod nodes;
mod report;

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use super::output::Output;
use crate::units::Span;
use load::{Load, Measured};
use nodes::Bench;
use report::Report;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh bench
  beatmesh bench --time 10s --rounds 5
  beatmesh bench --json > figures.json

It starts nodes of its own in a temporary directory, on free loopback ports, and stops them. Nothing
else should run on the machine meanwhile.")]
pub(super) struct BenchArgs {
    /// How long each load runs in each round.
    #[arg(long, default_value = "3s", value_name = "SPAN")]
    time: Span,
    /// How often everything is measured; the median is shown, with the range.
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Tasks that are sent through the queue in each round.
    #[arg(long, default_value_t = 5_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tasks: u32,
}

/// A busy client, and many at once.
const CLIENTS: [usize; 2] = [1, 32];

/// How often a node is started to see how long that takes: starts are short, and vary.
const STARTS_PER_ROUND: u16 = 3;

/// A node counts as idle after this.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &BenchArgs, output: &Output) -> Result<(), Failure> {
    let mut report = Report::new(args.rounds);
    for round in 1..=args.rounds {
        // With stderr gone nobody waits for this; the figures go to stdout.
        let _ = writeln!(std::io::stderr(), "round {round} of {}", args.rounds);
        starts(&mut report).await?;
        calls_and_tasks(args, &mut report).await?;
    }
    report.print(output)
}

/// Start-up times: of one node, and of three until each sees all.
async fn starts(report: &mut Report) -> Result<(), Failure> {
    for _ in 0..STARTS_PER_ROUND {
        let mut bench = Bench::new()?;
        report.add("start of one node until ready", "ms", bench.start(&[nodes::ALL_ROLES]).await?);
        bench.stop().await;
        let mut bench = Bench::new()?;
        bench.start(&[nodes::ALL_ROLES; 3]).await?;
        report.add("start of three nodes until each sees all", "ms", bench.all_see_all().await?);
        bench.stop().await;
    }
    Ok(())
}

async fn calls_and_tasks(args: &BenchArgs, report: &mut Report) -> Result<(), Failure> {
    let mut bench = Bench::new()?;
    bench.start(&[nodes::ALL_ROLES, "server"]).await?;
    bench.all_see_all().await?;
    tokio::time::sleep(SETTLE).await;
    report.add("memory of an idle node", "MB", bench.memory_mb(0)?);
    report.add("CPU of an idle node", "% of a core", bench.cpu_percent(0, SETTLE).await?);
    bench.deploy_noop().await?;

    // The first node is the only worker: through the second every call takes one hop.
    for (node, path) in [(0, "local"), (1, "one hop over QUIC")] {
        for clients in CLIENTS {
            let load = Load { addr: bench.http(node), path: "/v1/functions/noop/call", clients };
            let Measured { rate, p50_us, p99_us, errors } = load.run_for(args.time.0).await?;
            if errors > 0 {
                return Err(Failure::failed(format!("{errors} of the calls ({path}) failed")));
            }
            let name = format!("no-op call, {path}, {clients} client{}", if clients == 1 { "" } else { "s" });
            report.add(&format!("{name}: rate"), "calls/s", rate);
            report.add(&format!("{name}: p50"), "us", p50_us);
            report.add(&format!("{name}: p99"), "us", p99_us);
        }
    }
    let load = Load { addr: bench.http(0), path: "/v1/functions/noop/tasks", clients: CLIENTS[1] };
    let (enqueued, done) = bench.through_queue(&load, args.tasks).await?;
    report.add("tasks through SQLite, 32 clients: enqueued", "tasks/s", enqueued);
    report.add("tasks through SQLite, 32 clients: enqueued and run", "tasks/s", done);
    bench.stop().await;
    Ok(())
}
