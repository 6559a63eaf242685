//! What detectors say to each other, as values; [`crate::wire::probe`] puts it into bytes.

use std::net::SocketAddr;

use crate::id::{Generation, Incarnation, NodeId};
use crate::member::{Claim, Liveness};

/// One message: a reason to write, and news that travels with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender's own: first-hand, so it counts more than any rumour about it.
    pub incarnation: Incarnation,
    /// Why it is sent.
    pub body: Body,
    /// What travels with it.
    pub rumours: Vec<Rumour>,
}

/// Why a message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Answer me.
    Ping {
        /// Comes back in the answer.
        seq: u32,
    },
    /// Ping this member for me.
    PingReq {
        /// Comes back in the answer.
        seq: u32,
        /// Whom.
        target: NodeId,
    },
    /// I am here; or, from a relay, the member that you asked about is.
    Ack {
        /// That of the ping.
        seq: u32,
    },
    /// The member that you asked about does not answer me either, but I am here.
    Nack {
        /// That of the request.
        seq: u32,
    },
    /// Nothing but news.
    News,
    /// Whom the sender knows, for one that may not: not news to anybody else, so it is not passed on.
    Table,
}

/// A piece of news that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rumour {
    /// What somebody says about a member.
    Member(MemberClaim),
    /// The product's own: the highest value of a topic is the only one that matters.
    Topic {
        /// Which register.
        topic: u16,
        /// Its value.
        value: u64,
    },
}

/// What somebody says about a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberClaim {
    /// About whom.
    pub node: NodeId,
    /// What.
    pub claim: Claim,
    /// Where that life of the member takes QUIC.
    pub addr: SocketAddr,
    /// Who found that out. Different accusers confirm each other.
    pub by: NodeId,
}

impl MemberClaim {
    pub(super) fn is_accusation(&self) -> bool {
        matches!(self.claim.liveness, Liveness::Suspect | Liveness::Dead)
    }

    pub(super) fn generation(&self) -> Generation {
        self.claim.generation
    }
}

/// The bytes of rumours that travel with one message. With the frame around them they fit into the smallest
/// QUIC datagram (1,200 bytes less its headers).
pub const ROOM: usize = 1_000;

impl Rumour {
    /// An upper bound of its bytes on the wire: names at their length, numbers at their longest.
    #[must_use]
    pub fn room(&self) -> usize {
        match self {
            Self::Member(claim) => 64 + claim.node.as_str().len() + claim.by.as_str().len(),
            Self::Topic { .. } => 16,
        }
    }
}
