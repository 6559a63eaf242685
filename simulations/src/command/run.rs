//! `run`: seeds on all cores, for a range or for a time.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beatmesh_simulations::COMMIT;
use beatmesh_simulations::measures::Measures;
use beatmesh_simulations::runner;
use beatmesh_simulations::scenarios::Scenario;
use clap::Args;
use serde_json::{Value, json};

use super::progress::Progress;
use super::{Which, at_once, failure, seeds};

/// Failures shown in full; of later ones only the replay command.
const IN_FULL: u64 = 5;

/// A year: no more fits where deadlines are kept.
const MOST_MINUTES: f64 = 525_600.0;

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    which: Which,
    /// From the first to before the last
    #[arg(long, default_value = "0..20", value_parser = seeds, value_name = "A..B", conflicts_with = "minutes")]
    seeds: Range<u64>,
    /// Takes seeds that nobody has seen until so many minutes are over, shared by all scenarios
    #[arg(long)]
    minutes: Option<f64>,
    /// Trials at a time; one for each core if not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// One line of JSON for each failure and each scenario
    #[arg(long)]
    json: bool,
}

/// What seeds brought, of one scenario or of all.
#[derive(Default)]
struct Tally {
    seeds: u64,
    failed: u64,
    simulated: Duration,
    took: Duration,
    measures: Measures,
}

impl Tally {
    fn join(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.simulated += other.simulated;
        self.took += other.took;
        self.measures.join(&other.measures);
    }

    fn per_minute(&self) -> f64 {
        self.seeds as f64 * 60.0 / self.took.as_secs_f64()
    }

    fn print(&self, name: &str) {
        let Self { seeds, failed, .. } = self;
        say!(
            "{name}: {failed} of {seeds} seeds failed; {:.1} s, {:.0} seeds of {:.0} simulated seconds a minute",
            self.took.as_secs_f64(),
            self.per_minute(),
            self.simulated.as_secs_f64() / (*seeds).max(1) as f64,
        );
        say_part!("{}", self.measures);
    }

    fn json(&self, scenario: &str, first: u64) -> Value {
        json!({
            "kind": "scenario",
            "scenario": scenario,
            "commit": COMMIT,
            "first_seed": first,
            "seeds": self.seeds,
            "failed": self.failed,
            "seconds": self.took.as_secs_f64(),
            "simulated_seconds": self.simulated.as_secs_f64(),
            "seeds_per_minute": self.per_minute(),
        })
    }
}

/// The seeds of one scenario.
struct Span {
    seeds: Range<u64>,
    deadline: Option<Instant>,
}

impl Run {
    pub fn play(self) -> Result<bool, String> {
        let scenarios = self.which.playable()?;
        let minutes = match self.minutes {
            Some(minutes) if !(minutes > 0.0 && minutes <= MOST_MINUTES) => {
                return Err(format!("--minutes {minutes}: write a number above 0, up to {MOST_MINUTES}"));
            }
            minutes => minutes,
        };
        if !self.json {
            say!("commit {}", COMMIT);
        }
        let each = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0) / scenarios.len() as u32);
        let fresh = fresh_seed();
        let mut all = Tally::default();
        for scenario in &scenarios {
            let span = match each {
                None => Span { seeds: self.seeds.clone(), deadline: None },
                Some(each) => Span { seeds: fresh..u64::MAX, deadline: Some(Instant::now() + each) },
            };
            all.join(&self.play_one(scenario, span));
        }
        if scenarios.len() > 1 && !self.json {
            all.print(&format!("all {} scenarios", scenarios.len()));
        }
        Ok(all.failed == 0)
    }

    fn play_one(&self, scenario: &Scenario, span: Span) -> Tally {
        let Span { seeds, deadline } = span;
        let (first, began) = (seeds.start, Instant::now());
        let total = deadline.is_none().then_some(seeds.end - first);
        let mut tally = Tally::default();
        let mut progress = Progress::new(scenario.name, total, deadline);
        if deadline.is_some() && !self.json {
            say!("{}: seeds from {first}", scenario.name);
        }
        let in_time = seeds.take_while(|_| deadline.is_none_or(|deadline| Instant::now() < deadline));
        let trial = |seed: &u64| self.which.trial(scenario, *seed, |_| {});
        runner::play(in_time, at_once(self.jobs), trial, |seed, outcome| {
            tally.seeds += 1;
            tally.simulated += outcome.length;
            tally.measures.join(&outcome.measures);
            let has_failed = !outcome.violations.is_empty();
            if has_failed {
                tally.failed += 1;
                progress.clear();
                match (self.json, tally.failed <= IN_FULL) {
                    (true, _) => say!("{}", failure::json(scenario, &outcome, &self.which)),
                    (false, true) => failure::print(scenario, &outcome, &self.which),
                    (false, false) => say!("{}", failure::replay(scenario, seed, &self.which)),
                }
            }
            progress.step(has_failed);
            ControlFlow::Continue(())
        });
        progress.clear();
        tally.took = began.elapsed();
        if self.json {
            say!("{}", tally.json(scenario.name, first));
        } else {
            tally.print(scenario.name);
        }
        tally
    }
}

/// A seed that nobody has taken: the time, short enough to type.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64 % 1_000_000_000_000
}
