//! A worker over a real store that can be made to misbehave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::super::*;
use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::entry::Catalogue;
use crate::catalogue::function::Function;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::queue::scan::{ScanCursor, Scanned};
use crate::queue::task::{Attempt, NewTask, TaskRecord};
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use crate::queue::{QueueCounts, Swept, TaskFilter};
use crate::store::sql::SqlStore;
use crate::store::sql::scratch::{self, Scratch};
use crate::store::{CatalogueStore, EditError};
use crate::worker::runtime::{Ended, Functions};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The longest input, in bytes.
pub(super) const INPUT_LIMIT: u64 = 1 << 20;

/// A real store that can be made to misbehave.
pub(super) struct Wayward {
    pub(super) inner: Arc<SqlStore>,
    /// Claims wait here after the store has answered.
    pub(super) claims_held: AtomicBool,
    /// Completions wait here after the store has recorded them.
    pub(super) completions_held: AtomicBool,
    /// So many completions fail with this.
    pub(super) failing: Mutex<Option<(u32, StoreError)>>,
    /// Renewals never answer.
    pub(super) renewals_hang: AtomicBool,
    pub(super) catalogue_away: AtomicBool,
    /// Lookups that a catalogue which is away has refused.
    pub(super) refused: AtomicU32,
    /// Looks for something ready that have been answered.
    pub(super) looks: AtomicU32,
    pub(super) claims: AtomicU32,
    pub(super) completions: AtomicU32,
    pub(super) renewals: AtomicU32,
}

async fn while_set(flag: &AtomicBool) {
    while flag.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(2)).await;
    }
}

#[async_trait]
impl TaskQueue for Wayward {
    async fn now(&self) -> Result<UnixMs, StoreError> {
        self.inner.now().await
    }
    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        self.inner.enqueue(tasks).await
    }
    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        let claimed = self.inner.claim(who, most, lease).await;
        while_set(&self.claims_held).await;
        claimed
    }
    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError> {
        while_set(&self.renewals_hang).await;
        let lost = self.inner.renew(leases, lease).await;
        self.renewals.fetch_add(1, Ordering::SeqCst);
        lost
    }
    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        let fault = self.failing.lock().as_mut().filter(|(times, _)| *times > 0).map(|(times, error)| {
            *times -= 1;
            error.clone()
        });
        // The most unpleasant unknown outcome: it was done.
        if let Some(error) = &fault
            && !matches!(error, StoreError::Unknown(_))
        {
            return Err(error.clone());
        }
        let completed = self.inner.complete(id, attempt, outcome, log_tail).await;
        self.completions.fetch_add(1, Ordering::SeqCst);
        while_set(&self.completions_held).await;
        fault.map_or(completed, Err)
    }
    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError> {
        self.inner.sweep(most_lost).await
    }
    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        self.inner.reclaim(workers, lease, silent, most_lost).await
    }
    async fn scan(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        self.inner.scan(from).await
    }
    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.inner.task(id).await
    }
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        self.inner.tasks(filter).await
    }
    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.inner.cancel(id).await
    }
    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.inner.retry(id).await
    }
    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        let next = self.inner.next_ready(who).await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        next
    }
    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        self.inner.queue_counts().await
    }
    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.inner.schedule_states().await
    }

    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError> {
        self.inner.schedule_state(schedule).await
    }
    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&crate::catalogue::entry::ScheduleEntry>,
    ) -> Result<(), StoreError> {
        self.inner.fence(schedule, revision, after).await
    }
    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        self.inner.commit_tick(commit).await
    }
    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        self.inner.ticks(schedule, since, until, limit).await
    }
}

/// Only what a worker's cache reads.
#[async_trait]
impl CatalogueStore for Wayward {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn revision(&self) -> Result<u64, StoreError> {
        if self.catalogue_away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unavailable("a planted outage".to_owned()));
        }
        self.inner.revision().await
    }
    async fn read(&self) -> Result<Catalogue, StoreError> {
        self.inner.read().await
    }
    async fn put_function(
        &self,
        _: &FunctionName,
        _: &Function,
        _: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError> {
        unreachable!("workers do not edit")
    }
    async fn delete_function(&self, _: &FunctionName, _: Option<u64>) -> Result<(), EditError> {
        unreachable!("workers do not edit")
    }
    async fn put_queue(
        &self,
        _: &QueueName,
        _: &crate::catalogue::queue::Queue,
        _: Option<u64>,
    ) -> Result<(crate::catalogue::entry::QueueEntry, bool), EditError> {
        unreachable!("workers do not edit")
    }
    async fn delete_queue(&self, _: &QueueName, _: Option<u64>) -> Result<(), EditError> {
        unreachable!("workers do not edit")
    }
    async fn put_schedule(
        &self,
        _: &ScheduleName,
        _: &crate::catalogue::schedule::Schedule,
        _: Option<u64>,
    ) -> Result<(crate::catalogue::entry::ScheduleEntry, bool), EditError> {
        unreachable!("workers do not edit")
    }
    async fn delete_schedule(&self, _: &ScheduleName, _: Option<u64>) -> Result<u64, EditError> {
        unreachable!("workers do not edit")
    }
    async fn switch_schedule(
        &self,
        _: &ScheduleName,
        _: crate::catalogue::entry::Switch,
    ) -> Result<crate::catalogue::entry::ScheduleEntry, EditError> {
        unreachable!("workers do not edit")
    }
}

/// Functions that end when they are told to.
#[derive(Default)]
pub(super) struct Scripted {
    pub(super) running: AtomicU32,
    pub(super) held: AtomicBool,
    /// While set, an execution of `narrow`, which runs once at a time, ends only with a pass.
    pub(super) narrow_held: AtomicBool,
    pub(super) narrow_passes: AtomicU32,
}

impl Scripted {
    async fn pass(&self) {
        let take = |passes: u32| passes.checked_sub(1);
        while self.narrow_held.load(Ordering::SeqCst)
            && self.narrow_passes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
        {
            sleep(Duration::from_millis(2)).await;
        }
    }
}

struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Functions for Scripted {
    async fn run(&self, execution: Execution, _: tokio::sync::mpsc::Sender<Bytes>) -> Ended {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.running);
        while_set(&self.held).await;
        if execution.function.as_str() == "narrow" {
            self.pass().await;
        }
        Ended { result: Ok(()), stderr_tail: String::new() }
    }
}

#[derive(Default)]
pub(super) struct Told(pub(super) Mutex<Vec<TaskId>>);

impl Ends for Told {
    fn on_end(&self, task: TaskId, _: &str) {
        self.0.lock().push(task);
    }
}

pub(super) struct Bench {
    pub(super) store: Arc<Wayward>,
    pub(super) functions: Arc<Scripted>,
    pub(super) told: Arc<Told>,
    pub(super) bell: Arc<Notify>,
    pub(super) worker: Arc<Worker>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) runner: Arc<TaskRunner>,
    pub(super) env: Env,
    _scratch: Scratch,
}

impl Bench {
    pub(super) async fn new(lease: Duration) -> Self {
        let (scratch, env) = (Scratch::new(), scratch::here());
        let inner = scratch::open(&scratch.0).await;
        for (name, concurrency) in [("f", None), ("narrow", Some(1))] {
            let noop =
                serde_json::json!({"runtime": "builtin", "handler": "noop", "concurrency": concurrency});
            let noop = serde_json::from_value(noop).unwrap();
            inner.put_function(&name.parse().unwrap(), &noop, None).await.unwrap();
        }
        let store = Arc::new(Wayward {
            inner: Arc::new(inner),
            claims_held: AtomicBool::new(false),
            completions_held: AtomicBool::new(false),
            failing: Mutex::default(),
            renewals_hang: AtomicBool::new(false),
            catalogue_away: AtomicBool::new(false),
            refused: AtomicU32::new(0),
            looks: AtomicU32::new(0),
            claims: AtomicU32::new(0),
            completions: AtomicU32::new(0),
            renewals: AtomicU32::new(0),
        });
        let (functions, told, bell) =
            (Arc::new(Scripted::default()), Arc::new(Told::default()), Arc::new(Notify::new()));
        let catalogue = Arc::new(CatalogueCache::new(store.clone()));
        let worker = Arc::new(Worker::new("n", functions.clone(), catalogue, 4, 1_000_000));
        let supervisor = Arc::new(Supervisor::new(store.clone(), env.clock.clone(), lease));
        let runner = TaskRunner::new(TaskRunnerParts {
            env: env.clone(),
            worker: worker.clone(),
            queue: store.clone(),
            supervisor: supervisor.clone(),
            claimant: Claimant { queues: vec![QueueName::default()], suspect_from: 1, ..Claimant::new("n") },
            input_limit: INPUT_LIMIT,
            result_limit: 1_000,
            ends: told.clone(),
            bell: bell.clone(),
        });
        Self { store, functions, told, bell, worker, supervisor, runner, env, _scratch: scratch }
    }

    pub(super) fn start(&self) {
        self.env.spawner.spawn("claims", OnExit::Fine, Box::pin(self.runner.clone().run()));
        self.env.spawner.spawn("leases", OnExit::Fine, Box::pin(self.supervisor.clone().renew_all()));
    }

    pub(super) async fn enqueue(&self, n: u128, change: impl FnOnce(&mut NewTask)) -> TaskId {
        let mut task = NewTask::new(TaskId(Uuid::from_u128(n)), "f".parse().unwrap());
        change(&mut task);
        let id = task.id;
        self.store.enqueue(vec![task]).await.unwrap();
        id
    }

    /// Waits until the worker has looked for something ready `times` more times, and acted on what it saw
    /// each time but the last.
    pub(super) async fn looks(&self, times: u32) {
        let wanted = self.store.looks.load(Ordering::SeqCst) + times;
        eventually("the worker looks", || self.store.looks.load(Ordering::SeqCst) >= wanted).await;
    }

    /// Waits until the store's clock is more than `span` further.
    pub(super) async fn store_clock_passes(&self, span: Duration) {
        let begun = self.store.now().await.unwrap();
        let wait = async { while self.store.now().await.unwrap() <= begun.plus(span) {} };
        timeout(DEADLINE, wait).await.expect("the store's clock goes on");
    }

    pub(super) async fn task(&self, id: TaskId) -> TaskRecord {
        self.store.task(id).await.unwrap().unwrap()
    }

    pub(super) async fn becomes(&self, id: TaskId, state: TaskState) {
        let wait = async {
            while self.task(id).await.state != state {
                sleep(Duration::from_millis(3)).await;
            }
        };
        let last = timeout(DEADLINE, wait).await;
        assert!(last.is_ok(), "{state:?} was expected: {:?}", self.task(id).await);
    }
}

pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}
