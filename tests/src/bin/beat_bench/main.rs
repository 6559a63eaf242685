//! What schedules and tasks of real processes on real stores go through when there are many of them, and when a Beat,
//! a worker or a Redis dies.
//!
//! ```text
//! cargo build --release -p beatmesh-node
//! cargo run --release -p beatmesh-tests --bin beat_bench -- --only killed,worker --trials 20
//! ```
//!
//! | file | measures |
//! |---|---|
//! | `many` | many schedules with one Beat: lateness, CPU, memory |
//! | `killed` | the Beat is killed |
//! | `leaves` | the Beat leaves |
//! | `worker` | a worker is killed with tasks in its hands |
//! | `failover` | replication is cut, the Redis dies, its replica is promoted |
//! | `ground`, `audit`, `report` | the meshes that this happens to; what became of due times; tables |

mod audit;
mod failover;
mod ground;
mod killed;
mod leaves;
mod many;
mod report;
mod worker;

use std::process::ExitCode;

use anyhow::{Result, bail};
use beatmesh_tests::binary;
use clap::{Parser, ValueEnum};

use ground::StoreKind;
use report::Report;

/// What happens to schedules and tasks when there are many, and when a Beat, a worker or a Redis dies
#[derive(Parser, Debug)]
#[command(
    after_help = "Nothing else should run on the machine meanwhile. As it comes it takes some 50 minutes: a kill or a \
leave takes 4 s on each store, a failover 15 s. The program measured is the `beatmesh` beside this one, or that of \
BEATMESH_BIN.

Examples:
  beat_bench --only many --schedules 10000 --due 100 --runs 1
  beat_bench --only killed --stores redis --trials 20
  beat_bench --only leaves,worker,failover --trials 5 --json"
)]
pub(crate) struct Options {
    /// What is measured
    #[arg(long, value_enum, value_name = "WHAT,WHAT", value_delimiter = ',')]
    #[arg(default_values = ["many", "killed", "leaves", "worker", "failover"])]
    only: Vec<What>,
    /// How often each thing is done, in place of 200 kills and 20 of all others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// Where tasks and ledgers are when a Beat or a worker goes
    #[arg(long, value_enum, value_name = "STORE,STORE", value_delimiter = ',')]
    #[arg(default_values = ["redis", "postgres"])]
    stores: Vec<StoreKind>,
    /// How many schedules are many
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    schedules: u32,
    /// How many of them are due each second; each one is due every one or two minutes
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    due: u32,
    /// For how long they are looked at
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// How often that is done; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Nodes that would stand in for the Beat of many schedules
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10))]
    standbys: u16,
    /// Print one JSON object with every single value
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Many schedules
    Many,
    /// The Beat is killed
    Killed,
    /// The Beat leaves
    Leaves,
    /// A worker is killed
    Worker,
    /// Redis fails over
    Failover,
}

impl Options {
    /// How often something is done that is usually done so often.
    pub(crate) fn trials_or(&self, usual: u32) -> u32 {
        self.trials.unwrap_or(usual)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure_all(&options) {
        Ok(report) if options.json => println!("{:#}", report.json()),
        Ok(report) => println!("{}", report.markdown()),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure_all(options: &Options) -> Result<Report> {
    binary::find().map_err(anyhow::Error::msg)?;
    if options.only.contains(&What::Many) {
        many::Shape::of(options)?;
    }
    // Processes die with the thread that started them, so all are started on this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            report = run(options) => report,
            // What was started ends with the future that is dropped, and its directory goes.
            _ = tokio::signal::ctrl_c() => bail!("interrupted; nothing is left running"),
        }
    })
}

async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::default();
    for what in &options.only {
        match what {
            What::Many => many::measure(options, &mut report).await?,
            What::Killed => {
                for store in &options.stores {
                    killed::measure(*store, options.trials_or(200), &mut report).await;
                }
            }
            What::Leaves => {
                for store in &options.stores {
                    leaves::measure(*store, options.trials_or(20), &mut report).await;
                }
            }
            What::Worker => {
                for store in &options.stores {
                    worker::measure(*store, options.trials_or(20), &mut report).await;
                }
            }
            What::Failover => {
                for durability in ["fast", "replicated"] {
                    failover::measure(durability, options.trials_or(20), &mut report).await;
                }
            }
        }
    }
    Ok(report)
}

/// A line about how far it is, for whoever waits.
pub(crate) fn progress(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}
