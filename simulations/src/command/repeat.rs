//! `repeat`: the check before all others.

use std::ops::Range;

use beatmesh_simulations::repeat;
use clap::Args;

use super::{scenarios_named, seeds};

#[derive(Args)]
pub struct Repeat {
    /// Its name; without it all of them
    #[arg(long)]
    scenario: Option<String>,
    /// From the first to before the last
    #[arg(long, default_value = "0..3", value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
}

impl Repeat {
    pub fn play(self) -> Result<bool, String> {
        let scenarios = scenarios_named(self.scenario.as_deref())?;
        let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
        let mut all_same = true;
        for scenario in &scenarios {
            for seed in self.seeds.clone() {
                match repeat::check(scenario, seed, &program) {
                    Ok(same) => say!(
                        "seed {seed} of {}: same trace {:016x}, {} events, {} packets",
                        scenario.name,
                        same.hash,
                        same.events,
                        same.packets
                    ),
                    Err(error) => {
                        say!("seed {seed} of {} does NOT repeat: {error}", scenario.name);
                        all_same = false;
                    }
                }
            }
        }
        Ok(all_same)
    }
}
