//! `membership`: figures of the failure detector, against their goals.

use std::ops::Range;

use beatmesh_simulations::COMMIT;
use beatmesh_simulations::core::membership::command::{Order, membership, teeth};
use beatmesh_simulations::core::membership::teeth::Part;
use beatmesh_simulations::core::membership::{CLOCKS_MS, Story};
use clap::Args;

use super::seeds;

#[derive(Args)]
pub struct Membership {
    /// Members; without it the sizes that each story's figures are wanted for
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// kill, quiet, leave, stop, starved, cut, split, isolated, alone or shares; all when not given
    #[arg(long, value_parser = Story::named)]
    story: Option<Story>,
    /// From the first to before the last
    #[arg(long, default_value = "0..5", value_parser = seeds, value_name = "A..B")]
    seeds: Range<u64>,
    /// Percent of the datagrams that are lost, each way; played besides a network without loss
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    loss: f64,
    /// Far apart: 20 to 125 ms each way and the slower preset; times have no goals then
    #[arg(long)]
    wan: bool,
    /// Wall clocks differ by so many milliseconds at most
    #[arg(long, default_value_t = CLOCKS_MS, value_name = "MS")]
    clocks: u64,
    /// Few repetitions: whether all works, not how well
    #[arg(long)]
    quick: bool,
    /// One line of JSON for each figure
    #[arg(long, conflicts_with = "teeth")]
    json: bool,
    /// Takes a part of the detector away: pause_guard, refutation, indirect_probes, probes_of_the_dead or
    /// lateness
    #[arg(long, value_name = "PART", conflicts_with = "teeth")]
    without: Option<Part>,
    /// Takes each part away in turn: one that nothing misses is a failure
    #[arg(long, conflicts_with_all = ["nodes", "story", "loss", "wan", "quick"])]
    teeth: bool,
}

impl Membership {
    pub fn play(self) -> Result<bool, String> {
        let Self { nodes, story, seeds, loss, wan, clocks, quick, json, without, .. } = self;
        if !json {
            say!("commit {}", COMMIT);
        }
        if self.teeth {
            return Ok(teeth(&seeds));
        }
        membership(&Order { nodes, story, seeds, loss, wan, clocks_ms: clocks, quick, json, without })
    }
}
