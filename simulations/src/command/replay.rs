//! `replay`: one seed again, as it was or with fewer faults.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use beatmesh_simulations::COMMIT;
use beatmesh_simulations::history::line;
use beatmesh_simulations::report;
use beatmesh_simulations::scenarios::Scenario;
use beatmesh_simulations::shrink::shrink;
use beatmesh_simulations::trace;
use beatmesh_simulations::trial::Outcome;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{Which, failure};

#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    which: Which,
    /// The seed
    #[arg(long)]
    seed: u64,
    /// Plays only these faults of the plan, by their numbers: 0,2
    #[arg(long, value_name = "N,N", value_parser = numbers)]
    only: Option<Numbers>,
    /// Takes faults out of the plan while the same promise stays broken
    #[arg(long)]
    shrink: bool,
    /// Prints everything that happened, as lines of JSON
    #[arg(long)]
    trace: bool,
    /// As --trace, with every packet
    #[arg(long)]
    packets: bool,
    /// Shows the nodes' log on stderr: a level, or levels by module
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Draws the run into this file of HTML
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Faults of a plan, by their places in it.
#[derive(Clone)]
struct Numbers(Vec<usize>);

fn numbers(text: &str) -> Result<Numbers, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parse = |part: &str| part.parse().map_err(|error| format!("`{part}`: {error}"));
    parts.map(parse).collect::<Result<_, _>>().map(Numbers)
}

impl Replay {
    pub fn play(self) -> Result<bool, String> {
        let scenario = self.which.playable()?[0];
        if let Some(filter) = &self.log {
            show_log(filter)?;
        }
        if let Some(to) = &self.picture {
            report::command::check_writable(to)?;
        }
        let outcome = self.trial(&scenario, self.only.clone().map(|only| only.0));
        if let Some(Numbers(only)) = &self.only
            && outcome.faults.len() != only.iter().collect::<BTreeSet<_>>().len()
        {
            return Err("--only names a fault that the plan has not; replay without it shows them".to_owned());
        }
        if self.trace || self.packets {
            print_trace(&outcome, self.packets);
        }
        let (events, packets) = (outcome.history.len(), outcome.packets.len());
        say!(
            "seed {} of {}: {events} events, {packets} packets, trace {:016x}, commit {}",
            self.seed,
            scenario.name,
            outcome.hash,
            COMMIT
        );
        if let Some(to) = &self.picture {
            report::command::write_picture(&scenario, &outcome, to)?;
        }
        say_part!("{}", outcome.measures);
        outcome.faults.iter().enumerate().for_each(|(number, fault)| say!("  {number}: {fault}"));
        failure::print(&scenario, &outcome, &self.which);
        if self.shrink {
            self.shrink(&scenario, &outcome);
        }
        Ok(outcome.violations.is_empty())
    }

    fn trial(&self, scenario: &Scenario, only: Option<Vec<usize>>) -> Outcome {
        self.which.trial(scenario, self.seed, move |script| {
            if let Some(only) = only {
                let only: BTreeSet<_> = only.into_iter().collect();
                let mut number = 0..;
                script.faults.retain(|_| number.next().is_some_and(|number| only.contains(&number)));
            }
        })
    }

    /// Prints the smallest plan that breaks the same promise.
    fn shrink(&self, scenario: &Scenario, outcome: &Outcome) {
        let Some(broken) = outcome.violations.first().map(|violation| violation.property) else {
            say!("nothing to shrink: the seed is green");
            return;
        };
        let all = || (0..outcome.faults.len()).collect();
        let mut numbers = self.only.clone().map_or_else(all, |only| only.0);
        numbers.sort_unstable();
        numbers.dedup();
        let mut tried = 0;
        let smallest = shrink(numbers, |only| {
            tried += 1;
            let outcome = self.trial(scenario, Some(only.to_vec()));
            let is_broken = outcome.violations.iter().any(|violation| violation.property == broken);
            eprintln!("{tried}: {} faults, {}", only.len(), if is_broken { "still broken" } else { "holds" });
            is_broken
        });
        let last = self.trial(scenario, Some(smallest.clone()));
        say!("the smallest plan that breaks \"{broken}\", after {tried} more runs:");
        for (number, fault) in smallest.iter().zip(&last.faults) {
            say!("  {number}: {fault}");
        }
        if smallest.is_empty() {
            say!("  (none: it breaks without faults)");
        }
        let only = smallest.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        say!("  replay: {} --only '{only}'", failure::replay(scenario, self.seed, &self.which));
    }
}

fn print_trace(outcome: &Outcome, packets: bool) {
    let mut out = BufWriter::new(stdout().lock());
    let mut print = |text: String| {
        // Whoever reads has seen enough; the verdict is in the exit code.
        let _ = writeln!(out, "{text}");
    };
    if packets {
        trace::lines(&outcome.history, &outcome.packets).for_each(&mut print);
    } else {
        outcome.history.iter().map(line).for_each(&mut print);
    }
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
