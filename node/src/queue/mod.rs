//! The queue's store: tasks, leases, and the ledger of ticks.
//!
//! Safety lives here. Every rule that must hold when nodes disagree is one atomic step of a
//! [`TaskQueue`]; everything above it may be wrong, slow or doubled.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod counted;
pub mod fair;
pub mod order;
pub mod redis;
pub mod scan;
pub mod taking;
pub mod task;
pub mod tick;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;

use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use fair::Passes;
use order::OrderKey;
use scan::{ScanCursor, Scanned};
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
    /// Only with this order key; of any function, unless one is named.
    pub order_key: Option<OrderKey>,
    /// At most so many, newest first; at most [`MOST_LISTED`].
    pub limit: u32,
}

/// Who claims, and what it has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The node's id.
    pub node: String,
    /// The queues it takes from; all of them when empty.
    pub queues: Vec<QueueName>,
    /// Of each of these functions it takes no more tasks in one claim than this, of others any number.
    pub at_most: BTreeMap<FunctionName, u32>,
    /// Of the inputs, in bytes: a claim ends before they are longer together, but never before its first
    /// task.
    pub input_bytes: u64,
    /// A task that has lost so many leases is a suspect: perhaps it is what takes down its workers.
    pub suspect_from: u32,
    /// In which order its queues are served.
    pub passes: Passes,
    /// Of how many tasks of a queue or function may run in the whole mesh; the others have no limit.
    pub limits: Limits,
    /// Whether it takes a suspect, of which a claim never brings more than one: of several that run on one
    /// node, the one that takes it down would spend the others' leases together with its own.
    pub takes_suspect: bool,
}

/// How many tasks may run at the same time in the whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of a function.
    pub functions: BTreeMap<FunctionName, u32>,
    /// Of a queue.
    pub queues: BTreeMap<QueueName, u32>,
}

impl Limits {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.queues.is_empty()
    }
}

/// From how many lost leases on a task is a suspect, when it may lose `max_lost_leases`: it has lost more
/// than half of them. Not from the first on, for a node that is killed makes no suspects of what it ran;
/// and early enough that an innocent task has several left with which to run apart from a guilty one.
#[must_use]
pub fn suspect_from(max_lost_leases: u32) -> u32 {
    max_lost_leases / 2 + 1
}

/// Functions that a store need not even look at for a claimant; the tasks of further ones are seen and
/// not taken. It bounds what a store is asked.
pub const MOST_LEFT_OUT: usize = 128;

impl Claimant {
    /// It takes whatever there is, from all queues, and suspects nothing.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            queues: Vec::new(),
            at_most: BTreeMap::new(),
            input_bytes: u64::MAX,
            suspect_from: u32::MAX,
            passes: Passes::default(),
            limits: Limits::default(),
            takes_suspect: true,
        }
    }

    /// Whether a task that has lost so many leases is a suspect.
    #[must_use]
    pub fn suspects(&self, lost_leases: u32) -> bool {
        lost_leases >= self.suspect_from
    }

    /// The functions of which it takes none, at most [`MOST_LEFT_OUT`] of them.
    pub fn left_out(&self) -> impl Iterator<Item = &FunctionName> {
        let none = self.at_most.iter().filter(|(_, most)| **most == 0);
        none.map(|(function, _)| function).take(MOST_LEFT_OUT)
    }
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

/// What a look for work brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// At least one, unless this version can read none of those that it took.
    Tasks(Vec<Claimed>),
    /// Nothing now.
    Nothing {
        /// How long until there may be something; `None` when nothing waits.
        next_in: Option<Duration>,
    },
}

/// Something was ready, and others took it first, or it had expired: look again soon, but not at once.
const TAKEN_BY_OTHERS: Duration = Duration::from_millis(50);

/// How many tasks of one queue there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// By state; a state that is missing has none. Of those that have ended, those that are still kept.
    pub tasks: BTreeMap<TaskState, u64>,
    /// Since when the oldest of the ready ones waits, as far as the store can tell without looking at all of
    /// them.
    pub oldest_ready: Option<UnixMs>,
}

/// Tasks, leases and ticks in one store. All spans count from the store's clock.
#[async_trait]
pub trait TaskQueue: Send + Sync + 'static {
    /// The store's clock.
    async fn now(&self) -> Result<UnixMs, StoreError>;

    /// Stores the tasks, all or none; when this answers no ids they survive every crash of a node. A task of
    /// the same id and [content](NewTask::same_content) that is there already stays as it is, in whatever
    /// state. Answers the ids under which other tasks are there; then nothing was stored.
    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError>;

    /// Takes up to `most` tasks that may run now and for which `who` has room, best priority first, then
    /// oldest. It may take fewer than there are when some are left out. Of tasks with an order key it takes
    /// those that their [line](order) lets in.
    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError>;

    /// Claims if there is something to claim, else says when there may be. It looks first, because a claim may cost
    /// the others more than a look does (a write lock, say); a store where it does not answers both at once.
    async fn claim_or_next(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Found, StoreError> {
        let next_in = self.next_ready(who).await?;
        if next_in != Some(Duration::ZERO) {
            return Ok(Found::Nothing { next_in });
        }
        let tasks = self.claim(who, most, lease).await?;
        if tasks.is_empty() {
            return Ok(Found::Nothing { next_in: Some(TAKEN_BY_OTHERS) });
        }
        Ok(Found::Tasks(tasks))
    }

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

    /// Takes the leases of dead workers away before they run out: those that nobody has renewed for `silent`, so
    /// that a worker which only seems dead from here, and renews, keeps its own. `lease` is how long leases are.
    /// What they were on counts as lost, for a task that kills its workers looks just like this.
    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError>;

    /// Looks at a bounded piece of what the store holds, from a cursor on (a fresh one begins), and puts right what
    /// disagrees: tasks that nobody would find, or that are found where they are not. A store that is not damaged has
    /// nothing of the kind, whoever else changes it meanwhile.
    async fn scan(&self, from: ScanCursor) -> Result<Scanned, StoreError>;

    /// One task with its result.
    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError>;

    /// Tasks without their results.
    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError>;

    /// Takes a waiting task back, out of its line as well; answers the state it is in afterwards, `None` if there is none.
    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError>;

    /// Makes a failed, dead, cancelled or expired task ready again, at the end of its line if it has an order
    /// key; answers the state afterwards.
    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError>;

    /// How long until `who` may claim a task: zero when it may now, `None` when none waits. What has
    /// expired does not count, nor what `who` leaves out, nor what its line has not let in.
    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError>;

    /// How many tasks there are, by queue; for people.
    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError>;

    /// How many entries that are none of ours it has set aside, as [`TaskQueue::queue_counts`] last saw it; `None` where
    /// nothing is set aside, or nobody has looked.
    fn set_aside(&self) -> Option<u64> {
        None
    }

    /// Where all schedules stand.
    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError>;

    /// Where one schedule stands; `None` when its name was never used. Never by reading all of them: every edit asks.
    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError>;

    /// Makes this revision of a schedule the only one whose ticks may commit, and writes down which due times
    /// that gives up; `after` is what the schedule is from now on, `None` when it was deleted. A schedule
    /// that stands at this revision or a later one stays as it is: the call may be repeated, and a late one
    /// does no harm. A schedule without a standing begins at the present; one that is deleted without a
    /// standing gets none.
    ///
    /// A store that holds the catalogue as well does this within the edit itself; for others it is the second
    /// half of an edit, without which the edit is not acknowledged.
    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError>;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_has_lost_more_than_half_of_the_leases_it_may_lose() {
        for (max_lost_leases, from) in [(0, 1), (1, 1), (2, 2), (5, 3), (6, 4), (u32::MAX, 1 << 31)] {
            assert_eq!(suspect_from(max_lost_leases), from, "of {max_lost_leases}");
        }
        assert!(!Claimant::new("n").suspects(1_000), "unless it is told, a claimant suspects nothing");
    }
}
