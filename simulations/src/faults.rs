//! What goes wrong, as data: a plan is drawn from the seed, printed with a failure, and can be shrunk.

use std::fmt;
use std::time::Duration;

/// One thing that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; then it is healed.
    pub lasts: Duration,
    /// What it is.
    pub kind: FaultKind,
}

/// Kinds of faults. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The process dies between two instructions, its disk stays; healed by a new start.
    Crash(Target),
    /// Two nodes do not hear each other; both hear everybody else.
    Partition(usize, usize),
    /// The way between one node and the store is in trouble.
    Store(Target, Trouble),
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This node.
    Node(usize),
    /// Whoever most living nodes hold for the Beat when the fault begins.
    BeatOwner,
}

/// What a node meets on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing: a healthy store.
    #[default]
    None,
    /// Requests do not arrive; the node learns of it late: `Unavailable`.
    Cut,
    /// The store turns requests away at once: `Unavailable`.
    Refusing,
    /// Requests arrive this much later.
    Slow(Duration),
    /// Requests are carried out, answers do not arrive: `Unknown`.
    Mute,
}

impl FaultKind {
    /// Whether a run proves nothing when this fault met nobody.
    #[must_use]
    pub fn must_take_effect(self) -> bool {
        matches!(self, Self::Crash(_) | Self::Partition(..))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s for {:.3} s: ", self.at.as_secs_f64(), self.lasts.as_secs_f64())?;
        match self.kind {
            FaultKind::Crash(target) => write!(f, "crash {target}"),
            FaultKind::Partition(a, b) => write!(f, "cut node {a} from node {b}"),
            FaultKind::Store(target, trouble) => write!(f, "store for {target}: {trouble}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(index) => write!(f, "node {index}"),
            Self::BeatOwner => f.write_str("the Beat"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("well"),
            Self::Cut => f.write_str("cut off"),
            Self::Refusing => f.write_str("refuses"),
            Self::Slow(by) => write!(f, "slower by {by:?}"),
            Self::Mute => f.write_str("answers are lost"),
        }
    }
}
