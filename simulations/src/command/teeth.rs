//! `teeth`: the table of guards and of what notices that one is missing.

use std::num::NonZeroUsize;
use std::ops::Range;

use beatmesh_simulations::COMMIT;
use beatmesh_simulations::scenarios::Scenario;
use beatmesh_simulations::teeth::{Bite, bite};
use beatmesh_simulations::world::store::guards::Guard;
use clap::Args;

use super::{at_once, scenarios_named, seeds};

#[derive(Args)]
pub struct Teeth {
    /// Only this guard; may be given more than once
    #[arg(long = "guard", value_name = "GUARD")]
    guards: Vec<Guard>,
    /// Only in this scenario
    #[arg(long)]
    scenario: Option<String>,
    /// Only checks that stand in the scripts of the queue in a Redis, and only in scenarios that have one
    #[arg(long, conflicts_with_all = ["guards", "scenario"])]
    redis: bool,
    /// A guard that nothing misses at these seeds is a failure
    #[arg(long, default_value = "0..40", value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// Trials at a time; one for each core if not given
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

impl Teeth {
    pub fn play(self) -> Result<bool, String> {
        let mut scenarios = scenarios_named(self.scenario.as_deref())?;
        let mut guards = if self.guards.is_empty() { Guard::ALL.to_vec() } else { self.guards };
        if self.redis {
            scenarios.retain(Scenario::has_redis);
            guards = Guard::OF_SCRIPTS.to_vec();
        }
        say!("commit {}", COMMIT);
        say!("{:22} {:45} {:>5}  first seen", "guard removed", "caught by", "runs");
        let mut all_bite = true;
        for guard in guards {
            let name = guard.as_str();
            match bite(guard, &scenarios, self.seeds.clone(), at_once(self.jobs)) {
                Some(Bite { properties, scenario, seed, runs }) => {
                    let caught_by = properties.join("; ");
                    say!("{name:22} {caught_by:45} {runs:>5}  {scenario}, seed {seed}");
                }
                None => {
                    let runs = (self.seeds.end - self.seeds.start) * scenarios.len() as u64;
                    say!("{name:22} {:45} {runs:>5}", "NOTHING: this guard is not proven");
                    all_bite = false;
                }
            }
        }
        Ok(all_bite)
    }
}
