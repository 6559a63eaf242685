//! What goes into a detector and what comes out of it, as values.

use std::net::SocketAddr;
use std::time::Duration;

use super::message::Packet;
use crate::env::UnixMs;
use crate::id::{Generation, NodeId};
use crate::member::Claim;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Myself {
    /// Its name.
    pub node: NodeId,
    /// Which life of it.
    pub generation: Generation,
    /// Where others find it.
    pub addr: SocketAddr,
}

/// Parts of the detector that a test can switch off, to see that they are missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whoever was stopped judges nobody until it has looked again.
    pub pause_guard: bool,
    /// Whoever is suspected may refute.
    pub refutation: bool,
    /// Others are asked to ping whoever does not answer.
    pub indirect_probes: bool,
    /// The dead are probed now and then.
    pub probes_of_the_dead: bool,
    /// Whose timers are late waits longer for others.
    pub lateness: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            pause_guard: true,
            refutation: true,
            indirect_probes: true,
            probes_of_the_dead: true,
            lateness: true,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link to this life of a member is up: its own word, proven by its certificate.
    Met {
        /// Who.
        node: NodeId,
        /// Which life.
        generation: Generation,
        /// Where it takes QUIC.
        addr: SocketAddr,
    },
    /// Somebody knows of this life of a member.
    HeardOf {
        /// Who.
        node: NodeId,
        /// Which life.
        generation: Generation,
        /// Where it takes QUIC.
        addr: SocketAddr,
    },
    /// A message came over a link of this life of a member.
    Received {
        /// Who.
        from: NodeId,
        /// Which life.
        generation: Generation,
        /// What.
        packet: Packet,
    },
    /// The last link to this life of a member broke: a hint to look at once.
    LinkLost {
        /// Who.
        node: NodeId,
        /// Which life.
        generation: Generation,
    },
    /// A member said goodbye itself.
    SaidGoodbye {
        /// Who.
        node: NodeId,
        /// Which life.
        generation: Generation,
    },
    /// The product wants everybody to know.
    Spread {
        /// Which register.
        topic: u16,
        /// Its value; only a higher one than before travels.
        value: u64,
    },
    /// [`super::Detector::next_wake`] has come.
    TimePassed {
        /// By it all nodes take turns in step.
        wall: UnixMs,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this as a datagram. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// Where it takes QUIC, if no link leads there.
        addr: SocketAddr,
        /// What.
        packet: Packet,
    },
    /// The standing of a member has changed, this node's own included.
    Changed(Standing),
    /// A member is no longer known.
    Forgotten {
        /// Who.
        node: NodeId,
        /// Where it was last.
        addr: SocketAddr,
        /// Whether it said goodbye.
        left: bool,
    },
    /// The value of a topic is higher than it was.
    News {
        /// Which register.
        topic: u16,
        /// Its value.
        value: u64,
    },
    /// This process did not run for so long.
    Stopped(Duration),
}

/// What the detector holds of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub node: NodeId,
    /// What is claimed and not refuted.
    pub claim: Claim,
    /// Where that life takes QUIC.
    pub addr: SocketAddr,
    /// Who suspects it; empty unless it is a suspect.
    pub suspected_by: Vec<NodeId>,
}
