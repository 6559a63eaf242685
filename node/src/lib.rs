//! beatmesh: one binary that turns machines into a mesh that runs functions.

pub mod beat;
pub mod catalogue;
pub mod queue;
pub mod units;
pub mod worker;
