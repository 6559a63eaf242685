//! `report`: runs seeds of scenarios and writes the page.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Chapter, page, picture};
use crate::scenarios::Scenario;
use crate::trial::{self, Outcome};
use crate::world::store::guards::Guards;

/// What to report.
#[derive(Clone, Debug)]
pub struct Order {
    /// From the first to before the last, of each scenario.
    pub seeds: Range<u64>,
    /// Where the page goes.
    pub out: PathBuf,
}

/// Runs all seeds of all scenarios and writes the page; answers whether all were well. `progress` is told
/// the scenario and how many of its seeds have been run.
///
/// # Errors
/// The page could not be written.
pub fn report(
    scenarios: &[Scenario],
    order: &Order,
    mut progress: impl FnMut(&Scenario, u64),
) -> Result<bool, String> {
    // Before an hour of work, not after it.
    write(&order.out, "")?;
    let run_all = |scenario: &Scenario| {
        let mut chapter = Chapter::new(scenario);
        for seed in order.seeds.clone() {
            chapter.add(trial::run(scenario, seed, Guards::default()));
            progress(scenario, chapter.runs);
        }
        chapter
    };
    let chapters: Vec<_> = scenarios.iter().map(run_all).collect();
    let typed = format!("beatmesh-simulations report --seeds {}..{}", order.seeds.start, order.seeds.end);
    write(&order.out, &page(&chapters, &typed))?;
    Ok(chapters.iter().all(|chapter| chapter.failed == 0))
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
