//! beatmesh: one binary that turns any number of machines into a mesh that runs functions.

pub mod assembly;
pub mod beat;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod data_dir;
mod differences;
pub mod discovery;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod hints;
pub mod inbox;
pub mod load;
pub mod logs;
pub mod notice;
pub mod problem;
pub mod queue;
pub mod reclaim;
pub mod roles;
pub mod router;
pub mod run;
pub mod scanner;
mod signals;
pub mod store;
mod stores;
pub mod sweeper;
pub mod units;
pub mod worker;

#[cfg(test)]
mod tests {
    /// The profile in `Cargo.toml` names each of our crates for it: a wrong name there would turn nothing red.
    #[test]
    fn a_sum_that_overflows_is_noticed_in_the_build_that_is_tested() {
        let most = std::hint::black_box(u8::MAX);
        assert!(std::panic::catch_unwind(|| most + std::hint::black_box(1)).is_err());
    }
}
