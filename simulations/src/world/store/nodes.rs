//! The node table.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::seeds::Seed;

use super::state::StoreState;
use crate::history::EPOCH;
use crate::world::node::MESH_PORT;

/// One stale row in so many leads to a port where another node is now.
const TAKEN: u16 = 10;

impl StoreState {
    /// Rows of nodes that are gone, the last seen a moment ago and each other one five seconds before.
    pub fn add_stale_nodes(&mut self, count: u16, machines: &[IpAddr]) {
        for number in 0..count {
            let is_taken = number % TAKEN == 0;
            // Of those that are taken, too, each machine has its share.
            let turn = if is_taken { number / TAKEN } else { number };
            let machine = machines[usize::from(turn) % machines.len()];
            let port = if is_taken { MESH_PORT } else { 20_000 + number };
            let node: NodeId = format!("gone-{number}").parse().expect("letters and digits");
            let last_seen = EPOCH.minus(Duration::from_secs(5) * u32::from(number));
            let addr = SocketAddr::new(machine, port);
            self.nodes.insert(node.clone(), Seed { node, generation: Generation(1), addr, last_seen });
        }
    }

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
