//! What passes between this node and its queue's store, counted on its way: the store itself and whoever uses it know
//! nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::{Clock, UnixMs};
use prometheus_client::metrics::histogram::Histogram;

use super::scan::{RepairKind, ScanCursor, Scanned};
use super::task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use super::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use super::{Claimant, Found, QueueCounts, StoreError, Swept, TaskFilter, TaskQueue};
use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::{QueueName, ScheduleName};

/// Seconds that a store takes: half a millisecond is a Redis nearby, ten seconds is when callers give up.
const LATENCIES: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// That many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What this node has seen of its queue since it started.
#[derive(Debug)]
pub struct QueueTally {
    /// Tasks that it stored for clients; what the Beat fires is counted as ticks.
    pub enqueued: Count,
    /// Tasks that it was given.
    pub claimed: Count,
    /// Attempts that ended well.
    pub done: Count,
    /// Attempts after which no retry is left.
    pub failed: Count,
    /// Attempts after which a retry follows.
    pub retried: Count,
    /// Tasks that it gave back unfinished.
    pub handed_back: Count,
    /// Ends that came too late: the lease was another's.
    pub stale: Count,
    /// Leases that it found to be lost, those of the dead included.
    pub lost: Count,
    /// Tasks that it put aside because they had lost too many.
    pub dead: Count,
    /// Tasks that it found to be too late.
    pub expired: Count,
    /// By [`RepairKind::ALL`].
    repaired: [Count; RepairKind::ALL.len()],
    /// Requests that the store did not carry out: unavailable, unknown, refused.
    errors: [Count; 3],
    /// How long claims take.
    pub claims: Histogram,
    /// How long it takes to record an end.
    pub completions: Histogram,
}

impl Default for QueueTally {
    fn default() -> Self {
        let zero = Count::default;
        Self {
            enqueued: zero(),
            claimed: zero(),
            done: zero(),
            failed: zero(),
            retried: zero(),
            handed_back: zero(),
            stale: zero(),
            lost: zero(),
            dead: zero(),
            expired: zero(),
            repaired: Default::default(),
            errors: Default::default(),
            claims: Histogram::new(LATENCIES),
            completions: Histogram::new(LATENCIES),
        }
    }
}

impl QueueTally {
    /// Repairs by the names of their kinds.
    #[must_use]
    pub fn repaired(&self) -> [(&'static str, u64); RepairKind::ALL.len()] {
        std::array::from_fn(|at| (RepairKind::ALL[at].as_str(), self.repaired[at].get()))
    }

    /// Requests that failed, by how.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, u64); 3] {
        let [unavailable, unknown, refused] = &self.errors;
        [("unavailable", unavailable.get()), ("unknown", unknown.get()), ("refused", refused.get())]
    }

    fn heard<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &answer {
            let [unavailable, unknown, refused] = &self.errors;
            let which = match error {
                StoreError::Unavailable(_) => unavailable,
                StoreError::Unknown(_) => unknown,
                StoreError::Refused(_) => refused,
            };
            which.add(1);
        }
        answer
    }

    fn swept(&self, answer: Result<Swept, StoreError>) -> Result<Swept, StoreError> {
        if let Ok(Swept { returned, dead, expired }) = &answer {
            self.lost.add((returned.len() + dead.len()) as u64);
            self.dead.add(dead.len() as u64);
            self.expired.add(*expired);
        }
        self.heard(answer)
    }

    fn ended(&self, completion: &Completion) {
        let which = match completion {
            Completion::Stale => &self.stale,
            Completion::Recorded(TaskState::Done) => &self.done,
            Completion::Recorded(TaskState::Retry) => &self.retried,
            Completion::Recorded(TaskState::Ready) => &self.handed_back,
            Completion::Recorded(_) => &self.failed,
        };
        which.add(1);
    }
}

/// A queue whose traffic is counted.
pub struct Counted {
    inner: Arc<dyn TaskQueue>,
    tally: Arc<QueueTally>,
    clock: Arc<dyn Clock>,
}

impl Counted {
    /// Counts into `tally`.
    #[must_use]
    pub fn new(inner: Arc<dyn TaskQueue>, tally: Arc<QueueTally>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, tally, clock }
    }

    async fn timed<T>(&self, latency: &Histogram, asking: impl Future<Output = T>) -> T {
        let asked = self.clock.now();
        let answer = asking.await;
        latency.observe(self.clock.now().saturating_duration_since(asked).as_secs_f64());
        answer
    }
}

#[async_trait]
impl TaskQueue for Counted {
    async fn now(&self) -> Result<UnixMs, StoreError> {
        self.tally.heard(self.inner.now().await)
    }

    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        let count = tasks.len() as u64;
        let answer = self.tally.heard(self.inner.enqueue(tasks).await);
        if answer.as_ref().is_ok_and(Vec::is_empty) {
            self.tally.enqueued.add(count);
        }
        answer
    }

    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError> {
        let claiming = self.inner.claim(who, most, lease);
        let answer = self.tally.heard(self.timed(&self.tally.claims, claiming).await);
        self.tally.claimed.add(answer.as_ref().map_or(0, |claimed| claimed.len() as u64));
        answer
    }

    async fn claim_or_next(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Found, StoreError> {
        let asked = self.clock.now();
        let answer = self.tally.heard(self.inner.claim_or_next(who, most, lease).await);
        // A look that finds nothing is no claim.
        if let Ok(Found::Tasks(tasks)) = &answer {
            let took = self.clock.now().saturating_duration_since(asked);
            self.tally.claims.observe(took.as_secs_f64());
            self.tally.claimed.add(tasks.len() as u64);
        }
        answer
    }

    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError> {
        self.tally.heard(self.inner.renew(leases, lease).await)
    }

    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        let completing = self.inner.complete(id, attempt, outcome, log_tail);
        let answer = self.tally.heard(self.timed(&self.tally.completions, completing).await);
        if let Ok(completion) = &answer {
            self.tally.ended(completion);
        }
        answer
    }

    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError> {
        self.tally.swept(self.inner.sweep(most_lost).await)
    }

    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        self.tally.swept(self.inner.reclaim(workers, lease, silent, most_lost).await)
    }

    async fn scan(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        let answer = self.tally.heard(self.inner.scan(from).await);
        for repair in answer.iter().flat_map(|scanned| &scanned.repaired) {
            self.tally.repaired[repair.kind as usize].add(1);
        }
        answer
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.tally.heard(self.inner.task(id).await)
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        self.tally.heard(self.inner.tasks(filter).await)
    }

    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.tally.heard(self.inner.cancel(id).await)
    }

    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.tally.heard(self.inner.retry(id).await)
    }

    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        self.tally.heard(self.inner.next_ready(who).await)
    }

    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        self.tally.heard(self.inner.queue_counts().await)
    }

    fn set_aside(&self) -> Option<u64> {
        self.inner.set_aside()
    }

    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.tally.heard(self.inner.schedule_states().await)
    }

    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError> {
        self.tally.heard(self.inner.schedule_state(schedule).await)
    }

    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        self.tally.heard(self.inner.fence(schedule, revision, after).await)
    }

    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        self.tally.heard(self.inner.commit_tick(commit).await)
    }

    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        self.tally.heard(self.inner.ticks(schedule, since, until, limit).await)
    }
}
