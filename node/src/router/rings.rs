//! Whether other nodes route by the same ring: each call that comes in carries the fingerprint of its router's ring.
//!
//! For a moment that is so after each change. What lasts is told once for each peer: keys have two owners then, until
//! the two views agree.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Clock;
use beatmesh_mesh::id::NodeId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// News of a member is everywhere within two seconds; a ring that is kept after a mass death differs for longer, and
/// people should know.
const LASTING: Duration = Duration::from_secs(10);

/// Peers that differ at one time and are remembered: more than a mesh has members.
const MOST: usize = 1_024;

/// Compares this node's ring with those of the nodes that call it.
pub struct OtherRings {
    clock: Arc<dyn Clock>,
    /// Filled when the node has joined; calls may come a moment earlier. Weak: the mesh holds the inbox, which holds
    /// this, and would never end.
    mesh: OnceLock<Weak<Mesh>>,
    differing: Mutex<Differing>,
}

impl OtherRings {
    /// Nobody has called yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, mesh: OnceLock::new(), differing: Mutex::default() }
    }

    /// From now on they are compared with the ring of this mesh.
    pub fn compare_with(&self, mesh: &Arc<Mesh>) {
        // The node joins one mesh, once.
        let _ = self.mesh.set(Arc::downgrade(mesh));
    }

    /// A call came that was routed by the ring with this fingerprint.
    pub fn note(&self, from: &NodeId, fingerprint: u64) {
        let Some(mesh) = self.mesh.get().and_then(Weak::upgrade) else { return };
        let same = mesh.view().ring.fingerprint() == fingerprint;
        if let Some(lasting) = self.differing.lock().note(self.clock.now(), from, same) {
            tracing::warn!(peer = %from, ?lasting, "this member routes calls by another ring than this node's: compare `beatmesh members` of both");
        }
    }

    /// How many calls came that were routed by another ring.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.differing.lock().calls
    }
}

#[derive(Debug, Default)]
struct Differing {
    calls: u64,
    /// Since when a peer has differed, and whether that was told.
    peers: BTreeMap<NodeId, (Instant, bool)>,
}

impl Differing {
    /// Answers for how long a peer has differed, when that is worth telling.
    fn note(&mut self, now: Instant, from: &NodeId, same: bool) -> Option<Duration> {
        if same {
            self.peers.remove(from);
            return None;
        }
        self.calls += 1;
        if self.peers.len() >= MOST {
            self.peers.clear();
        }
        let (since, told) = self.peers.entry(from.clone()).or_insert((now, false));
        let lasting = now.saturating_duration_since(*since);
        (lasting >= LASTING && !std::mem::replace(told, lasting >= LASTING)).then_some(lasting)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_and_what_passes_is_not() {
        let (mut differing, now) = (Differing::default(), Instant::now());
        let [a, b]: [NodeId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!(differing.note(now, &a, true), None);
        assert_eq!(differing.note(now, &a, false), None);
        assert_eq!(differing.note(now + LASTING / 2, &a, true), None, "they agree again");
        assert_eq!(differing.note(now + LASTING / 2, &a, false), None);
        assert_eq!(differing.note(now + LASTING, &a, false), None);
        assert_eq!(differing.note(now + LASTING, &b, false), None, "each peer by itself");
        assert_eq!(differing.note(now + LASTING * 2, &a, false), Some(LASTING * 3 / 2));
        assert_eq!(differing.note(now + LASTING * 3, &a, false), None, "told already");
        assert_eq!(differing.calls, 6);
    }

    #[test]
    fn made_up_names_take_bounded_memory() {
        let (mut differing, now) = (Differing::default(), Instant::now());
        for number in 0..3 * MOST {
            differing.note(now, &format!("n{number}").parse().unwrap(), false);
        }
        assert!(differing.peers.len() <= MOST);
    }
}
