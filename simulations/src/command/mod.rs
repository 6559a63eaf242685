//! What can be asked for. Each subcommand has a file; it answers whether all was well, and an error is a wrong
//! usage.

/// Prints a line. Whoever reads may have seen enough: the verdict is in the exit code.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

/// The same without the end of the line.
macro_rules! say_part {
    ($($part:tt)*) => {{
        use std::io::Write;
        let _ = write!(std::io::stdout(), $($part)*);
    }};
}

mod failure;
mod membership;
mod progress;
mod repeat;
mod replay;
mod report;
mod run;
mod teeth;

use std::num::NonZeroUsize;
use std::ops::Range;

use beatmesh_simulations::COMMIT;
use beatmesh_simulations::core;
use beatmesh_simulations::properties;
use beatmesh_simulations::runner;
use beatmesh_simulations::scenarios::{self, Scenario, Script};
use beatmesh_simulations::trial::{self, Outcome};
use beatmesh_simulations::world::store::guards::{Guard, Guards};
use clap::{Args, Parser, Subcommand};

/// Runs the real node code on simulated time, network and stores.
#[derive(Parser)]
#[command(version = COMMIT)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the scenarios and the guards
    List,
    /// Runs seeds; exit code 1 when one fails
    Run(run::Run),
    /// Runs one seed again
    Replay(replay::Replay),
    /// Checks that a seed has one trace: on two threads and in two processes
    Repeat(repeat::Repeat),
    /// Removes each guard in turn: a guard that nothing misses is a failure
    Teeth(teeth::Teeth),
    /// Runs seeds of all scenarios and writes a page with figures and pictures; exit code 1 when one fails
    Report(report::Report),
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
    /// Runs failure detectors alone, up to thousands; exit code 1 when a goal is missed
    Membership(membership::Membership),
}

/// How seeds are played.
#[derive(Args, Clone)]
struct Which {
    /// Its name; without it all of them, and `replay` takes the first
    #[arg(long)]
    scenario: Option<String>,
    /// So many nodes, at least those that the scenario speaks of
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=9))]
    nodes: Option<u8>,
    /// Switches one of the checks off: the run must fail
    #[arg(long, value_name = "GUARD")]
    without: Option<Guard>,
    /// Judges only by this promise, for example T1; may be given more than once
    #[arg(long = "property", value_name = "ID", value_parser = property)]
    properties: Vec<&'static str>,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// A wrong usage, in words.
    pub fn play(self) -> Result<bool, String> {
        match self.command {
            Command::List => {
                scenarios::ALL.iter().for_each(|scenario| say!("{:28} {}", scenario.name, scenario.story));
                say!();
                properties::ALL.iter().for_each(|property| say!("{}", property.name));
                say!();
                Guard::ALL.iter().for_each(|guard| say!("{:28} {}", guard.as_str(), guard.story()));
                Ok(true)
            }
            Command::Run(run) => run.play(),
            Command::Replay(replay) => replay.play(),
            Command::Repeat(repeat) => repeat.play(),
            Command::Teeth(teeth) => teeth.play(),
            Command::Report(report) => report.play(),
            Command::Membership(membership) => membership.play(),
            Command::Core { nodes, seconds, seeds, without } => {
                let guards = without.map_or_else(Guards::default, Guards::without);
                core::command::core(nodes, seconds, seeds, guards)
            }
        }
    }
}

impl Which {
    fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        scenarios_named(self.scenario.as_deref())
    }

    fn guards(&self) -> Guards {
        self.without.map_or_else(Guards::default, Guards::without)
    }

    /// The scenarios that are meant, when they can be played with so many nodes. Of all of them each takes at
    /// least those that it speaks of.
    fn playable(&self) -> Result<Vec<Scenario>, String> {
        let scenarios = self.scenarios()?;
        if let (Some(nodes), Some(_), [scenario]) = (self.nodes, &self.scenario, &scenarios[..]) {
            let least = scenario.nodes();
            if usize::from(nodes) < least {
                return Err(format!("--nodes {nodes}: {} speaks of {least} nodes", scenario.name));
            }
        }
        Ok(scenarios)
    }

    /// Plays one seed; `edit` comes after what the command line changes in the script.
    fn trial(
        &self,
        scenario: &Scenario,
        seed: u64,
        edit: impl FnOnce(&mut Script) + Send + 'static,
    ) -> Outcome {
        let nodes = self.nodes.map(usize::from);
        let mut outcome = trial::run_edited(scenario, seed, self.guards(), move |script| {
            // Faults speak of nodes by number: those of the script must be there.
            script.nodes = script.nodes.max(nodes.unwrap_or(0));
            edit(script);
        });
        if !self.properties.is_empty() {
            // A run that broke off, or that proves nothing, keeps none of them.
            let is_promise = |name| properties::ALL.iter().any(|promise| promise.name == name);
            let is_judged = |name| self.properties.contains(&name) || !is_promise(name);
            outcome.violations.retain(|violation| is_judged(violation.property));
        }
        outcome
    }

    /// The options that make another run play as this one.
    fn options(&self) -> String {
        let nodes = self.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
        let without = self.without.map_or_else(String::new, |guard| format!(" --without {}", guard.as_str()));
        let properties =
            self.properties.iter().map(|property| format!(" --property {}", properties::id(property)));
        nodes + &without + &properties.collect::<String>()
    }
}

fn scenarios_named(name: Option<&str>) -> Result<Vec<Scenario>, String> {
    let Some(name) = name else { return Ok(scenarios::ALL.to_vec()) };
    let unknown = |nearest| format!("there is no scenario `{name}`; did you mean `{nearest}`?");
    scenarios::find(name).map(|scenario| vec![scenario]).map_err(unknown)
}

/// How many trials at once.
fn at_once(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    wanted.unwrap_or_else(runner::cores)
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let (first, end) = text.split_once("..").ok_or("write A..B, for example 0..100")?;
    let seeds = parse(first)?..parse(end)?;
    if seeds.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(seeds) }
}

/// A promise by its id, or by its whole name.
fn property(text: &str) -> Result<&'static str, String> {
    let ids = || properties::ALL.map(|promise| properties::id(promise.name)).join(", ");
    let unknown =
        |nearest| format!("there is no promise `{text}`; did you mean `{nearest}`? There are {}", ids());
    properties::find(text).map_err(unknown)
}
