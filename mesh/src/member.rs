//! What is known about a member, and which of two claims about it wins.
//!
//! Precedence follows SWIM (Das, Gupta, Motivala 2002, section 4.2) with two additions: a new
//! generation replaces an old one whatever was said of it, and `Left` ends a generation for good.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::env::UnixMs;
use crate::id::{Generation, Incarnation, NodeId, ProcessId};

/// Whether a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It did not answer somebody; it may still refute.
    Suspect,
    /// It did not refute in time.
    Dead,
    /// It said goodbye.
    Left,
}

impl Liveness {
    /// Whether the member still owns keys. A suspect does: taking its keys away for one lost packet
    /// would move them twice.
    #[must_use]
    pub fn owns_keys(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

/// What somebody says about one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Which life of the member.
    pub generation: Generation,
    /// Which refutation of that life.
    pub incarnation: Incarnation,
    /// What it is said to be.
    pub liveness: Liveness,
}

impl Claim {
    /// Whether this claim replaces `known`. A strict total order on claims: applied in any order, any
    /// number of times, the same claims leave the same one standing.
    #[must_use]
    pub fn supersedes(&self, known: &Self) -> bool {
        self.rank() > known.rank()
    }

    fn rank(&self) -> (Generation, bool, Incarnation, u8, Incarnation) {
        let left = self.liveness == Liveness::Left;
        let severity = match self.liveness {
            Liveness::Alive => 0,
            Liveness::Suspect => 1,
            Liveness::Dead => 2,
            Liveness::Left => 3,
        };
        // Whoever left has no further incarnations: a late rumour with a higher one must not matter.
        let counts = if left { Incarnation(0) } else { self.incarnation };
        // Two farewells say the same; the last place only makes the order total.
        (self.generation, left, counts, severity, self.incarnation)
    }
}

/// The most facts one node may state, and the largest.
///
/// chitchat 0.11 silently stops replicating a node whose value fills a datagram (measured at 65,535
/// bytes), so values are capped far below.
pub const MOST_FACTS: usize = 64;
/// The longest key of a fact, in bytes.
pub const LONGEST_FACT_KEY: usize = 64;
/// The longest value of a fact, in bytes.
pub const LONGEST_FACT_VALUE: usize = 4 * 1024;

/// All facts of one node together, in bytes: they travel in one message.
pub const LARGEST_FACTS: usize = 32 * 1024;

/// What a member says about itself: short texts by name. Unknown names are kept and passed on, so
/// that a mesh can run two versions at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Grows with every change, so that a late message cannot take facts back.
    pub version: u64,
    /// Name and value.
    pub entries: BTreeMap<String, String>,
}

impl Facts {
    /// A fact's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// A comma-separated fact as a set.
    #[must_use]
    pub fn set_of(&self, key: &str) -> BTreeSet<&str> {
        self.get(key).unwrap_or_default().split(',').filter(|word| !word.is_empty()).collect()
    }

    /// Whether the member has said that it may own keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.get(fact::READY) == Some("1")
    }

    /// The member's share of keys relative to others; 1 when it says nothing or nonsense.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.get(fact::WEIGHT)
            .and_then(|text| text.parse().ok())
            .filter(|weight| (1..=100).contains(weight))
            .unwrap_or(1)
    }

    /// Whether sizes and counts are within the limits.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let fits = |(key, value): (&String, &String)| {
            key.len() <= LONGEST_FACT_KEY && value.len() <= LONGEST_FACT_VALUE
        };
        let bytes: usize = self.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.entries.len() <= MOST_FACTS && bytes <= LARGEST_FACTS && self.entries.iter().all(fits)
    }
}

/// Names of facts that the mesh itself reads.
pub mod fact {
    /// `1` when the member may own keys.
    pub const READY: &str = "ready";
    /// The member's share of keys, 1 to 100.
    pub const WEIGHT: &str = "weight";
}

/// One member, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// Which life.
    pub generation: Generation,
    /// Which process, once it has been met.
    pub process: Option<ProcessId>,
    /// Which refutation of that life.
    pub incarnation: Incarnation,
    /// Whether it answers.
    pub liveness: Liveness,
    /// Since when, by this node's wall clock.
    pub since: UnixMs,
    /// Where it takes QUIC.
    pub addr: SocketAddr,
    /// What it says about itself.
    pub facts: Facts,
    /// Who found it silent; empty unless it is a suspect.
    pub suspected_by: Vec<NodeId>,
}

impl Member {
    /// What is claimed about it now.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { generation: self.generation, incarnation: self.incarnation, liveness: self.liveness }
    }

    /// Whether it owns keys of the ring: it answers, and it has said that it is ready.
    #[must_use]
    pub fn in_ring(&self) -> bool {
        self.liveness.owns_keys() && self.facts.is_ready()
    }

    /// Whether it owns no keys for a reason that is known: it has left, or answers and is not ready. Of the others it
    /// is not known whether they come back.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.liveness == Liveness::Left || (self.liveness.owns_keys() && !self.facts.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(generation: u64, incarnation: u64, liveness: Liveness) -> Claim {
        Claim { generation: Generation(generation), incarnation: Incarnation(incarnation), liveness }
    }

    #[test]
    fn precedence_is_that_of_swim() {
        use Liveness::{Alive, Dead, Left, Suspect};
        for (winner, loser) in [
            (claim(1, 1, Alive), claim(1, 0, Alive)),
            (claim(1, 0, Suspect), claim(1, 0, Alive)),
            (claim(1, 1, Alive), claim(1, 0, Suspect)),
            (claim(1, 0, Dead), claim(1, 0, Suspect)),
            (claim(1, 1, Alive), claim(1, 0, Dead)),
            (claim(1, 0, Left), claim(1, 9, Alive)),
            (claim(1, 0, Left), claim(1, 9, Dead)),
            (claim(2, 0, Alive), claim(1, 9, Dead)),
            (claim(2, 0, Alive), claim(1, 0, Left)),
        ] {
            assert!(winner.supersedes(&loser), "{winner:?} over {loser:?}");
            assert!(!loser.supersedes(&winner), "{loser:?} over {winner:?}");
        }
    }

    #[test]
    fn facts_have_limits_each_and_together() {
        let facts = |count: usize, key: usize, value: usize| {
            let entry = |n: usize| (format!("{n:0key$}"), "x".repeat(value));
            Facts { version: 1, entries: (0..count).map(entry).collect() }
        };
        for (count, key, value, fits) in [
            (MOST_FACTS, 2, 10, true),
            (MOST_FACTS + 1, 2, 10, false),
            (1, LONGEST_FACT_KEY, LONGEST_FACT_VALUE, true),
            (1, LONGEST_FACT_KEY + 1, 1, false),
            (1, 1, LONGEST_FACT_VALUE + 1, false),
            (7, 1, LONGEST_FACT_VALUE, true),
            (8, 1, LONGEST_FACT_VALUE, false),
        ] {
            assert_eq!(facts(count, key, value).is_within_limits(), fits, "{count} of {key} and {value}");
        }
    }

    fn any_claim() -> impl Strategy<Value = Claim> {
        let liveness = prop_oneof![
            Just(Liveness::Alive),
            Just(Liveness::Suspect),
            Just(Liveness::Dead),
            Just(Liveness::Left)
        ];
        (0..3_u64, 0..4_u64, liveness).prop_map(|(g, i, l)| claim(g, i, l))
    }

    /// Some claims; and the same in any order, each once or more often.
    fn claims_and_repetitions() -> impl Strategy<Value = (Vec<Claim>, Vec<Claim>)> {
        let claims = prop::collection::vec((any_claim(), 1..4_usize), 1..12);
        claims.prop_flat_map(|claims| {
            let once: Vec<_> = claims.iter().map(|(claim, _)| *claim).collect();
            let often: Vec<_> = claims.iter().flat_map(|(claim, times)| vec![*claim; *times]).collect();
            (Just(once), Just(often).prop_shuffle())
        })
    }

    proptest! {
        #[test]
        fn neither_the_order_in_which_claims_arrive_matters_nor_how_often((claims, shuffled) in claims_and_repetitions()) {
            let standing = |claims: &[Claim]| {
                claims.iter().copied().reduce(|known, new| if new.supersedes(&known) { new } else { known }).expect("at least one")
            };
            prop_assert_eq!(standing(&claims), standing(&shuffled));
        }

        #[test]
        fn of_two_different_claims_one_wins_and_the_order_has_no_circles(
            a in any_claim(),
            b in any_claim(),
            c in any_claim(),
        ) {
            prop_assert!(!(a.supersedes(&b) && b.supersedes(&c)) || a.supersedes(&c));
            prop_assert!(!(a.supersedes(&b) && b.supersedes(&a)));
            prop_assert_eq!(a != b, a.supersedes(&b) || b.supersedes(&a));
        }
    }
}
