//! The store of a simulated mesh: one state behind one lock, on a host of its own, with the rules of
//! `beatmesh_node::store::sql`.
//!
//! ```text
//! node: client ──> line (latency, troubles) ──> host: one request after the other ──> state
//! ```
//!
//! Requests travel beside turmoil's network, as closures; what may happen to them on the way is the
//! module `line`'s business. A request that is on its way arrives also when its sender has crashed.

pub mod client;
pub mod direct;
pub mod guards;
pub mod host;
pub mod line;
pub mod state;

mod catalogue;
mod lease;
mod lines;
mod nodes;
mod tasks;
mod ticks;
