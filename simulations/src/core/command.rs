//! `core`: runs seeds at one size or several, prints the figures and the time it took.
#![expect(clippy::disallowed_methods, reason = "the command measures real time, the runs have their own")]

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Figures, SHORTEST, Setting, run};
use crate::world::store::guards::Guards;

/// Sizes that are run when none is asked for.
const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// Violations that are printed of each size.
const SHOWN: usize = 5;

/// Runs the seeds; answers whether all were well.
///
/// # Errors
/// The run is too small or too short to prove anything.
pub fn core(nodes: Option<usize>, seconds: u64, seeds: Range<u64>, guards: Guards) -> Result<bool, String> {
    let length = Duration::from_secs(seconds);
    if length < SHORTEST {
        return Err(format!("--seconds {seconds}: at least {}", SHORTEST.as_secs()));
    }
    let sizes = nodes.map_or_else(|| SIZES.to_vec(), |nodes| vec![nodes]);
    if let Some(nodes) = sizes.iter().find(|nodes| **nodes < 10) {
        return Err(format!("--nodes {nodes}: at least 10; fewer are what `run` is for"));
    }
    let mut all_well = true;
    for nodes in sizes {
        let setting = Setting { nodes, length, guards };
        let mut figures = Figures::default();
        let began = Instant::now();
        for seed in seeds.clone() {
            let of_seed = run(&setting, seed);
            for violation in of_seed.violations.iter().take(SHOWN) {
                println!("seed {seed}: {}: {}", violation.property, violation.what);
            }
            figures.join(of_seed);
        }
        let took = began.elapsed().as_secs_f64();
        println!(
            "{nodes} nodes, {seconds} s, {} seeds: {} violations; {took:.2} s, {:.2} s a seed",
            figures.runs,
            figures.violations.len(),
            took / figures.runs as f64
        );
        print!("{figures}");
        all_well &= figures.violations.is_empty();
    }
    Ok(all_well)
}
