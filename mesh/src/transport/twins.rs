//! What a process does that is refused because a member knows another one of its id and generation.
//!
//! The rule stands in [`crate::identity`]. The other one may have died a moment ago, and this process may be its
//! next life, begun with the same generation because a disk lost the last one. So it asks the same member again when
//! a dead one would be known to be dead, and ends only if the member still has the same process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Transport;
use super::hello::LinkError;
use crate::detector::pace::Pace;
use crate::env::OnExit;
use crate::id::ProcessId;
use crate::identity::Taken;

/// The least time after which nobody holds a dead process for alive: a link falls silent in two seconds, which
/// are looked at each second.
const SILENCE: Duration = Duration::from_secs(3);

/// By then a process that has died is held for dead by whoever was linked with it: a probe or two, and a suspicion,
/// which in a mesh of hundreds takes three times the least.
pub(crate) fn dead_within(pace: &Pace) -> Duration {
    (pace.period * 4 + pace.suspicion * 4).max(SILENCE)
}

/// The members that are going to be asked again.
#[derive(Debug)]
pub(super) struct Twins {
    dead_within: Duration,
    doubted_at: Mutex<BTreeSet<SocketAddr>>,
}

impl Twins {
    pub(super) fn new(dead_within: Duration) -> Self {
        Self { dead_within, doubted_at: Mutex::default() }
    }
}

impl Transport {
    /// Whether another process is this node, or may be.
    pub(super) fn may_be_taken(&self) -> bool {
        self.taken.get().is_some() || !self.twins.doubted_at.lock().is_empty()
    }

    /// Whoever is at `addr` knows process `twin` under this node's id and generation.
    pub(super) fn doubt_myself(self: &Arc<Self>, addr: SocketAddr, twin: ProcessId) {
        if !self.twins.doubted_at.lock().insert(addr) {
            return;
        }
        let transport = self.clone();
        let asking_again = async move {
            let pause = tokio::time::sleep(transport.twins.dead_within);
            if transport.closing.run_until_cancelled(pause).await.is_none() {
                // The doubt stays: whoever leaves with it says no goodbye.
                return;
            }
            // Not in turn with other dials: their pause after a failure would answer with the same error.
            let again = transport.dial(addr).await;
            if again.err() == Some(LinkError::TwinIsLinked(twin)) {
                transport.take_identity(Taken::Twin { process: twin });
            }
            transport.twins.doubted_at.lock().remove(&addr);
        };
        self.spawner.spawn("mesh twin", OnExit::Fine, Box::pin(asking_again));
    }
}
