//! The queue's store: tasks, leases, and the ledger of ticks.
//!
//! Safety lives here. Every rule that must hold when nodes disagree is one atomic step of a
//! [`TaskQueue`]; everything above it may be wrong, slow or doubled.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod task;
pub mod tick;

use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;

use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed; the same request may be sent again.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// It may or may not have been done. Never treat this as success, nor as failure.
    #[error("the store did not say whether it was done: {0}")]
    Unknown(String),
    /// What the store holds cannot be read by this version, or it refuses for a reason that
    /// repeating does not change.
    #[error("the store refused: {0}")]
    Refused(String),
}

/// The most tasks that are listed at once.
pub const MOST_LISTED: u32 = 1_000;

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only of this function.
    pub function: Option<FunctionName>,
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only of this schedule.
    pub schedule: Option<ScheduleName>,
    /// At most so many, newest first; at most [`MOST_LISTED`].
    pub limit: u32,
}

/// Who claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The node's id.
    pub node: String,
    /// The queues it takes from; all of them when empty.
    pub queues: Vec<QueueName>,
}

/// What happened to tasks whose leases had run out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// They may be claimed again.
    pub returned: Vec<TaskId>,
    /// They lost too many leases.
    pub dead: Vec<TaskId>,
    /// They were not begun in time.
    pub expired: u64,
}

/// Tasks, leases and ticks in one store. All spans count from the store's clock.
#[async_trait]
pub trait TaskQueue: Send + Sync + 'static {
    /// The store's clock.
    async fn now(&self) -> Result<UnixMs, StoreError>;

    /// Stores the tasks, all or none; when this returns `Ok` they survive every crash of a node.
    /// A task whose id is there already stays as it is.
    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<(), StoreError>;

    /// Takes up to `most` tasks that may run now, best priority first, then oldest.
    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError>;

    /// Extends leases; answers those that are lost.
    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError>;

    /// Records how an attempt ended, once, and only for the current attempt.
    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError>;

    /// Returns tasks whose lease has run out, buries those that lost more than `most_lost`, ends
    /// those that expired.
    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError>;

    /// One task with its result.
    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// Tasks without their results.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError>;

    /// Takes a waiting task back; answers the state it is in afterwards, `None` if there is none.
    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError>;

    /// Makes a failed, dead, cancelled or expired task ready again; answers the state afterwards.
    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError>;

    /// How long until a task of these queues (of all, when none is named) may be claimed: zero when one may be now, `None` when none
    /// waits. What has expired does not count.
    async fn next_ready(&self, queues: &[QueueName]) -> Result<Option<Duration>, StoreError>;

    /// Where all schedules stand.
    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError>;

    /// Decides due times: the one step on which "never twice" rests. A commit that fails
    /// [`TickCommit::check`] is refused.
    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError>;

    /// The ledger, newest first: due times in `[since, until)`, at most `limit`.
    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError>;
}
