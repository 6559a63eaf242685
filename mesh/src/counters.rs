//! What a node's part in the mesh can tell about itself: numbers for people, decided by nothing.
//!
//! Everything is added up when somebody asks, but for what the detector knows: its owner puts that out now and
//! then, because nobody else may touch it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::detector::Tally;
use crate::id::NodeId;

/// How long what the detector tells is kept back; it goes out with the next timer then. A new view for each ping
/// would wake everybody who follows views.
pub(crate) const PULSE_EVERY: Duration = Duration::from_secs(1);

/// What the detector tells about itself.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    pub(crate) tally: Tally,
    /// Smoothed, of direct pings.
    pub(crate) round_trips: BTreeMap<NodeId, Duration>,
}

/// Bytes and datagrams of UDP, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Datagrams that came.
    pub datagrams_in: u64,
    /// Datagrams that went out.
    pub datagrams_out: u64,
}

impl Traffic {
    pub(crate) fn add(&mut self, stats: &quinn::ConnectionStats) {
        self.bytes_in += stats.udp_rx.bytes;
        self.bytes_out += stats.udp_tx.bytes;
        self.datagrams_in += stats.udp_rx.datagrams;
        self.datagrams_out += stats.udp_tx.datagrams;
    }
}

/// All numbers of one node since its start. None of them falls but `links` and `round_trips`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The detector's, a second or two old.
    pub detector: Tally,
    /// Round-trip times of members, by direct pings or else by QUIC, in rising order.
    pub round_trips: Vec<Duration>,
    /// Messages dropped because a peer, or this node, was slower than its news, or the peer not to be reached.
    pub outbox_drops: u64,
    /// Refused peers and messages by what was wrong with them: `handshake`, `version`, `mesh`, `store`,
    /// `identity`, `facts`, `room`, `message`.
    pub refusals: Vec<(&'static str, u64)>,
    /// Connections to members. Two nodes that dialled each other at the same time have two.
    pub links: u64,
    /// Of all links, also of those that have been closed. Handshakes that led to no link are not counted.
    pub udp: Traffic,
}
