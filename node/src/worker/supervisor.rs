//! Keeps the leases of running tasks alive, so that functions need not know of leases.
//!
//! A task whose lease is lost, or could not be renewed for the lease's whole length, is stopped: another
//! worker may have it by now, and two executions at once are what a lease is there to prevent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Clock;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::queue::TaskQueue;
use crate::queue::task::{Attempt, TaskId};

/// Two renewals in a row may be lost before a lease is.
const RENEWALS_PER_LEASE: u32 = 3;

/// How often leases are renewed at least. Whoever has not renewed for longer is silent, and when it counts as dead as
/// well, its leases are taken away before they run out.
pub const RENEW_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// The leases that this node holds.
pub struct Supervisor {
    queue: Arc<dyn TaskQueue>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    held: Mutex<BTreeMap<TaskId, Held>>,
}

struct Held {
    attempt: Attempt,
    /// Until then the lease is ours for certain: counted from before it was asked for.
    certain_until: Instant,
    lost: CancellationToken,
    /// The function has ended and its end is on the way to the store, which has the last word.
    is_ending: bool,
}

impl Supervisor {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(queue: Arc<dyn TaskQueue>, clock: Arc<dyn Clock>, lease: Duration) -> Self {
        Self { queue, clock, lease, held: Mutex::default() }
    }

    /// How long a claim is for.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Begins to renew a lease that was asked for at `asked`. The token is cancelled when it is lost.
    #[must_use]
    pub fn hold(&self, task: TaskId, attempt: Attempt, asked: Instant) -> CancellationToken {
        let lost = CancellationToken::new();
        if asked + self.lease <= self.clock.now() {
            // The claim itself took so long that the lease may be over.
            lost.cancel();
        }
        let held = Held { attempt, certain_until: asked + self.lease, lost: lost.clone(), is_ending: false };
        if let Some(old) = self.held.lock().insert(task, held) {
            // The task came back to this node before the loss of its last lease was noticed: two
            // executions at once are what a lease is there to prevent.
            tracing::warn!(%task, attempt = old.attempt.0, "a task came back while its last attempt still runs here; stopping that one");
            old.lost.cancel();
        }
        lost
    }

    /// The function has ended. The lease is renewed until the end is recorded, so that a slow store does
    /// not make others run the task again; that it is lost is no news any more, since a recorded end
    /// looks just like that.
    pub fn ending(&self, task: TaskId, attempt: Attempt) {
        if let Some(mine) = self.held.lock().get_mut(&task).filter(|held| held.attempt == attempt) {
            mine.is_ending = true;
        }
    }

    /// Renews a lease no more: the attempt has ended.
    pub fn release(&self, task: TaskId, attempt: Attempt) {
        let mut held = self.held.lock();
        if held.get(&task).is_some_and(|held| held.attempt == attempt) {
            held.remove(&task);
        }
    }

    /// Renews all leases and stops what has lost its own, for ever.
    pub async fn renew_all(self: Arc<Self>) {
        tokio::join!(self.renew_in_time(), self.stop_in_time());
    }

    async fn renew_in_time(&self) {
        let mut ticks = tokio::time::interval((self.lease / RENEWALS_PER_LEASE).min(RENEW_AT_LEAST_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.renew_once().await;
        }
    }

    /// Beside the renewals, because a store that does not answer holds those up just when it matters.
    async fn stop_in_time(&self) {
        loop {
            let now = self.clock.now();
            let next = self
                .held
                .lock()
                .values()
                .filter(|held| held.is_at_stake())
                .map(|held| held.certain_until)
                .min();
            // Leases that are taken meanwhile run out later than this.
            let longest = now + self.lease / (2 * RENEWALS_PER_LEASE);
            tokio::time::sleep_until(next.map_or(longest, |next| next.min(longest))).await;
            self.stop_expired();
        }
    }

    fn stop_expired(&self) {
        let now = self.clock.now();
        for (id, mine) in self.held.lock().iter() {
            if mine.is_at_stake() && mine.certain_until <= now {
                tracing::warn!(task = %id, "a lease ran out while the store was out of reach; stopping the task");
                mine.lost.cancel();
            }
        }
    }

    async fn renew_once(&self) {
        let leases: Vec<_> = self.held.lock().iter().map(|(id, held)| (*id, held.attempt)).collect();
        if leases.is_empty() {
            return;
        }
        let asked = self.clock.now();
        let renewed =
            tokio::time::timeout(self.lease / RENEWALS_PER_LEASE, self.queue.renew(&leases, self.lease));
        let renewed = renewed.await;
        let mut held = self.held.lock();
        match renewed {
            Ok(Ok(lost)) => {
                for (id, attempt) in leases {
                    match held.get_mut(&id).filter(|held| held.attempt == attempt) {
                        Some(mine) if mine.is_ending => {}
                        Some(mine) if lost.contains(&id) => {
                            tracing::warn!(task = %id, attempt = attempt.0, "the lease of a running task is lost; stopping it");
                            mine.lost.cancel();
                        }
                        Some(mine) => mine.certain_until = asked + self.lease,
                        None => {}
                    }
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, tasks = leases.len(), "leases could not be renewed"),
            Err(_) => tracing::warn!(tasks = leases.len(), "leases could not be renewed in time"),
        }
    }
}

impl Held {
    /// A function runs under it that would have to be stopped.
    fn is_at_stake(&self) -> bool {
        !self.is_ending && !self.lost.is_cancelled()
    }
}
