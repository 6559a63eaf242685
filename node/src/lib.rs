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
pub mod inbox;
pub mod load;
pub mod logs;
pub mod notice;
pub mod problem;
pub mod queue;
pub mod roles;
pub mod router;
pub mod run;
mod signals;
pub mod store;
pub mod sweeper;
pub mod units;
pub mod worker;
