//! What the ring makes of a departure, and how even it is: the real ring, every member of weight 1.

use std::collections::BTreeMap;

use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::ring::Ring;

use super::{Book, Setting};

const KEYS: u64 = 100_000;
/// Members that leave, one at a time.
const LEAVERS: usize = 10;

/// Keys moved, as a multiple of 1/N: the mean over all leavers is 1 in any fair ring.
const MOST_MOVED: f64 = 1.1;

pub(super) fn play(book: &mut Book, setting: &Setting, seed: u64) {
    let count = setting.nodes;
    let ids: Vec<NodeId> =
        (0..count).map(|n| format!("node-{seed}-{n}").parse().expect("letters and digits")).collect();
    let ring =
        |but: Option<&NodeId>| Ring::new(ids.iter().filter(|id| Some(*id) != but).map(|id| (id.clone(), 1)));
    let whole = ring(None);
    let owners: Vec<&NodeId> = (0..KEYS).map(|key| owner(&whole, key)).collect();
    let mut load = BTreeMap::new();
    owners.iter().for_each(|owner| *load.entry(*owner).or_insert(0_u64) += 1);
    let most = load.into_values().max().unwrap_or(0);
    book.value("the ring: busiest member", setting, "of 1/N", most as f64 * count as f64 / KEYS as f64, None);
    let leavers = ids.iter().step_by((count / LEAVERS).max(1));
    let (mut moved, mut others, mut left) = (0, 0, 0);
    for leaver in leavers {
        let without = ring(Some(leaver));
        let changed = (0..KEYS)
            .filter(|key| owner(&without, *key) != owners[*key as usize])
            .map(|key| owners[key as usize]);
        let (its_own, of_others): (Vec<_>, Vec<_>) = changed.partition(|owner| *owner == leaver);
        (moved, others, left) = (moved + its_own.len(), others + of_others.len(), left + 1);
    }
    let share = moved as f64 * count as f64 / (KEYS as f64 * f64::from(left));
    book.value("the ring: keys moved by a leave, mean", setting, "of 1/N", share, Some(MOST_MOVED));
    book.rare(
        "the ring: keys moved that were others'",
        setting,
        (others, KEYS * u64::from(left as u32)),
        Some(0.0),
    );
}

fn owner(ring: &Ring, key: u64) -> &NodeId {
    ring.owner(&key.to_le_bytes()).expect("somebody is there")
}
