//! What each change of the membership does to the ring: how many keys move, and that no other keys move.

use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::ring::Ring;
use beatmesh_node::beat::driver::BEAT_KEY;

use crate::properties::Violation;

/// Keys that are followed, for each member: enough that their number is near their share.
const KEYS_PER_MEMBER: usize = 20;
const MOST_KEYS: usize = 50_000;

/// Keys with which the load is measured at the end, for each member; with fewer the luck of the sample
/// would look like an uneven ring.
const LOAD_PER_MEMBER: usize = 200;
const MOST_LOAD_KEYS: usize = 400_000;

/// Successors whose order is compared.
const COMPARED: usize = 4;

/// The ring as it truly is, and what its changes moved.
pub(super) struct Movement {
    keys: usize,
    /// By key.
    owners: Vec<NodeId>,
    ring: Ring,
    pub(super) changes: u32,
    moved: u64,
    /// Keys that move when every member has an equal share.
    fair: f64,
    pub(super) violations: Vec<Violation>,
}

impl Movement {
    pub(super) fn new(members: Vec<NodeId>) -> Self {
        let keys = (members.len() * KEYS_PER_MEMBER).min(MOST_KEYS);
        let ring = ring(members);
        let owners = (0..keys).map(|key| owner(&ring, key)).collect();
        Self { keys, owners, ring, changes: 0, moved: 0, fair: 0.0, violations: Vec::new() }
    }

    /// One member joined or died. `order` is that of the successors of the Beat's key among all that were
    /// ever members.
    pub(super) fn change(&mut self, members: Vec<NodeId>, changed: &NodeId, order: &[NodeId]) {
        let before = std::mem::replace(&mut self.ring, ring(members));
        let larger = before.members().len().max(self.ring.members().len());
        self.changes += 1;
        self.fair += self.keys as f64 / larger as f64;
        for key in 0..self.keys {
            let new = owner(&self.ring, key);
            let old = std::mem::replace(&mut self.owners[key], new);
            let new = &self.owners[key];
            if old == *new {
                continue;
            }
            self.moved += 1;
            if old != *changed && new != changed {
                let what = format!("key {key} moved from {old} to {new} when {changed} changed");
                self.wrong("R1 only the keys of the changed member move", what);
            }
        }
        let still = order.iter().filter(|node| self.ring.contains(node)).take(COMPARED);
        if !still.eq(self.ring.successors(BEAT_KEY).take(COMPARED)) {
            self.wrong("R2 the order of stand-ins stays", format!("it changed with {changed}"));
        }
    }

    /// Keys moved, as a multiple of 1/N for each change.
    pub(super) fn moved_of_fair(&self) -> f64 {
        if self.fair > 0.0 { self.moved as f64 / self.fair } else { 0.0 }
    }

    /// Keys of the busiest member, as a multiple of the mean.
    pub(super) fn busiest(&self) -> f64 {
        let members = self.ring.members();
        let keys = (members.len() * LOAD_PER_MEMBER).min(MOST_LOAD_KEYS);
        let mut load = vec![0_u32; members.len()];
        for key in 0..keys {
            let owner = self.ring.owner(&key_bytes(key)).expect("somebody is up");
            let index = members.binary_search_by(|(member, _)| member.cmp(owner));
            load[index.expect("owners are members")] += 1;
        }
        let most = load.into_iter().max().unwrap_or(0);
        f64::from(most) * members.len() as f64 / keys as f64
    }

    fn wrong(&mut self, property: &'static str, what: String) {
        self.violations.push(Violation { property, ..Violation::at_the_end(what) });
    }
}

fn ring(members: Vec<NodeId>) -> Ring {
    Ring::new(members.into_iter().map(|id| (id, 1)))
}

fn key_bytes(key: usize) -> [u8; 8] {
    (key as u64).to_le_bytes()
}

fn owner(ring: &Ring, key: usize) -> NodeId {
    ring.owner(&key_bytes(key)).expect("somebody is up").clone()
}
