//! The failure detector alone, at scale: real [`Detector`](beatmesh_mesh::detector::Detector)s in one thread under
//! the event heap, up to a thousand of them.
//!
//! ```text
//! stories ──> town ──┬─> Detector   one per node, the real one; its packets and wakes are happenings
//!    │               ├─> views      what each holds of each, beside what is true
//!    ▼               └─> traffic    probes and bytes
//!   book ──> figures with goals     a story in which nothing happened is a failure
//! ```
//!
//! What it leaves out: QUIC itself (a dial is three ways and never fails but for cuts), bursts of loss,
//! the roster's rules above the detector, and seed lists (whoever starts dials three members).

mod alone;
mod book;
pub mod command;
mod shares;
mod starved;
mod stories;
pub mod teeth;
mod town;
mod traffic;
mod views;

use beatmesh_mesh::detector::Parts;
use beatmesh_mesh::detector::pace::Pace;

pub use book::{Book, Figure};
pub use stories::Story;

/// So far apart are clocks that a time server keeps, at most.
pub const CLOCKS_MS: u64 = 50;

/// One mesh and its network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Members at the start.
    pub nodes: usize,
    /// The share of datagrams that are lost, each way by itself.
    pub loss: f64,
    /// One way, in microseconds: the least and the most.
    pub way_us: (u64, u64),
    /// Wall clocks differ by so many milliseconds at most.
    pub clocks_ms: u64,
    /// The detector's.
    pub pace: Pace,
    /// The detector's, one of them missing to see that it is missed.
    pub parts: Parts,
}

impl Setting {
    /// One data centre.
    #[must_use]
    pub fn lan(nodes: usize, loss: f64) -> Self {
        Self {
            nodes,
            loss,
            way_us: (200, 1_000),
            clocks_ms: CLOCKS_MS,
            pace: Pace::LAN,
            parts: Parts::default(),
        }
    }

    /// Continents.
    #[must_use]
    pub fn wan(nodes: usize, loss: f64) -> Self {
        Self { way_us: (20_000, 125_000), pace: Pace::WAN, ..Self::lan(nodes, loss) }
    }
}

/// How often stories repeat what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Enough for a look, and for tests.
    Look,
    /// Enough for figures.
    Figures,
}

#[cfg(test)]
mod tests;
