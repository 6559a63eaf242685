//! Tasks as values: their states, what is enqueued, what a worker claims, what is kept at the end.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::order::{Order, OrderKey};
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::units::serde_as_text;

/// Names one task for ever, whoever runs it; a function may use it as its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub Uuid);

impl TaskId {
    /// A fresh id: time-ordered, so that an index over it grows at one end.
    #[must_use]
    pub fn new(now: UnixMs, dice: u128) -> Self {
        let millis = u64::try_from(now.0).unwrap_or(0);
        Self(
            uuid::Builder::from_unix_timestamp_millis(
                millis,
                &dice.to_le_bytes()[..10].try_into().expect("10 of 16 bytes"),
            )
            .into_uuid(),
        )
    }
}

impl TaskId {
    /// The task that a caller's idempotency key names: the same key for the same function, the same task.
    #[must_use]
    pub fn of_key(function: &FunctionName, key: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"beatmesh idempotency key 1\0");
        hash.update(function.as_str().as_bytes());
        hash.update([0]);
        hash.update(key);
        let digest = hash.finalize();
        Self(Uuid::new_v8(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes")))
    }
}

impl TaskId {
    /// Whether another task may have this id: it was derived from something and not made up from dice.
    #[must_use]
    pub fn may_be_known(&self) -> bool {
        self.0.get_version_num() != 7
    }
}

impl FromStr for TaskId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            format!(
                "`{}` is not a task id; one looks like 0190b2f0-6b6e-7cc3-98c4-dc0c0c07398f",
                text.chars().take(64).collect::<String>()
            )
        })
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

serde_as_text!(TaskId);

/// Which execution of a task: 1 is the first. A completion carries it and is refused when a later
/// attempt has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

/// Where a task stands.
///
/// ```text
/// scheduled ─┐                        ┌─> done
///   ready  ──┴─> leased ──────────────┼─> failed     the function failed, no retry left
///     ^            │  │               └─> dead       too many leases lost; a person must look
///     │            │  └ failure ──> retry
///     └ lease lost ┘                  └──> leased
/// scheduled, ready, retry ──> cancelled (asked for), expired (too late to start)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waits for its time.
    Scheduled,
    /// May be claimed, or waits for those before it that have its order key.
    Ready,
    /// A worker has it.
    Leased,
    /// Failed before, waits for its next attempt.
    Retry,
    /// The function answered.
    Done,
    /// The function failed and no retry is left.
    Failed,
    /// Leases were lost too often: the task may be what kills its workers.
    Dead,
    /// Somebody took it back before it began.
    Cancelled,
    /// Nobody began it in time.
    Expired,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Ready,
        Self::Leased,
        Self::Retry,
        Self::Done,
        Self::Failed,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Dead | Self::Cancelled | Self::Expired)
    }

    /// The name in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Retry => "retry",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl FromStr for TaskState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is not a task state; there are {}", names.join(", "))
        })
    }
}

/// Who asked for an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// A synchronous call.
    Call,
    /// An enqueue through the API.
    Api,
    /// A due time of a schedule.
    Schedule {
        /// The schedule.
        schedule: ScheduleName,
        /// Its due time.
        due: UnixMs,
    },
    /// Somebody fired a schedule by hand.
    Trigger {
        /// The schedule.
        schedule: ScheduleName,
    },
}

/// A task to enqueue. Spans count from the store's clock at the moment of the enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Chosen by the caller, so that an enqueue with an unknown outcome can be asked for.
    pub id: TaskId,
    /// What to run.
    pub function: FunctionName,
    /// Where it waits.
    pub queue: QueueName,
    /// Higher runs first; 0 is usual.
    pub priority: i16,
    /// Handed to the function as it is.
    pub input: Bytes,
    /// The input's media type; may be empty.
    pub content_type: String,
    /// Not before this has passed.
    pub delay: Duration,
    /// Not begun after this has passed.
    pub expires: Option<Duration>,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Who asked.
    pub origin: Origin,
    /// The node that should be told when it ends, if that node waits for it.
    pub reply_to: String,
    /// Its order key, if it has one.
    pub order: Option<Order>,
}

impl NewTask {
    /// A task without input or wishes: ready at once in the default queue, one attempt, asked for by nobody
    /// who waits.
    #[must_use]
    pub fn new(id: TaskId, function: FunctionName) -> Self {
        Self {
            id,
            function,
            queue: QueueName::default(),
            priority: 0,
            input: Bytes::new(),
            content_type: String::new(),
            delay: Duration::ZERO,
            expires: None,
            retries: 0,
            origin: Origin::Api,
            reply_to: String::new(),
            order: None,
        }
    }

    /// What it is ordered by, if anything.
    #[must_use]
    pub fn order_key(&self) -> Option<&OrderKey> {
        self.order.as_ref().map(|order| &order.key)
    }

    /// Whether two tasks of one id are the same request: they run the same on the same, in the same line. When,
    /// how urgently and for whom does not count, for a repeated request may differ in that.
    #[must_use]
    pub fn same_content(
        &self,
        function: &FunctionName,
        input: &[u8],
        content_type: &str,
        order_key: Option<&OrderKey>,
    ) -> bool {
        self.function == *function
            && self.input == input
            && self.content_type == content_type
            && self.order_key() == order_key
    }
}

/// What a worker got: the right to run `attempt` until the lease runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The task.
    pub id: TaskId,
    /// The token that its completion must carry.
    pub attempt: Attempt,
    /// What to run.
    pub function: FunctionName,
    /// Where it waited.
    pub queue: QueueName,
    /// Failures so far.
    pub failures: u32,
    /// Executions so far whose lease ran out.
    pub lost_leases: u32,
    /// Further attempts allowed after a failed one, in all.
    pub retries: u32,
    /// Handed to the function as it is.
    pub input: Bytes,
    /// The input's media type; may be empty.
    pub content_type: String,
    /// Who asked.
    pub origin: Origin,
    /// The node that may be waiting for the end.
    pub reply_to: String,
    /// Its order key, if it has one: its end may let others in.
    pub order_key: Option<OrderKey>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// The function answered.
    Done {
        /// Its answer.
        output: Bytes,
        /// The answer's media type.
        content_type: String,
    },
    /// The function failed; `retry_in` says whether the task comes back, and when.
    Failed {
        /// A problem object, as JSON.
        error: serde_json::Value,
        /// The pause before the next attempt; `None` ends the task as failed.
        retry_in: Option<Duration>,
    },
    /// The worker gives it back without having run it: it is stopping, or the function filled up while
    /// the claim was on its way. It keeps its place in the queue; the attempt stays counted, because its
    /// number is the token that makes late words of this claim stale.
    HandBack,
}

/// What the store says of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is recorded; the task is in this state now.
    Recorded(TaskState),
    /// Another attempt has begun or the task has ended: this completion changes nothing.
    Stale,
}

/// Everything that is kept about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// What it runs.
    pub function: FunctionName,
    /// Where it waits.
    pub queue: QueueName,
    /// Where it stands.
    pub state: TaskState,
    /// Higher runs first.
    pub priority: i16,
    /// Executions begun.
    pub attempts: u32,
    /// Executions that failed.
    pub failures: u32,
    /// Executions whose lease ran out. What they had begun may have gone on for a while beside later attempts, and
    /// beside later tasks of its order key.
    pub lost_leases: u32,
    /// Further attempts allowed after a failed one, in all.
    pub retries: u32,
    /// Its order key, if it has one.
    pub order_key: Option<OrderKey>,
    /// Whether it is ready but for tasks of its order key that come before it.
    pub waits_for_order: bool,
    /// The node of the last attempt, if any.
    pub node: Option<String>,
    /// Who asked.
    pub origin: Origin,
    /// When the store took it.
    pub created_at: UnixMs,
    /// When it may be claimed.
    pub ready_at: UnixMs,
    /// Not begun after this.
    pub expires_at: Option<UnixMs>,
    /// When the last attempt began.
    pub started_at: Option<UnixMs>,
    /// When it ended.
    pub finished_at: Option<UnixMs>,
    /// The answer.
    pub output: Option<Bytes>,
    /// The answer's media type.
    pub output_type: Option<String>,
    /// The last failure, a problem object.
    pub error: Option<serde_json::Value>,
    /// The end of what the last attempt wrote to stderr.
    pub log_tail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_id_reads_back_and_sorts_by_time() {
        let early = TaskId::new(UnixMs(1_000), 7);
        let late = TaskId::new(UnixMs(2_000), 3);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<TaskId>().unwrap(), early);
        assert!("nope".parse::<TaskId>().unwrap_err().contains("`nope`"));
    }

    #[test]
    fn every_state_reads_back() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
