//! beatmesh: one binary that turns any number of machines into a mesh that runs functions.

pub mod beat;
pub mod catalogue;
pub mod notice;
pub mod problem;
pub mod queue;
pub mod roles;
pub mod router;
pub mod store;
pub mod units;
pub mod worker;
