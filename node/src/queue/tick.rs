//! Due times as values: what the Beat asks the store to commit, and what the ledger keeps.
//!
//! A tick's identity is `(schedule, revision, due)`. The store's cursor says up to which due time a
//! schedule has been decided; a commit names the cursor it read and changes nothing when another node
//! moved it meanwhile. That comparison, not any election, is what makes a double firing impossible.

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::StoreError;
use super::order::Order;
use super::task::{NewTask, Origin, TaskId};
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::schedule::Overlap;

/// A tick committed earlier than its due time by more than this is refused by the store. Clocks of a
/// well-kept machine agree within milliseconds; the Beat aims at the due time itself.
pub const EARLIEST_MS: i64 = 50;

/// The most decisions in one commit, so that one transaction stays short.
pub const MOST_DECISIONS: usize = 256;

/// Where a schedule stands in the queue's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleState {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The revision whose ticks may commit; the fence of an edit.
    pub revision: u64,
    /// Nothing commits while false.
    pub enabled: bool,
    /// The greatest due time that was fired or skipped, or the moment from which on due times are owed:
    /// when the schedule was made, got other times, or was resumed.
    pub cursor: UnixMs,
}

/// What to do with one due time, or with a run of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickDecision {
    /// The due time; of a run the last one. The cursor moves here.
    pub due: UnixMs,
    /// Of a run the first due time.
    pub from: UnixMs,
    /// How many due times the run holds; 1 for a single one.
    pub count: u32,
    /// Fire or skip. A run is always skipped.
    pub verdict: Verdict,
}

/// Fire or skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enqueue its task.
    Fire,
    /// Record why it was not fired.
    Skip(SkipReason),
}

/// Why a due time was not fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// `fire_latest`: a later due time had passed too.
    Superseded,
    /// `fire_all`: more were missed than `misfire_cap`.
    OverMisfireCap,
    /// `skip`: later than `misfire_grace`.
    PastGrace,
    /// The task of an earlier firing had not ended.
    Overlap,
    /// It had passed undecided when the schedule was paused.
    Paused,
    /// It had passed undecided when the schedule got other times.
    Edited,
    /// It had passed undecided when the schedule was deleted.
    Deleted,
    /// `on_store_rollback = "skip"`: it had been decided before the store lost that.
    StoreRolledBack,
}

impl SkipReason {
    /// The name in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::OverMisfireCap => "over_misfire_cap",
            Self::PastGrace => "past_grace",
            Self::Overlap => "overlap",
            Self::Paused => "paused",
            Self::Edited => "edited",
            Self::Deleted => "deleted",
            Self::StoreRolledBack => "store_rolled_back",
        }
    }
}

/// Asks the store to decide due times of one schedule, in one atomic step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickCommit {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The revision whose plan this is.
    pub revision: u64,
    /// The cursor that the plan was made from.
    pub expected_cursor: UnixMs,
    /// In ascending order of due times; at most [`MOST_DECISIONS`].
    pub decisions: Vec<TickDecision>,
    /// What a firing enqueues.
    pub function: FunctionName,
    /// Where it waits.
    pub queue: QueueName,
    /// Its input.
    pub input: Bytes,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// What happens when an earlier firing has not ended.
    pub overlap: Overlap,
    /// The order key of what a firing enqueues, if the schedule names one.
    pub order: Option<Order>,
    /// The node that asks; for the ledger.
    pub node: String,
}

impl TickCommit {
    /// What every store checks before it looks at anything else: due times ascend from the expected
    /// cursor without overlap, and only single ones fire. The check that nothing is early looks at the
    /// last one only, and the cursor goes there; both rest on this order.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the caller is wrong, and nothing changed.
    pub fn check(&self) -> Result<(), StoreError> {
        let refused = |reason: &str| {
            Err(StoreError::Refused(format!("a commit of schedule `{}`: {reason}", self.schedule)))
        };
        if self.decisions.is_empty() || self.decisions.len() > MOST_DECISIONS {
            return refused("it holds no decision, or too many");
        }
        let mut cursor = self.expected_cursor;
        for decision in &self.decisions {
            if decision.from <= cursor || decision.due < decision.from {
                return refused("its due times do not ascend from the cursor");
            }
            let is_single = decision.from == decision.due;
            if decision.count == 0 || is_single != (decision.count == 1) {
                return refused("the count of a decision does not fit its due times");
            }
            if decision.verdict == Verdict::Fire && !is_single {
                return refused("a run of due times cannot fire");
            }
            cursor = decision.due;
        }
        Ok(())
    }

    /// The task that fires the due time `due`: the same one, whichever node and whichever store asks.
    #[must_use]
    pub fn firing(&self, due: UnixMs) -> NewTask {
        NewTask {
            queue: self.queue.clone(),
            content_type: if self.input.is_empty() { String::new() } else { "application/json".to_owned() },
            input: self.input.clone(),
            retries: self.retries,
            origin: Origin::Schedule { schedule: self.schedule.clone(), due },
            order: self.order.clone(),
            ..NewTask::new(tick_task_id(&self.schedule, self.revision, due), self.function.clone())
        }
    }
}

/// What the store says of a [`TickCommit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TickOutcome {
    /// All decisions are recorded; the cursor is at the last one.
    Committed {
        /// The tasks that were enqueued.
        fired: Vec<TaskId>,
    },
    /// Another node was faster, or the schedule was edited, paused or deleted: nothing changed. Here
    /// is where the schedule stands, `None` when it is gone.
    Moved(Option<ScheduleState>),
    /// A due time, that is the last one, lies in the store's future by more than [`EARLIEST_MS`]: nothing
    /// changed. (Looking at the first alone would let a node whose clock is ahead fire early.)
    TooEarly {
        /// The store's clock.
        store_now: UnixMs,
    },
}

/// One line of a schedule's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickRecord {
    /// The due time; of a run the last one.
    pub due: UnixMs,
    /// Of a run the first due time.
    pub from: UnixMs,
    /// How many due times the line stands for.
    pub count: u32,
    /// The schedule's revision whose due times these are.
    pub revision: u64,
    /// Why it was not fired, if it was not.
    pub skipped: Option<String>,
    /// The task, if it was fired.
    pub task: Option<TaskId>,
    /// When, by the store's clock.
    pub committed_at: UnixMs,
    /// Who committed it; empty when an edit did.
    pub node: String,
}

/// The task of a tick: derived from its identity, so that whoever fires it names the same task.
#[must_use]
pub fn tick_task_id(schedule: &ScheduleName, revision: u64, due: UnixMs) -> TaskId {
    let mut hash = Sha256::new();
    hash.update(b"beatmesh tick 1\0");
    hash.update(schedule.as_str().as_bytes());
    hash.update([0]);
    hash.update(revision.to_be_bytes());
    hash.update(due.0.to_be_bytes());
    let digest = hash.finalize();
    TaskId(Uuid::new_v8(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_tick_depends_on_all_of_its_identity() {
        let a: ScheduleName = "a".parse().unwrap();
        let b: ScheduleName = "b".parse().unwrap();
        let id = tick_task_id(&a, 1, UnixMs(1_000));
        assert_eq!(id, tick_task_id(&a, 1, UnixMs(1_000)));
        assert_ne!(id, tick_task_id(&b, 1, UnixMs(1_000)));
        assert_ne!(id, tick_task_id(&a, 2, UnixMs(1_000)));
        assert_ne!(id, tick_task_id(&a, 1, UnixMs(2_000)));
        assert_eq!(
            id.to_string(),
            "e0a46204-c184-8fb1-9264-d17f565f630a",
            "the id is stored: it must not change between versions"
        );
    }
}
