//! beatmesh: one binary that turns machines into a mesh that runs functions.

pub mod assembly;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod logs;
pub mod queue;
pub mod units;
pub mod worker;
