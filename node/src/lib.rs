//! beatmesh: one binary that turns machines into a mesh that runs functions.

pub mod catalogue;
pub mod config;
pub mod queue;
pub mod units;
pub mod worker;
