//! Faults of the network between nodes: which ways they meet, and what they do to packets there. Users and
//! the store are not concerned.

use std::fmt;
use std::time::Duration;

use super::whom::{Group, Target};

/// Which ways between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Between these two, both ways.
    Between(usize, usize),
    /// From the first to the second only.
    OneWay(usize, usize),
    /// Between these nodes and all others.
    Across(Group),
    /// As [`Links::Across`], but this node hears and is heard by both sides.
    Bridged(Group, usize),
    /// To and from these nodes, also among them.
    Of(Target),
    /// Between any two nodes.
    All,
}

/// What happens to packets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing arrives.
    Cut,
    /// For this long nothing arrives, then for as long everything, and so on.
    Flapping(Duration),
    /// So many in a hundred are lost.
    Loss(u8),
    /// So many in a hundred come later, by a random time between the two: others overtake them.
    Late(u8, Duration, Duration),
    /// So many in a hundred come twice.
    Twice(u8),
}

impl Links {
    /// Whether the way from one node to another is meant; `met` are the nodes that a target means.
    #[must_use]
    pub fn mean(self, from: usize, to: usize, met: Group) -> bool {
        match self {
            Self::Between(a, b) => (from, to) == (a, b) || (from, to) == (b, a),
            Self::OneWay(a, b) => (from, to) == (a, b),
            Self::Across(side) => side.has(from) != side.has(to),
            Self::Bridged(side, bridge) => from != bridge && to != bridge && side.has(from) != side.has(to),
            Self::Of(_) => met.has(from) || met.has(to),
            Self::All => true,
        }
    }
}

impl Harm {
    /// So many in a hundred are lost while it is at its worst.
    #[must_use]
    pub fn loses(self) -> u8 {
        match self {
            Self::Cut | Self::Flapping(_) => 100,
            Self::Loss(percent) => percent,
            Self::Late(..) | Self::Twice(_) => 0,
        }
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(a, b) => write!(f, "between node {a} and node {b}"),
            Self::OneWay(a, b) => write!(f, "from node {a} to node {b}"),
            Self::Across(side) => write!(f, "between {side} and the others"),
            Self::Bridged(side, bridge) => {
                write!(f, "between {side} and the others, but for node {bridge}")
            }
            Self::Of(target) => write!(f, "to and from {target}"),
            Self::All => f.write_str("between any two nodes"),
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("nothing arrives"),
            Self::Flapping(period) => write!(f, "nothing arrives and all arrives, in turns of {period:?}"),
            Self::Loss(percent) => write!(f, "{percent} % is lost"),
            Self::Late(percent, Duration::ZERO, most) => {
                write!(f, "{percent} % comes later by up to {most:?}")
            }
            Self::Late(percent, least, most) => write!(f, "{percent} % comes later by {least:?} to {most:?}"),
            Self::Twice(percent) => write!(f, "{percent} % comes twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_heard_by_both_sides_and_one_way_is_one_way() {
        let [side, nobody] = [Group::of(&[0, 1]), Group::default()];
        let mean = |links: Links, from, to| links.mean(from, to, nobody);
        assert!(mean(Links::Across(side), 0, 2) && mean(Links::Across(side), 2, 0));
        assert!(!mean(Links::Across(side), 0, 1) && !mean(Links::Across(side), 3, 4));
        assert!(!mean(Links::Bridged(side, 2), 0, 2) && mean(Links::Bridged(side, 2), 0, 3));
        assert!(mean(Links::OneWay(0, 1), 0, 1) && !mean(Links::OneWay(0, 1), 1, 0));
        assert!(Links::Of(Target::BeatOwner).mean(3, 1, Group::of(&[1])));
    }
}
