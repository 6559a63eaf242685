//! What becomes of fired ticks: nodes claim their tasks, run them, and end them under the queue's rules of
//! leases and attempts. Nodes die with leases in hand, and some executions outlive theirs.

use std::time::Duration;

use beatmesh_node::queue::Claimant;
use beatmesh_node::queue::task::{Attempt, Completion, TaskId, TaskOutcome};
use bytes::Bytes;

use super::mesh::{CoreMesh, Happening};
use super::script;

/// Shorter than a node's, so that runs of a minute see leases lost and taken up again.
const LEASE: Duration = Duration::from_secs(3);

/// Between two sweeps, each followed by a claim: the net below the bells.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// So many leases nobody loses by bad luck; who does, has met a bug.
const MOST_LOST: u32 = 20;

/// Free slots of whoever claims.
const SLOTS: u32 = 16;

impl CoreMesh {
    /// Somebody hears that there is work.
    pub(super) fn ring_bell(&mut self) {
        let node = self.somebody();
        let way = script::way(&mut self.dice);
        self.heap.push_in(way, Happening::Claims { node, life: self.life(node) });
    }

    pub(super) fn claim(&mut self, node: usize, life: u32) {
        if !self.lives(node, life) {
            return;
        }
        let who = Claimant::new(self.name(node));
        for claimed in self.store.claim(self.heap.now(), &who, SLOTS, LEASE) {
            let (task, attempt) = (claimed.id, claimed.attempt);
            let runs = script::execution(&mut self.dice);
            self.heap.push_in(runs, Happening::Ended { node, life, task, attempt });
        }
    }

    pub(super) fn complete(&mut self, node: usize, life: u32, task: TaskId, attempt: Attempt) {
        if !self.lives(node, life) {
            return;
        }
        let outcome = TaskOutcome::Done { output: Bytes::new(), content_type: String::new() };
        if self.store.complete(self.heap.now(), task, attempt, outcome) == Completion::Stale {
            self.stale += 1;
        }
    }

    pub(super) fn sweep(&mut self) {
        self.store.sweep(self.heap.now(), MOST_LOST);
        self.ring_bell();
        self.heap.push_in(SWEEP_EVERY, Happening::Sweep);
    }
}
