//! The queue in Redis: tasks, leases and ticks as keys of one hash slot, each step a Lua script.
//!
//! What keeps a promise is one script each: `tick` (a due time is fired once), `claim` and `complete` (an attempt is
//! recorded once), `fence` (no tick of an old revision). Scripts run one after the other on the server, by the
//! server's clock, so two nodes never decide from the same reading.
//!
//! Two connections: one for what must be durable before it is acknowledged, which may wait for replicas, and one for
//! everything else, which must not wait behind that. What an acknowledged change survives is `queue.durability`.

mod batch;
mod codec;
mod error;
mod keys;
mod link;
mod locate;
mod reads;
mod scan;
mod schedules;
mod scripts;
mod server;
mod tasks;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::{Env, UnixMs};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::scan::{ScanCursor, Scanned};
use super::task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use super::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use super::{Claimant, Found, QueueCounts, StoreError, Swept, TaskFilter, TaskQueue};
use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::config::{Durability, RedisUrl};
use batch::Batcher;
use keys::Keys;
use link::Link;
use locate::{Locator, NoConnection};
pub use scripts::{Script, all as scripts};
use server::Demands;

/// How a mesh uses its Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// The mesh: part of every key.
    pub mesh: String,
    /// The id of the database that holds the catalogue: a queue belongs to one.
    pub store_id: String,
    /// What an acknowledged change survives.
    pub durability: Durability,
    /// For `replicated`: how many replicas must have a change before it is acknowledged.
    pub replicas: u32,
    /// How long ended tasks are kept.
    pub keep_tasks: Duration,
    /// How many of them; the oldest go first.
    pub max_kept_tasks: u32,
    /// How long lines of the ledger are kept.
    pub keep_ticks: Duration,
}

/// Why Redis cannot be used, and waiting will not help. Passwords never appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct RedisOpenError {
    url: String,
    reason: String,
}

/// A queue in Redis.
pub struct RedisQueue {
    keys: Keys,
    /// For changes that are acknowledged as durable.
    durable: Arc<Link>,
    /// For everything else.
    quick: Arc<Link>,
    enqueues: Batcher<Vec<NewTask>, Vec<TaskId>>,
    completions: Batcher<tasks::Ending, Completion>,
    ticks: Batcher<TickCommit, Result<TickOutcome, StoreError>>,
    /// The queue and function after which the next claim from all queues begins.
    turn: Mutex<String>,
    /// How many entries were set aside when somebody last looked.
    aside: Mutex<Option<u64>>,
    keep_tasks: Duration,
    max_kept_tasks: u32,
    keep_ticks: Duration,
}

/// Between two attempts of a node that waits for its Redis at the start.
const TRY_AGAIN: Duration = Duration::from_millis(500);

impl RedisQueue {
    /// Connects, waiting for a server that is not there yet.
    ///
    /// # Errors
    /// [`RedisOpenError`]: the server is there and will not do, or the settings are wrong.
    pub async fn open(env: &Env, settings: RedisSettings) -> Result<Self, RedisOpenError> {
        let shown = settings.url.to_string();
        let refused = |reason| RedisOpenError { url: shown.clone(), reason };
        let keys = Keys::of(&settings.mesh);
        let locator = Locator::new(env.clone(), settings.url, keys.prefix().to_owned()).map_err(refused)?;
        let locator = Arc::new(locator);
        let RedisSettings { store_id, durability, replicas, .. } = settings;
        let RedisSettings { keep_tasks, max_kept_tasks, keep_ticks, .. } = settings;
        let demands = Demands { store_id, durability, replicas };
        let link = |demands| Arc::new(Link::new(env.clone(), locator.clone(), demands, keys.clone()));
        // What is read, claimed and renewed waits for no replica, so that none need be there for it.
        let (durable, quick) =
            (link(demands.clone()), link(Demands { durability: Durability::Fast, ..demands }));
        let mut waits = false;
        loop {
            match durable.open().await {
                Ok(()) => break,
                Err(NoConnection::AsItIs(reason)) => return Err(refused(reason)),
                Err(NoConnection::Now(reason)) => {
                    if !std::mem::replace(&mut waits, true) {
                        tracing::warn!(queue = %shown, %reason, "the queue's Redis cannot be reached; this node waits for it");
                    }
                    sleep(TRY_AGAIN).await;
                }
            }
        }
        Ok(Self {
            enqueues: Batcher::start(env, "redis enqueues", tasks::carry_enqueues(durable.clone())),
            ticks: Batcher::start(env, "redis ticks", schedules::carry_ticks(durable.clone())),
            completions: Batcher::start(env, "redis completions", tasks::carry_completions(durable.clone())),
            keys,
            durable,
            quick,
            turn: Mutex::default(),
            aside: Mutex::default(),
            keep_tasks,
            max_kept_tasks,
            keep_ticks,
        })
    }

    /// Closes the connections. What is under way ends as unknown.
    pub async fn close(&self) {
        self.durable.close().await;
        self.quick.close().await;
    }
}

#[async_trait]
impl TaskQueue for RedisQueue {
    async fn now(&self) -> Result<UnixMs, StoreError> {
        self.read_clock().await
    }

    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        self.enqueue_all(tasks).await
    }

    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError> {
        match self.claim_tasks(who, most, lease).await? {
            Found::Tasks(tasks) => Ok(tasks),
            Found::Nothing { .. } => Ok(Vec::new()),
        }
    }

    async fn claim_or_next(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Found, StoreError> {
        self.claim_tasks(who, most, lease).await
    }

    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError> {
        self.renew_leases(leases, lease).await
    }

    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        self.record_end(id, attempt, outcome, log_tail).await
    }

    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError> {
        self.sweep_tasks(most_lost).await
    }

    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        self.reclaim_leases(workers, lease.saturating_sub(silent), most_lost).await
    }

    async fn scan(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        self.scan_keys(from).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.read_task(id).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        self.list_tasks(filter).await
    }

    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.change_state(&scripts::CANCEL, id).await
    }

    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.change_state(&scripts::RETRY, id).await
    }

    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        self.peek(who).await
    }

    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        self.read_counts().await
    }

    fn set_aside(&self) -> Option<u64> {
        *self.aside.lock()
    }

    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.read_schedules().await
    }

    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError> {
        self.read_schedule(schedule).await
    }

    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        self.write_fence(schedule, revision, after).await
    }

    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        commit.check()?;
        self.commit(commit).await
    }

    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        self.read_ticks(schedule, since, until, limit).await
    }
}
