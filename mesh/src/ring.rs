//! The consistent-hash ring: which member owns a key, and who comes next.
//!
//! Each member stands on the ring at [`POINTS`] points per unit of weight; a key belongs to the first
//! point at or after its hash. When one of N members joins or leaves, only the keys next to its points
//! move: about 1/N (Karger et al. 1997). Everything here is pure: the same members give the same ring,
//! on every node and in every version, because hashes and layout are frozen by a golden test.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::id::NodeId;

/// Points of a member of weight 1. With 160 the busiest of ten equal members owns about 1.15 times its
/// share (see the test below); more points cost memory and build time and gain little.
pub const POINTS: u32 = 160;

/// The ring of one set of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Sorted by id.
    members: Vec<(NodeId, u32)>,
    /// Sorted by position: the position and the index of its member.
    points: Vec<(u64, u32)>,
    fingerprint: u64,
}

impl Ring {
    /// Builds the ring of `members` with their weights. Order and repetitions do not matter; of a
    /// repeated member the last weight counts.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (NodeId, u32)>) -> Self {
        let members: Vec<_> =
            members.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
        let mut points =
            Vec::with_capacity(members.iter().map(|(_, weight)| (weight * POINTS) as usize).sum());
        let mut identity = Vec::new();
        for (index, (id, weight)) in members.iter().enumerate() {
            identity.extend_from_slice(id.as_str().as_bytes());
            identity.push(0);
            identity.extend_from_slice(&weight.to_le_bytes());
            let index = u32::try_from(index).expect("a mesh has fewer than 2^32 members");
            points.extend(
                (0..weight * POINTS)
                    .map(|n| (xxh3_64_with_seed(id.as_str().as_bytes(), u64::from(n) + 1), index)),
            );
        }
        // Two points at one position are possible in theory: the index decides, equally everywhere.
        points.sort_unstable();
        Self { members, points, fingerprint: xxh3_64(&identity) }
    }

    /// Who owns `key`; `None` on an empty ring.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<&NodeId> {
        self.successors(key).next()
    }

    /// All members in the order in which they would own `key`: the owner first, each member once.
    pub fn successors(&self, key: &[u8]) -> impl Iterator<Item = &NodeId> {
        let hash = xxh3_64(key);
        let start = self.points.partition_point(|(position, _)| *position < hash);
        let mut seen = vec![false; self.members.len()];
        let mut left = self.members.len();
        let mut step = 0;
        std::iter::from_fn(move || {
            while left > 0 && step < self.points.len() {
                let index = self.points[(start + step) % self.points.len()].1 as usize;
                step += 1;
                if !std::mem::replace(&mut seen[index], true) {
                    left -= 1;
                    return Some(&self.members[index].0);
                }
            }
            None
        })
    }

    /// Equal on two nodes exactly when their rings are (but for a collision of 64 bits).
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The members with their weights, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[(NodeId, u32)] {
        &self.members
    }

    /// Whether `id` stands on the ring.
    #[must_use]
    pub fn contains(&self, id: &NodeId) -> bool {
        self.members.binary_search_by(|(member, _)| member.cmp(id)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ids(n: usize) -> Vec<NodeId> {
        (0..n).map(|i| format!("node-{i}").parse().unwrap()).collect()
    }

    fn ring(ids: &[NodeId]) -> Ring {
        Ring::new(ids.iter().map(|id| (id.clone(), 1)))
    }

    fn keys() -> impl Iterator<Item = [u8; 8]> {
        (0..20_000_u64).map(u64::to_le_bytes)
    }

    #[test]
    fn the_ring_is_the_same_in_every_version() {
        let ring = ring(&ids(3));
        let owners: Vec<_> = ["beat", "a", "b", "c", "Ada"]
            .iter()
            .map(|key| ring.owner(key.as_bytes()).unwrap().as_str())
            .collect();
        assert_eq!(
            (format!("{:016x}", ring.fingerprint()), owners),
            ("7381ef5a2ebab0c1".to_owned(), vec!["node-0", "node-1", "node-0", "node-2", "node-2"])
        );
    }

    #[test]
    fn equal_members_own_about_equal_shares() {
        for n in [2, 3, 10, 50] {
            let ring = ring(&ids(n));
            let mut counts = BTreeMap::new();
            for key in keys() {
                *counts.entry(ring.owner(&key).unwrap()).or_insert(0_u32) += 1;
            }
            let mean = 20_000.0 / n as f64;
            let busiest = f64::from(*counts.values().max().unwrap());
            assert_eq!(counts.len(), n);
            assert!(
                busiest < 1.45 * mean,
                "{n} members: the busiest owns {:.2} of its share",
                busiest / mean
            );
        }
    }

    #[test]
    fn weight_is_a_share() {
        let ids = ids(2);
        let ring = Ring::new([(ids[0].clone(), 3), (ids[1].clone(), 1)]);
        let heavy = keys().filter(|key| ring.owner(key) == Some(&ids[0])).count();
        assert!((13_500..16_500).contains(&heavy), "{heavy} of 20000");
    }

    #[test]
    fn only_the_keys_of_a_leaving_member_move() {
        for n in [2, 3, 10, 50] {
            let all = ids(n);
            let (before, after) = (ring(&all), ring(&all[..n - 1]));
            let mut moved = 0;
            for key in keys() {
                let (old, new) = (before.owner(&key).unwrap(), after.owner(&key).unwrap());
                if old != new {
                    assert_eq!(old, &all[n - 1], "a key moved although its owner stayed");
                    moved += 1;
                }
            }
            assert!(
                f64::from(moved) < 1.35 * 20_000.0 / n as f64,
                "{n} members: {moved} of 20000 keys moved"
            );
        }
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        assert_eq!(Ring::default().owner(b"a"), None);
        assert_eq!(Ring::new([]).successors(b"a").count(), 0);
    }

    proptest! {
        #[test]
        fn successors_name_each_member_once_and_skip_the_dead(n in 1..12_usize, key in any::<[u8; 6]>(), gone in any::<prop::sample::Index>()) {
            let all = ids(n);
            let full = ring(&all);
            let order: Vec<_> = full.successors(&key).cloned().collect();
            let mut sorted = order.clone();
            sorted.sort();
            let mut expected = all.clone();
            expected.sort();
            prop_assert_eq!(&sorted, &expected);
            // Without one member the others keep their order: a standby knows its rank in advance.
            let gone = gone.get(&all);
            let rest: Vec<_> = all.iter().filter(|id| *id != gone).cloned().collect();
            let shorter: Vec<_> = ring(&rest).successors(&key).cloned().collect();
            prop_assert_eq!(shorter, order.into_iter().filter(|id| id != gone).collect::<Vec<_>>());
        }
    }
}
