//! `report`: runs seeds of scenarios and writes the page.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use super::{Chapter, page, picture};
use crate::runner;
use crate::scenarios::Scenario;
use crate::teeth::bite;
use crate::trial::{self, Outcome};
use crate::world::store::guards::{Guard, Guards};

/// A guard that nothing misses at these seeds is not proven.
pub const TEETH_SEEDS: Range<u64> = 0..40;

/// What to report.
#[derive(Clone, Debug)]
pub struct Order {
    /// From the first to before the last, of each scenario.
    pub seeds: Range<u64>,
    /// Where the page goes.
    pub out: PathBuf,
    /// Also which promise breaks without which guard: a trial or a hundred for each.
    pub teeth: bool,
    /// Trials at a time.
    pub at_once: NonZeroUsize,
    /// How somebody else gets the same page.
    pub typed: String,
}

/// Runs all seeds of all scenarios and writes the page; answers whether all were well. `progress` is told
/// of each seed its scenario and whether it failed.
///
/// # Errors
/// The page could not be written.
pub fn report(
    scenarios: &[Scenario],
    order: &Order,
    mut progress: impl FnMut(&Scenario, bool),
) -> Result<bool, String> {
    // Before an hour of work, not after it.
    write(&order.out, "")?;
    let run_all = |scenario: &Scenario| {
        let mut chapter = Chapter::new(scenario);
        let trial = |seed: &u64| trial::run(scenario, *seed, Guards::default());
        runner::play(order.seeds.clone(), order.at_once, trial, |_, outcome| {
            let failed = !outcome.violations.is_empty();
            chapter.add(outcome);
            progress(scenario, failed);
            ControlFlow::Continue(())
        });
        chapter
    };
    let chapters: Vec<_> = scenarios.iter().map(run_all).collect();
    let guards = if order.teeth { &Guard::ALL[..] } else { &[] };
    let bite = |guard: &Guard| (*guard, bite(*guard, scenarios, TEETH_SEEDS, order.at_once));
    let teeth: Vec<_> = guards.iter().map(bite).collect();
    write(&order.out, &page(&chapters, &teeth, &order.typed))?;
    let all_bite = teeth.iter().all(|(_, bite)| bite.is_some());
    Ok(all_bite && chapters.iter().all(|chapter| chapter.failed == 0))
}

/// Whether a page can be written there: it is better known before the run.
///
/// # Errors
/// Why it cannot.
pub fn check_writable(to: &Path) -> Result<(), String> {
    write(to, "")
}

/// Writes the picture of one run.
///
/// # Errors
/// The file could not be written.
pub fn write_picture(scenario: &Scenario, outcome: &Outcome, to: &Path) -> Result<(), String> {
    write(to, &picture(scenario.name, outcome))
}

fn write(to: &Path, text: &str) -> Result<(), String> {
    std::fs::write(to, text).map_err(|error| format!("cannot write {}: {error}", to.display()))
}
