//! What goes wrong, as data: a plan is drawn from the seed, printed with a failure, and can be shrunk. Each
//! fault begins and heals by itself, so a plan without any one of them is a plan as well.

pub mod links;
pub mod menu;
pub mod trouble;
pub mod twin;
pub mod whom;

use std::fmt;
use std::time::Duration;

pub use links::{Harm, Links};
pub use trouble::Trouble;
pub use twin::Twin;
pub use whom::{Group, Target};

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
    /// As a crash, and each file is again what it was before it was last written: a disk that lies.
    PowerCut(Target),
    /// As a crash, and the node comes back at another address.
    Move(Target),
    /// As a crash, and at the next start this operation on files, counted from 0, fails. Then the start fails,
    /// and the machine starts the process once more.
    Disk(Target, u8),
    /// The process is stopped and later goes on: nothing of it runs, time passes.
    Pause(Target),
    /// The node is asked to stop and says goodbye; healed by a new start.
    Leave(Target),
    /// A copy of the node's machine is started at another address; healed by switching the copy off.
    Clone(Target, Twin),
    /// Packets between nodes are in trouble.
    Network(Links, Harm),
    /// The way between nodes and the store is in trouble.
    Store(Target, Trouble),
    /// The wall clock is wrong by so many milliseconds more; healed by a step back.
    ClockJump(Target, i64),
    /// The wall clock gains so many milliseconds in each second; healed by a step to where it would be.
    ClockDrift(Target, i64),
    /// The store's own clock is wrong by so many milliseconds more; healed by a step back.
    StoreClock(i64),
    /// At the end the store forgets all that it has taken since the beginning: a replica that had not heard of
    /// it takes over, or a backup is put back.
    StoreForgets,
    /// Nothing more reaches the replica of the queue's Redis; at the end it takes its master's place. The master's
    /// process ends with that, or goes on as a replica and keeps its connections.
    QueueFailsOver(bool),
    /// The queue's Redis is away: its process has ended, and is started again with what it held, or with nothing.
    QueueAway(bool),
    /// The queue's Redis is emptied by somebody who did not know.
    QueueEmptied,
    /// The queue's Redis has no memory left for more.
    QueueFull,
    /// Somebody breaks what the queue's Redis holds, a little everywhere.
    QueueDamaged,
}

impl FaultKind {
    /// What it is, in one word for pictures and counts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash(_) => "crash",
            Self::PowerCut(_) => "power_cut",
            Self::Move(_) => "move",
            Self::Disk(..) => "disk",
            Self::Pause(_) => "pause",
            Self::Leave(_) => "leave",
            Self::Clone(..) => "clone",
            Self::Network(_, Harm::Cut | Harm::Flapping(_)) => "partition",
            Self::Network(..) => "network",
            Self::Store(..)
            | Self::StoreForgets
            | Self::QueueFailsOver(_)
            | Self::QueueAway(_)
            | Self::QueueEmptied
            | Self::QueueFull
            | Self::QueueDamaged => "store",
            Self::ClockJump(..) | Self::ClockDrift(..) | Self::StoreClock(_) => "clock",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s for {:.3} s: {}", self.at.as_secs_f64(), self.lasts.as_secs_f64(), self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(target) => write!(f, "crash {target}"),
            Self::PowerCut(target) => {
                write!(f, "cut the power of {target}, whose disk loses its last writes")
            }
            Self::Move(target) => write!(f, "crash {target}, which comes back at another address"),
            Self::Disk(target, number) => {
                write!(f, "crash {target}, and file operation {number} of its next start fails")
            }
            Self::Pause(target) => write!(f, "pause {target}"),
            Self::Leave(target) => write!(f, "ask {target} to stop"),
            Self::Clone(target, twin) => write!(f, "a copy of {target} begins {twin} of it elsewhere"),
            Self::Network(links, harm) => write!(f, "{links}: {harm}"),
            Self::Store(target, trouble) => write!(f, "store for {target}: {trouble}"),
            Self::ClockJump(target, by_ms) => write!(f, "wall clock of {target} jumps by {by_ms} ms"),
            Self::ClockDrift(target, gain_ms) => {
                let (verb, by_ms) = (if *gain_ms < 0 { "loses" } else { "gains" }, gain_ms.abs());
                write!(f, "wall clock of {target} {verb} {by_ms} ms in each second")
            }
            Self::StoreClock(by_ms) => write!(f, "the store's clock jumps by {by_ms} ms"),
            Self::StoreForgets => f.write_str("what the store takes from here on is lost at the end"),
            Self::QueueFailsOver(crashes) => {
                let master = if *crashes { "ends" } else { "follows it" };
                write!(f, "the replica hears nothing more and takes its master's place, which {master}")
            }
            Self::QueueAway(false) => f.write_str("the queue's Redis is away"),
            Self::QueueAway(true) => f.write_str("the queue's Redis is away and comes back empty"),
            Self::QueueEmptied => f.write_str("the queue's Redis is emptied"),
            Self::QueueFull => f.write_str("the queue's Redis has no memory left"),
            Self::QueueDamaged => f.write_str("somebody breaks what the queue's Redis holds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let split = FaultKind::Network(Links::Across(Group::of(&[0, 2])), Harm::Cut);
        let fault = Fault { at: Duration::from_millis(1_500), lasts: Duration::from_secs(2), kind: split };
        assert_eq!(
            fault.to_string(),
            "at 1.500 s for 2.000 s: between nodes 0, 2 and the others: nothing arrives"
        );
    }
}
