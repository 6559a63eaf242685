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

/// A member takes at most so many times its share of what is under way before the next one is asked. Less moves
/// more keys away from their owners: at 1.25 one in five of the busiest member's.
const BOUND: f64 = 1.25;

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
        Self::default().with(members)
    }

    /// The ring of other members, as [`Ring::new`] builds it, with the points of those that stay: one that joins two
    /// hundred costs a walk over their points instead of sorting all of them.
    #[must_use]
    pub fn with(&self, members: impl IntoIterator<Item = (NodeId, u32)>) -> Self {
        let members: Vec<_> =
            members.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
        let mut points =
            Vec::with_capacity(members.iter().map(|(_, weight)| (weight * POINTS) as usize).sum());
        // Where each member of before stands now, if it stays as it was.
        let mut stays = vec![None; self.members.len()];
        let (mut identity, mut new) = (Vec::new(), Vec::new());
        for (index, member) in members.iter().enumerate() {
            let (id, weight) = member;
            identity.extend_from_slice(id.as_str().as_bytes());
            identity.push(0);
            identity.extend_from_slice(&weight.to_le_bytes());
            let index = u32::try_from(index).expect("a mesh has fewer than 2^32 members");
            match self.members.binary_search(member) {
                Ok(before) => stays[before] = Some(index),
                Err(_) => {
                    let position = |n| xxh3_64_with_seed(id.as_str().as_bytes(), u64::from(n) + 1);
                    new.extend((0..weight * POINTS).map(|n| (position(n), index)));
                }
            }
        }
        let kept = |(position, index): &(u64, u32)| Some((*position, stays[*index as usize]?));
        points.extend(self.points.iter().filter_map(kept));
        new.sort_unstable();
        points.append(&mut new);
        // Two sorted runs, which the sort merges in one pass. Two points at one position are possible in theory: the
        // index decides, equally everywhere.
        points.sort();
        Self { members, points, fingerprint: xxh3_64(&identity) }
    }

    /// Who owns `key`; `None` on an empty ring.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<&NodeId> {
        let (_, index) = self.points.get(self.first_point(key)).or(self.points.first())?;
        Some(&self.members[*index as usize].0)
    }

    /// As [`Ring::successors`], but members that have more than their share to do come after all that have not
    /// (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018). `load` says how much
    /// each has under way; up to `free` nobody has too much.
    /// Only members that `fits` accepts are named, and have a share.
    pub fn bounded(
        &self,
        key: &[u8],
        free: u64,
        fits: impl Fn(&NodeId) -> bool,
        load: impl Fn(&NodeId) -> u64,
    ) -> Vec<&NodeId> {
        let (mut total, mut weights) = (1, 0);
        for (id, weight) in self.members.iter().filter(|(id, _)| fits(id)) {
            total += load(id);
            weights += u64::from(*weight);
        }
        let has_room = |id: &&NodeId| {
            let at = self.members.binary_search_by(|(member, _)| member.cmp(id));
            let weight = at.map_or(1, |at| u64::from(self.members[at].1));
            let share = total as f64 * weight as f64 / weights.max(1) as f64;
            load(id) < ((share * BOUND).ceil() as u64).max(free)
        };
        let (mut first, last): (Vec<_>, Vec<_>) =
            self.successors(key).filter(|id| fits(id)).partition(has_room);
        first.extend(last);
        first
    }

    fn first_point(&self, key: &[u8]) -> usize {
        let hash = xxh3_64(key);
        self.points.partition_point(|(position, _)| *position < hash)
    }

    /// All members in the order in which they would own `key`: the owner first, each member once.
    pub fn successors(&self, key: &[u8]) -> impl Iterator<Item = &NodeId> {
        let start = self.first_point(key);
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
    fn with_bounded_load_nobody_has_more_than_a_quarter_above_its_share() {
        for n in [3, 10, 50] {
            let ids = ids(n);
            let ring = Ring::new(ids.iter().enumerate().map(|(at, id)| (id.clone(), 1 + at as u32 % 2)));
            let mut loads: BTreeMap<&NodeId, u64> = BTreeMap::new();
            // A few keys that are much in use, and many that are not.
            for (at, key) in keys().take(6_000).enumerate() {
                let key = if at % 3 == 0 { [0; 8] } else { key };
                let chosen = ring.bounded(&key, 1, |_| true, |id| loads.get(id).copied().unwrap_or(0))[0];
                *loads.entry(&ids[ids.iter().position(|id| id == chosen).unwrap()]).or_default() += 1;
            }
            let weights: u32 = ring.members().iter().map(|(_, weight)| weight).sum();
            for (id, weight) in ring.members() {
                let share = 6_000.0 * f64::from(*weight) / f64::from(weights);
                let load = loads.get(id).copied().unwrap_or(0);
                assert!(
                    load as f64 <= (1.25 * share).ceil(),
                    "{n} members: {load} where {share} is the share"
                );
            }
        }
    }

    #[test]
    fn as_long_as_nobody_has_too_much_the_bounded_order_is_that_of_the_ring() {
        let ring = ring(&ids(5));
        let order: Vec<_> = ring.successors(b"k").collect();
        assert_eq!(ring.bounded(b"k", 1, |_| true, |_| 0), order);
        let busy = order[0];
        assert_eq!(
            ring.bounded(b"k", 8, |_| true, |id| if id == busy { 7 } else { 0 }),
            order,
            "so much is free"
        );
        let moved = ring.bounded(b"k", 1, |_| true, |id| if id == busy { 7 } else { 0 });
        assert_eq!((&moved[..4], moved[4]), (&order[1..], busy));
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        assert_eq!(Ring::default().owner(b"a"), None);
        assert_eq!(Ring::new([]).successors(b"a").count(), 0);
    }

    proptest! {
        #[test]
        fn a_ring_made_of_another_is_the_same_as_a_new_one(
            before in prop::collection::btree_map(0..12_u8, 1..4_u32, 0..8),
            after in prop::collection::btree_map(0..12_u8, 1..4_u32, 0..8),
        ) {
            let named = |members: BTreeMap<u8, u32>| {
                members.into_iter().map(|(n, weight)| (format!("n{n}").parse().unwrap(), weight))
            };
            let new = Ring::new(named(after.clone()));
            prop_assert_eq!(Ring::new(named(before)).with(named(after)), new);
        }

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
