//! `report`: seeds of scenarios as one page to look at.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use beatmesh_simulations::report::command::{Order, report};
use clap::Args;

use super::progress::Progress;
use super::{at_once, scenarios_named, seeds};

#[derive(Args)]
pub struct Report {
    /// Its name; without it all of them
    #[arg(long)]
    scenario: Option<String>,
    /// From the first to before the last, of each scenario
    #[arg(long, default_value = "0..20", value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// Where the page goes
    #[arg(long, default_value = "beatmesh-simulation.html", value_name = "FILE")]
    out: PathBuf,
    /// Also takes each guard away and shows which promise breaks
    #[arg(long)]
    teeth: bool,
    /// Trials at a time; one for each core if not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

impl Report {
    pub fn play(self) -> Result<bool, String> {
        let scenarios = scenarios_named(self.scenario.as_deref())?;
        let Range { start, end } = self.seeds;
        let which = self.scenario.map_or_else(String::new, |name| format!(" --scenario {name}"));
        let teeth = if self.teeth { " --teeth" } else { "" };
        let typed = format!("beatmesh-simulations report{which} --seeds {start}..{end}{teeth}");
        let (at_once, teeth) = (at_once(self.jobs), self.teeth);
        let order = Order { seeds: self.seeds, out: self.out, teeth, at_once, typed };
        let (mut name, mut progress) = ("", None::<Progress>);
        let all_well = report(&scenarios, &order, |scenario, failed| {
            if name != scenario.name {
                name = scenario.name;
                progress.take().iter().for_each(Progress::clear);
            }
            progress.get_or_insert_with(|| Progress::new(name, Some(end - start), None)).step(failed);
        })?;
        progress.iter().for_each(Progress::clear);
        say!("{}", order.out.display());
        Ok(all_well)
    }
}
