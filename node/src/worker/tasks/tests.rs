//! What a worker does when the store is slow, away, or of another opinion.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::system::{Ending, SystemClock, SystemEntropy, SystemFiles, SystemNetwork, SystemSpawner};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::*;
use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::entry::Catalogue;
use crate::catalogue::function::Function;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::queue::task::{Attempt, NewTask, Origin, TaskRecord};
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use crate::queue::{Swept, TaskFilter};
use crate::store::sql::{Retention, SqlStore};
use crate::store::{CatalogueStore, EditError};
use crate::worker::runtime::{Ended, Functions};

const DEADLINE: Duration = Duration::from_secs(20);

/// A real store that can be made to misbehave.
struct Wayward {
    inner: Arc<SqlStore>,
    /// Claims wait here after the store has answered.
    claims_held: AtomicBool,
    /// Completions wait here after the store has recorded them.
    completions_held: AtomicBool,
    /// So many completions fail with this.
    failing: Mutex<Option<(u32, StoreError)>>,
    /// Renewals never answer.
    renewals_hang: AtomicBool,
    catalogue_away: AtomicBool,
    claims: AtomicU32,
    completions: AtomicU32,
    renewals: AtomicU32,
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
    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<(), StoreError> {
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
    async fn next_ready(&self, queues: &[QueueName]) -> Result<Option<Duration>, StoreError> {
        self.inner.next_ready(queues).await
    }
    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.inner.schedule_states().await
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
    async fn put_schedule(
        &self,
        _: &ScheduleName,
        _: &crate::catalogue::schedule::Schedule,
        _: Option<u64>,
    ) -> Result<(crate::catalogue::entry::ScheduleEntry, bool), EditError> {
        unreachable!("workers do not edit")
    }
    async fn delete_schedule(&self, _: &ScheduleName, _: Option<u64>) -> Result<(), EditError> {
        unreachable!("workers do not edit")
    }
    async fn enable_schedule(
        &self,
        _: &ScheduleName,
        _: bool,
    ) -> Result<crate::catalogue::entry::ScheduleEntry, EditError> {
        unreachable!("workers do not edit")
    }
}

/// Functions that end when they are told to.
#[derive(Default)]
struct Scripted {
    running: AtomicU32,
    held: AtomicBool,
}

struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Functions for Scripted {
    async fn run(&self, _: Execution, _: tokio::sync::mpsc::Sender<Bytes>) -> Ended {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.running);
        while_set(&self.held).await;
        Ended { result: Ok(()), stderr_tail: String::new() }
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<TaskId>>);

impl Ends for Told {
    fn on_end(&self, task: TaskId, _: &str) {
        self.0.lock().push(task);
    }
}

struct Bench {
    store: Arc<Wayward>,
    functions: Arc<Scripted>,
    told: Arc<Told>,
    bell: Arc<Notify>,
    worker: Arc<Worker>,
    supervisor: Arc<Supervisor>,
    runner: Arc<TaskRunner>,
    env: Env,
    dir: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    async fn new(lease: Duration) -> Self {
        static DIRECTORIES: AtomicU32 = AtomicU32::new(0);
        let n = DIRECTORIES.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("beatmesh-tasks-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let handle = tokio::runtime::Handle::current();
        let spawner = Arc::new(SystemSpawner::new(handle, Ending::default()));
        let env = Env {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(SystemNetwork),
            files: Arc::new(SystemFiles),
            spawner: spawner.clone(),
            mesh_spawner: spawner,
        };
        let day = Duration::from_secs(86_400);
        let url = format!("sqlite://{}", dir.join("t.db").display());
        let inner = SqlStore::open(&env, &url, Retention { tasks: day, ticks: day }).await.unwrap();
        let noop = serde_json::json!({"runtime": "builtin", "handler": "noop"});
        inner
            .put_function(&"f".parse().unwrap(), &serde_json::from_value(noop).unwrap(), None)
            .await
            .unwrap();
        let store = Arc::new(Wayward {
            inner: Arc::new(inner),
            claims_held: AtomicBool::new(false),
            completions_held: AtomicBool::new(false),
            failing: Mutex::default(),
            renewals_hang: AtomicBool::new(false),
            catalogue_away: AtomicBool::new(false),
            claims: AtomicU32::new(0),
            completions: AtomicU32::new(0),
            renewals: AtomicU32::new(0),
        });
        let (functions, told, bell) =
            (Arc::new(Scripted::default()), Arc::new(Told::default()), Arc::new(Notify::new()));
        let catalogue = Arc::new(CatalogueCache::new(store.clone()));
        let worker = Arc::new(Worker::new(functions.clone(), catalogue, 4, 1_000_000));
        let supervisor = Arc::new(Supervisor::new(store.clone(), env.clock.clone(), lease));
        let runner = TaskRunner::new(TaskRunnerParts {
            env: env.clone(),
            worker: worker.clone(),
            queue: store.clone(),
            supervisor: supervisor.clone(),
            claimant: Claimant { node: "n".to_owned(), queues: vec![QueueName::default()] },
            result_limit: 1_000,
            ends: told.clone(),
            bell: bell.clone(),
        });
        Self { store, functions, told, bell, worker, supervisor, runner, env, dir }
    }

    fn start(&self) {
        self.env.spawner.spawn("claims", OnExit::Fine, Box::pin(self.runner.clone().run()));
        self.env.spawner.spawn("leases", OnExit::Fine, Box::pin(self.supervisor.clone().renew_all()));
    }

    async fn enqueue(&self, n: u128, change: impl FnOnce(&mut NewTask)) -> TaskId {
        let mut task = NewTask {
            id: TaskId(Uuid::from_u128(n)),
            function: "f".parse().unwrap(),
            queue: QueueName::default(),
            priority: 0,
            input: Bytes::new(),
            content_type: String::new(),
            delay: Duration::ZERO,
            expires: None,
            retries: 0,
            origin: Origin::Api,
            reply_to: String::new(),
        };
        change(&mut task);
        let id = task.id;
        self.store.enqueue(vec![task]).await.unwrap();
        id
    }

    async fn task(&self, id: TaskId) -> TaskRecord {
        self.store.task(id).await.unwrap().unwrap()
    }

    async fn becomes(&self, id: TaskId, state: TaskState) {
        let wait = async {
            while self.task(id).await.state != state {
                sleep(Duration::from_millis(3)).await;
            }
        };
        let last = timeout(DEADLINE, wait).await;
        assert!(last.is_ok(), "{state:?} was expected: {:?}", self.task(id).await);
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_claim_on_its_way_at_a_stop_is_waited_for_and_given_back() {
    let bench = Bench::new(LEASE).await;
    let id = bench.enqueue(1, |_| {}).await;
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(id, TaskState::Leased).await;
    bench.worker.stop_taking();
    let finishing = bench.runner.finish(DEADLINE);
    let release = async {
        sleep(Duration::from_millis(50)).await;
        bench.store.claims_held.store(false, Ordering::SeqCst);
    };
    tokio::join!(finishing, release);
    let task = bench.task(id).await;
    assert_eq!((task.state, task.lost_leases), (TaskState::Ready, 0), "another node runs it at once");
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_idle_worker_stops_at_once() {
    let bench = Bench::new(LEASE).await;
    bench.start();
    sleep(Duration::from_millis(50)).await;
    let before = bench.env.clock.now();
    bench.worker.stop_taking();
    bench.runner.finish(DEADLINE).await;
    assert!(bench.env.clock.now() - before < Duration::from_millis(300), "its sleep is cut short");
}

#[tokio::test]
async fn what_runs_at_the_end_of_the_budget_is_given_back() {
    let bench = Bench::new(LEASE).await;
    bench.functions.held.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    eventually("it runs", || bench.functions.running.load(Ordering::SeqCst) == 1).await;
    bench.worker.stop_taking();
    bench.runner.finish(Duration::from_millis(50)).await;
    assert_eq!(bench.functions.running.load(Ordering::SeqCst), 0, "it was stopped");
    assert_eq!(bench.task(id).await.state, TaskState::Ready);
}

#[tokio::test]
async fn an_end_is_reported_until_the_store_has_it() {
    for error in [StoreError::Unavailable("planted".into()), StoreError::Unknown("planted".into())] {
        let bench = Bench::new(LEASE).await;
        *bench.store.failing.lock() = Some((2, error.clone()));
        let id = bench.enqueue(1, |_| {}).await;
        bench.start();
        bench.becomes(id, TaskState::Done).await;
        eventually("every failure was met", || bench.store.failing.lock().as_ref().unwrap().0 == 0).await;
        bench.worker.stop_taking();
        bench.runner.finish(DEADLINE).await;
        assert_eq!(bench.task(id).await.attempts, 1, "{error:?}");
        assert_eq!(*bench.told.0.lock(), [id], "{error:?}: who waits is told");
    }
}

#[tokio::test]
async fn a_result_that_the_store_refuses_is_a_failure_and_not_an_endless_effort() {
    let bench = Bench::new(LEASE).await;
    *bench.store.failing.lock() = Some((1, StoreError::Refused("planted".into())));
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Failed).await;
    assert!(bench.task(id).await.error.unwrap().to_string().contains("planted"));
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn an_end_that_is_recorded_while_its_lease_is_renewed_is_told() {
    let bench = Bench::new(Duration::from_millis(300)).await;
    bench.store.completions_held.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Done).await;
    // The store has it, this node does not know yet, and a renewal finds no lease any more.
    let before = bench.store.renewals.load(Ordering::SeqCst);
    eventually("renewals", || bench.store.renewals.load(Ordering::SeqCst) >= before + 2).await;
    bench.store.completions_held.store(false, Ordering::SeqCst);
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn an_end_is_recorded_even_past_the_lease_if_nobody_else_has_the_task() {
    let bench = Bench::new(Duration::from_millis(150)).await;
    // Six tries take longer than the lease, and no renewal comes through.
    *bench.store.failing.lock() = Some((4, StoreError::Unavailable("planted".into())));
    bench.store.renewals_hang.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Done).await;
    assert_eq!(bench.task(id).await.attempts, 1);
    eventually("who waits is told", || *bench.told.0.lock() == [id]).await;
}

#[tokio::test]
async fn a_task_is_stopped_when_its_lease_ends_and_not_when_a_renewal_gives_up() {
    let lease = Duration::from_millis(900);
    let bench = Bench::new(lease).await;
    bench.functions.held.store(true, Ordering::SeqCst);
    bench.store.renewals_hang.store(true, Ordering::SeqCst);
    bench.enqueue(1, |_| {}).await;
    bench.start();
    eventually("it runs", || bench.functions.running.load(Ordering::SeqCst) == 1).await;
    let began = bench.env.clock.now();
    eventually("it is stopped", || bench.functions.running.load(Ordering::SeqCst) == 0).await;
    let ran = bench.env.clock.now() - began;
    assert!(ran <= lease + Duration::from_millis(120), "{ran:?}: another worker may have it by now");
    assert!(ran > lease / 2, "{ran:?}: it had time left");
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_fail_a_task() {
    let bench = Bench::new(LEASE).await;
    bench.store.catalogue_away.store(true, Ordering::SeqCst);
    let id = bench.enqueue(1, |_| {}).await;
    bench.start();
    bench.becomes(id, TaskState::Leased).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.task(id).await.state, TaskState::Leased, "nobody can say that there is no function");
    bench.store.catalogue_away.store(false, Ordering::SeqCst);
    bench.becomes(id, TaskState::Done).await;
    let unknown = bench.enqueue(2, |task| task.function = "missing".parse().unwrap()).await;
    bench.bell.notify_one();
    bench.becomes(unknown, TaskState::Failed).await;
}

#[tokio::test]
async fn a_bell_rung_during_a_claim_is_heard() {
    let bench = Bench::new(LEASE).await;
    let first = bench.enqueue(1, |_| {}).await;
    bench.store.claims_held.store(true, Ordering::SeqCst);
    bench.start();
    bench.becomes(first, TaskState::Leased).await;
    let second = bench.enqueue(2, |_| {}).await;
    bench.bell.notify_one();
    let before = bench.env.clock.now();
    bench.store.claims_held.store(false, Ordering::SeqCst);
    bench.becomes(second, TaskState::Done).await;
    assert!(bench.env.clock.now() - before < POLL / 2, "not by the slow poll");
}

#[tokio::test]
async fn expired_tasks_do_not_keep_a_worker_awake() {
    let bench = Bench::new(LEASE).await;
    for n in 0..20 {
        bench.enqueue(n, |task| task.expires = Some(Duration::from_millis(1))).await;
    }
    sleep(Duration::from_millis(10)).await;
    bench.start();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.store.claims.load(Ordering::SeqCst), 0, "no lock is taken to find nothing");
    let live = bench.enqueue(99, |_| {}).await;
    bench.bell.notify_one();
    bench.becomes(live, TaskState::Done).await;
}
