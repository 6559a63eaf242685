//! What a node tells others of tasks: that there is work, and that tasks have ended which they may be waiting for.
//!
//! A lone hint goes at once. While there is much to tell, what comes up within a millisecond goes together: fifty
//! thousand tasks a second must not be as many datagrams, at the sender and at whoever gets them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Clock;
use beatmesh_mesh::id::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gateway::waiters::Waiters;
use crate::notice::{MOST_ENDED, Notice};
use crate::queue::task::TaskId;
use crate::worker::tasks::Ends;

/// Between two hints of one kind.
const GAP: Duration = Duration::from_millis(1);

/// Ends that wait for their turn for one node; more are not told, and whoever waits for them looks by itself.
const MOST_WAITING: usize = 16 * MOST_ENDED;

/// Tells this node's own parts at once, and the others in time.
pub struct Hints {
    me: NodeId,
    mesh: Arc<Mesh>,
    clock: Arc<dyn Clock>,
    bell: Arc<Notify>,
    waiters: Arc<Waiters>,
    work: Mutex<Pace>,
    ends: Mutex<(Pace, BTreeMap<NodeId, Vec<TaskId>>)>,
    /// Rung when something has to wait for its turn.
    later: Notify,
}

/// When the last hint of a kind went out, and whether one waits.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    waits: bool,
}

impl Pace {
    /// There is something to tell: now, or with what else comes up until it is time?
    fn may_go(&mut self, now: Instant) -> bool {
        let may_go = !self.waits && self.last.is_none_or(|last| now.duration_since(last) >= GAP);
        if may_go {
            self.last = Some(now);
        } else {
            self.waits = true;
        }
        may_go
    }

    /// Its turn has come; answers whether there is anything to tell.
    fn turn(&mut self, now: Instant) -> bool {
        self.last = Some(now);
        std::mem::take(&mut self.waits)
    }
}

impl Hints {
    /// `bell` wakes this node's own task runner, `waiters` are its own requests.
    #[must_use]
    pub fn new(mesh: Arc<Mesh>, clock: Arc<dyn Clock>, bell: Arc<Notify>, waiters: Arc<Waiters>) -> Self {
        let me = mesh.view().me.clone();
        let (work, ends, later) = (Mutex::default(), Mutex::default(), Notify::new());
        Self { me, mesh, clock, bell, waiters, work, ends, later }
    }

    /// Tasks are ready, or soon will be.
    pub fn there_is_work(&self) {
        self.bell.notify_one();
        if self.work.lock().may_go(self.clock.now()) {
            self.mesh.notify_all(&Notice::Work.encode());
        } else {
            self.later.notify_one();
        }
    }

    /// Tells in time what could not be told at once, for ever.
    pub async fn tell(self: Arc<Self>) {
        loop {
            self.later.notified().await;
            tokio::time::sleep(GAP).await;
            let now = self.clock.now();
            if self.work.lock().turn(now) {
                self.mesh.notify_all(&Notice::Work.encode());
            }
            let ended = {
                let (pace, ended) = &mut *self.ends.lock();
                pace.turn(now).then(|| std::mem::take(ended))
            };
            for (node, tasks) in ended.into_iter().flatten() {
                for tasks in tasks.chunks(MOST_ENDED) {
                    self.mesh.notify(&node, &Notice::Ended(tasks.to_vec()).encode());
                }
            }
        }
    }
}

impl Ends for Hints {
    fn on_end(&self, task: TaskId, reply_to: &str) {
        self.waiters.ended(task);
        let Ok(node) = reply_to.parse::<NodeId>() else { return };
        if node == self.me {
            return;
        }
        let may_go = {
            let (pace, ended) = &mut *self.ends.lock();
            let may_go = pace.may_go(self.clock.now());
            if !may_go {
                let waiting = ended.entry(node.clone()).or_default();
                if waiting.len() < MOST_WAITING {
                    waiting.push(task);
                }
            }
            may_go
        };
        if may_go {
            self.mesh.notify(&node, &Notice::Ended(vec![task]).encode());
        } else {
            self.later.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
    fn a_lone_hint_goes_at_once_and_a_flood_goes_together() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |us| start + Duration::from_micros(us);
        assert!(pace.may_go(at(0)), "the first one");
        assert!(!pace.may_go(at(100)) && !pace.may_go(at(900)));
        assert!(!pace.may_go(at(1_100)), "one that waits is not overtaken");
        assert!(pace.turn(at(1_200)), "both at once");
        assert!(!pace.turn(at(1_300)), "and no more");
        assert!(!pace.may_go(at(2_000)) && pace.turn(at(3_000)));
        assert!(pace.may_go(at(4_000)), "quiet for long enough");
    }
}
