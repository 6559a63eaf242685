//! The node table.

use std::net::SocketAddr;

use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::seeds::Seed;

use super::state::StoreState;

impl StoreState {
    pub(super) fn read_nodes(&self, limit: u32) -> Vec<Seed> {
        let mut rows: Vec<_> = self.nodes.values().cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.last_seen));
        rows.truncate(limit as usize);
        rows
    }

    pub(super) fn announce(&mut self, node: NodeId, generation: Generation, addr: SocketAddr) {
        if self.nodes.get(&node).is_none_or(|row| row.generation <= generation) {
            let seed = Seed { node: node.clone(), generation, addr, last_seen: self.now };
            self.nodes.insert(node, seed);
        }
    }

    pub(super) fn withdraw(&mut self, node: &NodeId, generation: Generation) {
        if self.nodes.get(node).is_some_and(|row| row.generation <= generation) {
            self.nodes.remove(node);
        }
    }
}
