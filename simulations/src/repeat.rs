//! The check before all others: one seed, one trace. A simulation that does not repeat cannot be debugged, and
//! a green run of it says little.
//!
//! Each seed is played on this thread's trial beside another trial (two threads at once share everything that
//! a process has) and in another process (another memory layout, another hash order, other environment).

use std::path::Path;
use std::process::Command;

use crate::scenarios::Scenario;
use crate::trace::{self, Difference};
use crate::trial::{self, Outcome};
use crate::world::store::guards::Guards;

/// What repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Same {
    /// The trace's hash.
    pub hash: u64,
    /// Its events.
    pub events: usize,
    /// Its packets.
    pub packets: usize,
}

/// Why a seed does not count as repeated.
#[derive(Debug, thiserror::Error)]
pub enum NotSame {
    /// On two threads of one process.
    #[error("on another thread of this process it went another way:\n{0}")]
    OtherThread(Difference),
    /// In two processes.
    #[error("in another process it went another way:\n{0}")]
    OtherProcess(Difference),
    /// The other process did not play.
    #[error("the other process did not play: {0}")]
    NoProcess(String),
}

/// Plays a seed three times. `program` is this crate's command.
///
/// # Errors
/// The first event or packet that differs.
///
/// # Panics
/// Never: a trial catches its own panics.
pub fn check(scenario: &Scenario, seed: u64, program: &Path) -> Result<Same, NotSame> {
    let play = || trial::run(scenario, seed, Guards::default());
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(play);
        (play(), other.join().expect("a trial catches the panics of its world"))
    });
    if let Some(difference) = trace::first_difference(lines(&one), lines(&other)) {
        return Err(NotSame::OtherThread(difference));
    }
    let elsewhere = in_another_process(scenario, seed, program).map_err(NotSame::NoProcess)?;
    match trace::first_difference(lines(&one), elsewhere) {
        Some(difference) => Err(NotSame::OtherProcess(difference)),
        None => Ok(Same { hash: one.hash, events: one.history.len(), packets: one.packets.len() }),
    }
}

fn lines(outcome: &Outcome) -> impl Iterator<Item = String> {
    trace::lines(&outcome.history, &outcome.packets)
}

/// The trace that another process prints.
fn in_another_process(scenario: &Scenario, seed: u64, program: &Path) -> Result<Vec<String>, String> {
    let mut replay = Command::new(program);
    replay.args(["replay", "--scenario", scenario.name, "--seed", &seed.to_string(), "--packets"]);
    // Something that this process has not: what reads the environment must not decide anything.
    replay.env("BEATMESH_SIMULATIONS_ELSEWHERE", "1");
    let output = replay.output().map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // All but the trace begins otherwise; a failing seed repeats as well as any other.
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with('{')).map(ToOwned::to_owned).collect();
    if lines.is_empty() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(lines)
}
