//! One node's client of the store: the traits that production implements over SQL.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::seeds::{Seed, SeedError, SeedList};
use beatmesh_node::catalogue::entry::{Catalogue, FunctionEntry, QueueEntry, ScheduleEntry, Switch};
use beatmesh_node::catalogue::function::Function;
use beatmesh_node::catalogue::name::{FunctionName, QueueName, ScheduleName};
use beatmesh_node::catalogue::queue::Queue;
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::queue::scan::{ScanCursor, Scanned};
use beatmesh_node::queue::task::{
    Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState,
};
use beatmesh_node::queue::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use beatmesh_node::queue::{Claimant, QueueCounts, StoreError, Swept, TaskFilter, TaskQueue};
use beatmesh_node::store::{CatalogueStore, EditError};
use tokio::sync::oneshot;

use super::host::StoreHost;
use super::line::{Line, Way};
use super::state::StoreState;

/// A client gives a silent store up after this: as long as SQLite waits for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client on one node.
pub struct StoreClient {
    id: String,
    host: Arc<StoreHost>,
    line: Arc<Line>,
}

/// What silence means.
#[derive(Clone, Copy)]
enum Asked {
    /// Nothing changed, whatever happened.
    Read,
    /// It may have been done.
    Change,
}

impl StoreClient {
    /// A client of the store with this id, whose requests travel on this line.
    #[must_use]
    pub fn new(id: &str, host: Arc<StoreHost>, line: Arc<Line>) -> Self {
        Self { id: id.to_owned(), host, line }
    }

    async fn read<T: Send + 'static>(
        &self,
        request: impl FnOnce(&StoreState) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Asked::Read, move |state| request(state)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut StoreState) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Asked::Change, request).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        asked: Asked,
        request: impl FnOnce(&mut StoreState) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (way, is_botched) = match self.line.there() {
            Way::Arrives(way) => (way, false),
            Way::Botched(way) => (way, true),
            Way::Refused { .. } => return Err(StoreError::Unavailable("it refuses connections".to_owned())),
            Way::Silence => {
                tokio::time::sleep(PATIENCE).await;
                return Err(StoreError::Unavailable("no connection in time".to_owned()));
            }
        };
        let (answer, answered) = oneshot::channel();
        self.host.send(
            way,
            // Who asked may be gone; what was asked is done.
            Box::new(move |state| drop(answer.send(request(state)))),
        );
        let silent = |_| StoreError::Unknown("the store has ended".to_owned());
        let answer = answered.await.map_err(silent)?;
        match (self.line.back(), asked) {
            (_, Asked::Read) if is_botched => Err(StoreError::Unavailable("it made an error".to_owned())),
            (_, Asked::Change) if is_botched => Err(StoreError::Unknown("it made an error".to_owned())),
            (Some(way), _) => {
                tokio::time::sleep(way).await;
                Ok(answer)
            }
            (None, Asked::Read) => {
                tokio::time::sleep(PATIENCE).await;
                Err(StoreError::Unavailable("no answer in time".to_owned()))
            }
            (None, Asked::Change) => {
                tokio::time::sleep(PATIENCE).await;
                Err(StoreError::Unknown("no answer in time".to_owned()))
            }
        }
    }
}

#[async_trait]
impl TaskQueue for StoreClient {
    async fn now(&self) -> Result<UnixMs, StoreError> {
        self.read(|state| state.now).await
    }

    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        self.change(move |state| state.enqueue(tasks)).await
    }

    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError> {
        let who = who.clone();
        self.change(move |state| state.claim(&who, most, lease)).await
    }

    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError> {
        let leases = leases.to_vec();
        self.change(move |state| state.renew(&leases, lease)).await
    }

    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        self.change(move |state| state.complete(id, attempt, outcome, log_tail)).await
    }

    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError> {
        self.change(move |state| state.sweep(most_lost)).await
    }

    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        let (workers, left) = (workers.to_vec(), lease.saturating_sub(silent));
        self.change(move |state| state.reclaim(&workers, left, most_lost)).await
    }

    /// Its tasks are values in one map, which cannot disagree with themselves.
    async fn scan(&self, _: ScanCursor) -> Result<Scanned, StoreError> {
        self.read(|_| Scanned::default()).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.read(move |state| state.task(id).cloned()).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        let filter = filter.clone();
        self.read(move |state| state.list(&filter)).await
    }

    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.change(move |state| state.cancel(id)).await
    }

    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.change(move |state| state.retry(id)).await
    }

    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        let who = who.clone();
        self.read(move |state| state.next_ready(&who)).await
    }

    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        self.read(|state| state.queue_counts()).await
    }

    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.read(|state| state.all_schedules().cloned().collect()).await
    }

    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError> {
        let schedule = schedule.clone();
        self.read(move |state| state.all_schedules().find(|state| state.schedule == schedule).cloned()).await
    }

    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        let (schedule, after) = (schedule.clone(), after.cloned());
        self.change(move |state| state.fence_again(&schedule, revision, after.as_ref())).await
    }

    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        commit.check()?;
        self.change(move |state| state.commit_tick(&commit)).await
    }

    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        let schedule = schedule.clone();
        self.read(move |state| state.read_ticks(&schedule, since, until, limit)).await
    }
}

#[async_trait]
impl CatalogueStore for StoreClient {
    fn id(&self) -> &str {
        &self.id
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        StoreClient::read(self, |state| state.catalogue.revision).await
    }

    async fn read(&self) -> Result<Catalogue, StoreError> {
        StoreClient::read(self, |state| state.catalogue.clone()).await
    }

    async fn put_function(
        &self,
        name: &FunctionName,
        definition: &Function,
        expected: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError> {
        let (name, definition) = (name.clone(), definition.clone());
        self.change(move |state| state.put_function(name, definition, expected)).await?
    }

    async fn delete_function(&self, name: &FunctionName, expected: Option<u64>) -> Result<(), EditError> {
        let name = name.clone();
        self.change(move |state| state.delete_function(&name, expected)).await?
    }

    async fn put_queue(
        &self,
        name: &QueueName,
        definition: &Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError> {
        let (name, definition) = (name.clone(), definition.clone());
        self.change(move |state| state.put_queue(name, definition, expected)).await?
    }

    async fn delete_queue(&self, name: &QueueName, expected: Option<u64>) -> Result<(), EditError> {
        let name = name.clone();
        self.change(move |state| state.delete_queue(&name, expected)).await?
    }

    async fn put_schedule(
        &self,
        name: &ScheduleName,
        definition: &Schedule,
        expected: Option<u64>,
    ) -> Result<(ScheduleEntry, bool), EditError> {
        let (name, definition) = (name.clone(), definition.clone());
        self.change(move |state| state.put_schedule(name, definition, expected)).await?
    }

    async fn delete_schedule(&self, name: &ScheduleName, expected: Option<u64>) -> Result<u64, EditError> {
        let name = name.clone();
        self.change(move |state| state.delete_schedule(&name, expected)).await?
    }

    async fn switch_schedule(&self, name: &ScheduleName, switch: Switch) -> Result<ScheduleEntry, EditError> {
        let name = name.clone();
        self.change(move |state| state.switch_schedule(&name, switch)).await?
    }
}

#[async_trait]
impl SeedList for StoreClient {
    async fn read(&self, limit: u32) -> Result<Vec<Seed>, SeedError> {
        StoreClient::read(self, move |state| state.read_nodes(limit)).await.map_err(seed_error)
    }

    async fn announce(
        &self,
        node: &NodeId,
        generation: Generation,
        addr: SocketAddr,
    ) -> Result<(), SeedError> {
        let node = node.clone();
        self.change(move |state| state.announce(node, generation, addr)).await.map_err(seed_error)
    }

    async fn withdraw(&self, node: &NodeId, generation: Generation) -> Result<(), SeedError> {
        let node = node.clone();
        self.change(move |state| state.withdraw(&node, generation)).await.map_err(seed_error)
    }

    async fn prune(&self) -> Result<(), SeedError> {
        // No simulated run lasts a day.
        Ok(())
    }
}

fn seed_error(error: StoreError) -> SeedError {
    SeedError(error.to_string())
}
