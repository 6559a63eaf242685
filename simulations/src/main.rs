//! The command: lists scenarios, runs seeds, replays one.
#![expect(clippy::disallowed_methods, reason = "the command measures real time, nodes do not run here")]

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use beatmesh_simulations::core;
use beatmesh_simulations::history::{Record, line};
use beatmesh_simulations::measures::Measures;
use beatmesh_simulations::report;
use beatmesh_simulations::scenarios::{self, Scenario};
use beatmesh_simulations::trial::{self, Outcome};
use beatmesh_simulations::world::store::guards::{Guard, Guards};
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Events shown around a violation.
const SHOWN: usize = 30;

/// Runs the real node code on simulated time, network and stores.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the scenarios
    List,
    /// Runs seeds; exit code 1 when one fails
    Run {
        #[command(flatten)]
        which: Which,
        /// From the first to before the last
        #[arg(long, default_value = "0..20", value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
    },
    /// Runs one seed again
    Replay {
        #[command(flatten)]
        which: Which,
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Prints everything that happened, as lines of JSON
        #[arg(long)]
        trace: bool,
        /// Shows the nodes' log on stderr: a level, or levels by module
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
        /// Draws the run into this file of HTML
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
    },
    /// Runs seeds of all scenarios and writes a page with figures and pictures; exit code 1 when one fails
    Report {
        /// From the first to before the last, of each scenario
        #[arg(long, default_value = "0..20", value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
        /// Where the page goes
        #[arg(long, default_value = "beatmesh-simulation.html", value_name = "FILE")]
        out: PathBuf,
    },
    /// Runs the pure core alone, with thousands of nodes; exit code 1 when a law is broken
    Core {
        /// Members at the start; 100, 1,000 and 10,000 one after the other when not given
        #[arg(long)]
        nodes: Option<usize>,
        /// Virtual time
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// From the first to before the last
        #[arg(long, default_value = "0..1", value_parser = seeds, value_name = "A..B")]
        seeds: Range<u64>,
        /// Switches one of the store's checks off: the run must fail
        #[arg(long, value_name = "GUARD")]
        without: Option<Guard>,
    },
}

#[derive(Args)]
struct Which {
    /// Its name; without it `run` takes all and `replay` the first
    #[arg(long)]
    scenario: Option<String>,
    /// Switches one of the store's checks off: the run must fail
    #[arg(long, value_name = "GUARD")]
    without: Option<Guard>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(usage) => {
            eprintln!("error: {usage}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether all was well; an error is a wrong usage.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::List => {
            scenarios::ALL.iter().for_each(|scenario| println!("{:24} {}", scenario.name, scenario.story));
            Ok(true)
        }
        Command::Run { which, seeds } => {
            let scenarios = which.scenarios()?;
            let all_well = scenarios.iter().map(|scenario| run_seeds(scenario, seeds.clone(), &which));
            Ok(all_well.fold(true, |all, one| all & one))
        }
        Command::Replay { which, seed, trace, log, picture } => {
            let scenario = which.scenarios()?[0];
            if let Some(filter) = log {
                show_log(&filter)?;
            }
            let outcome = trial::run(&scenario, seed, which.guards());
            if trace {
                outcome.history.iter().for_each(|record| println!("{}", line(record)));
            }
            println!("seed {seed}: {} events, trace {:016x}", outcome.history.len(), outcome.hash);
            if let Some(to) = picture {
                report::command::write_picture(&scenario, &outcome, &to)?;
            }
            print!("{}", outcome.measures);
            outcome.faults.iter().for_each(|fault| println!("  {fault}"));
            report(&scenario, &outcome, &which);
            Ok(outcome.violations.is_empty())
        }
        Command::Report { seeds, out } => {
            let count = seeds.end - seeds.start;
            let order = report::command::Order { seeds, out };
            let all_well = report::command::report(&scenarios::ALL, &order, |scenario, run| {
                eprint!(
                    "\r{}: {run} of {count} seeds {}",
                    scenario.name,
                    if run == count { "\n" } else { "" }
                );
            })?;
            println!("{}", order.out.display());
            Ok(all_well)
        }
        Command::Core { nodes, seconds, seeds, without } => {
            let guards = without.map_or_else(Guards::default, Guards::without);
            core::command::core(nodes, seconds, seeds, guards)
        }
    }
}

/// Runs all seeds; answers whether all were well.
fn run_seeds(scenario: &Scenario, seeds: Range<u64>, which: &Which) -> bool {
    let began = Instant::now();
    let (mut failed, mut measures) = (0_u64, Measures::default());
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = trial::run(scenario, seed, which.guards());
        measures.join(&outcome.measures);
        if !outcome.violations.is_empty() {
            failed += 1;
            report(scenario, &outcome, which);
        }
    }
    let took = began.elapsed();
    println!(
        "{}: {} of {count} seeds failed; {:.1} s, {:.0} seeds a minute",
        scenario.name,
        failed,
        took.as_secs_f64(),
        count as f64 * 60.0 / took.as_secs_f64()
    );
    print!("{measures}");
    failed == 0
}

/// Says what is wrong with a run, and how to see it again.
fn report(scenario: &Scenario, outcome: &Outcome, which: &Which) {
    let Some(first) = outcome.violations.first() else { return };
    println!("seed {} of {} FAILED", outcome.seed, scenario.name);
    for violation in outcome.violations.iter().take(5) {
        println!("  {}: {}", violation.property, violation.what);
    }
    if outcome.violations.len() > 5 {
        println!("  and {} more", outcome.violations.len() - 5);
    }
    println!("  the events around the first one:");
    around(&outcome.history, first.at).iter().for_each(|record| println!("    {}", line(record)));
    let without = which.without.map_or_else(String::new, |guard| format!(" --without {}", guard.as_str()));
    println!(
        "  replay: cargo run -p beatmesh-simulations -- replay --scenario {} --seed {}{without} --trace",
        scenario.name, outcome.seed
    );
}

/// The events up to a moment; the last ones when there is none.
fn around(history: &[Record], at: Option<beatmesh_mesh::env::UnixMs>) -> &[Record] {
    let end = at.map_or(history.len(), |at| history.partition_point(|record| record.at <= at));
    &history[end.saturating_sub(SHOWN)..end]
}

fn show_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(VirtualTime)
        .init();
    Ok(())
}

/// Log lines carry the time since the world's start.
struct VirtualTime;

impl tracing_subscriber::fmt::time::FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        match turmoil::sim_elapsed() {
            Some(elapsed) => write!(writer, "{:9.3}", elapsed.as_secs_f64()),
            None => writer.write_str("        -"),
        }
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let (first, end) = text.split_once("..").ok_or("write A..B, for example 0..100")?;
    let seeds = parse(first)?..parse(end)?;
    if seeds.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(seeds) }
}

impl Which {
    fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        let Some(name) = &self.scenario else { return Ok(scenarios::ALL.to_vec()) };
        let unknown = |nearest| format!("there is no scenario `{name}`; did you mean `{nearest}`?");
        scenarios::find(name).map(|scenario| vec![scenario]).map_err(unknown)
    }

    fn guards(&self) -> Guards {
        self.without.map_or_else(Guards::default, Guards::without)
    }
}
