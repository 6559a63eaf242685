//! Whom a fault meets.

use std::fmt;

/// One or more nodes, named in the plan or found when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This node.
    Node(usize),
    /// Whoever most living nodes hold for the Beat when the fault begins.
    BeatOwner,
    /// The first node that they do not hold for it.
    Observer,
    /// All that they do not hold for it.
    AllButBeat,
    /// All of these.
    Group(Group),
}

/// A set of nodes: bit i stands for node i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Group(u32);

impl Group {
    /// These nodes.
    #[must_use]
    pub fn of(nodes: &[usize]) -> Self {
        Self(nodes.iter().fold(0, |bits, node| bits | 1 << node))
    }

    /// The first `count` nodes, which in a mesh of that size are all.
    #[must_use]
    pub fn first(count: usize) -> Self {
        Self((1 << count) - 1)
    }

    /// These and this one.
    #[must_use]
    pub fn with(self, node: usize) -> Self {
        Self(self.0 | 1 << node)
    }

    /// These but this one.
    #[must_use]
    pub fn without(self, node: usize) -> Self {
        Self(self.0 & !(1 << node))
    }

    /// Whether the node is one of them.
    #[must_use]
    pub fn has(self, node: usize) -> bool {
        self.0 & 1 << node != 0
    }

    /// In their order.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        (0..u32::BITS as usize).filter(move |node| self.has(*node))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(index) => write!(f, "node {index}"),
            Self::BeatOwner => f.write_str("the Beat"),
            Self::Observer => f.write_str("a node that is not the Beat"),
            Self::AllButBeat => f.write_str("all but the Beat"),
            Self::Group(group) => group.fmt(f),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes().map(|node| node.to_string()).collect();
        let noun = if nodes.len() == 1 { "node" } else { "nodes" };
        write!(f, "{noun} {}", nodes.join(", "))
    }
}
