//! What stories begin with: tasks, claimants, schedules, and the few questions that all of them ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use uuid::Uuid;

use super::Node;
use crate::catalogue::entry::{ScheduleEntry, Switch};
use crate::catalogue::function::Function;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::catalogue::schedule::{Overlap, Schedule};
use crate::queue::Claimant;
use crate::queue::scan::{Repair, ScanCursor};
use crate::queue::task::{Attempt, Claimed, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use crate::queue::tick::{ScheduleState, SkipReason, TickCommit, TickDecision, TickRecord, Verdict};

/// A lease or delay that no story outlives.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// A lease or delay that [`PAST_SHORT`] outlives.
pub(super) const SHORT: Duration = Duration::from_millis(40);

/// Longer than [`SHORT`], whatever the store rounds to.
pub(super) const PAST_SHORT: Duration = Duration::from_millis(80);

/// A task of its own id, ready at once.
pub(super) fn task() -> NewTask {
    static IDS: AtomicU64 = AtomicU64::new(1);
    // Low bits first, so that the order of ids is not the order of their making.
    let id = Uuid::from_u128(u128::from(IDS.fetch_add(1, Ordering::Relaxed).reverse_bits()) << 32);
    NewTask {
        input: Bytes::from_static(b"in\0put"),
        content_type: "application/x-input".to_owned(),
        retries: 3,
        reply_to: "asker".to_owned(),
        ..NewTask::new(TaskId(id), "f".parse().expect("a name"))
    }
}

/// Until somebody resumes it.
pub(super) const PAUSE: Switch = Switch::Pause { until: None };

pub(super) fn claimant(node: &str) -> Claimant {
    Claimant { queues: vec![QueueName::default()], ..Claimant::new(node) }
}

pub(super) fn done() -> TaskOutcome {
    TaskOutcome::Done { output: Bytes::from_static(b"out\0put"), content_type: "text/x-output".to_owned() }
}

pub(super) fn failed(retry_in: Option<Duration>) -> TaskOutcome {
    TaskOutcome::Failed { error: serde_json::json!({"title": "it broke"}), retry_in }
}

impl Node {
    pub(super) async fn enqueue(&self, task: NewTask) -> TaskId {
        let id = task.id;
        assert_eq!(self.queue.enqueue(vec![task]).await, Ok(vec![]), "enqueued");
        id
    }

    pub(super) async fn claim(&self, most: u32, lease: Duration) -> Vec<Claimed> {
        self.queue.claim(&claimant("worker"), most, lease).await.expect("claimed")
    }

    /// Claims the only task that waits.
    pub(super) async fn claim_one(&self, lease: Duration) -> Claimed {
        let mut claimed = self.claim(8, lease).await;
        assert_eq!(claimed.len(), 1, "one task waits: {claimed:?}");
        claimed.remove(0)
    }

    pub(super) async fn end(&self, id: TaskId, attempt: Attempt, outcome: TaskOutcome) {
        use crate::queue::task::Completion::Recorded;
        let end = self.queue.complete(id, attempt, outcome, String::new()).await.expect("completed");
        assert!(matches!(end, Recorded(_)), "{end:?}");
    }

    /// Scans to the end; between its pieces something else may happen.
    pub(super) async fn scan(&self, mut between: impl AsyncFnMut()) -> Vec<Repair> {
        let (mut cursor, mut repaired) = (ScanCursor::default(), Vec::new());
        for pieces in 0.. {
            let scanned = self.queue.scan(cursor).await.expect("scanned");
            repaired.extend(scanned.repaired);
            let Some(next) = scanned.next else { break };
            cursor = next;
            assert!(pieces < 10_000, "a scan comes to an end");
            between().await;
        }
        repaired
    }

    pub(super) async fn task(&self, id: TaskId) -> TaskRecord {
        self.queue.task(id).await.expect("read").expect("the task is there")
    }

    pub(super) async fn state(&self, id: TaskId) -> TaskState {
        self.task(id).await.state
    }

    /// A schedule that is not due during any story by its text: stories choose due times of their own, for
    /// a commit is not held against the text.
    pub(super) async fn schedule(&self, name: &str) -> ScheduleEntry {
        self.catalogue.put_function(&"f".parse().expect("a name"), &noop(), None).await.expect("stored");
        let name = name.parse().expect("a name");
        self.catalogue.put_schedule(&name, &on_leap_days(), None).await.expect("stored").0
    }

    pub(super) async fn standing(&self, schedule: &ScheduleName) -> ScheduleState {
        self.queue.schedule_state(schedule).await.expect("read").expect("the schedule has a state")
    }

    /// The whole ledger of a schedule, oldest first.
    pub(super) async fn ledger(&self, schedule: &ScheduleName) -> Vec<TickRecord> {
        let all = self.queue.ticks(schedule, UnixMs(i64::MIN), UnixMs(i64::MAX), 100_000).await;
        let mut all = all.expect("read");
        all.reverse();
        all
    }
}

pub(super) fn noop() -> Function {
    serde_json::from_value(serde_json::json!({"runtime": "builtin", "handler": "noop"})).expect("a function")
}

pub(super) fn on_leap_days() -> Schedule {
    serde_json::from_value(serde_json::json!({"cron": "0 0 29 2 *", "function": "f"})).expect("a schedule")
}

/// The same due times, another input.
pub(super) fn on_leap_days_with(input: u64) -> Schedule {
    Schedule { input: Some(input.into()), ..on_leap_days() }
}

/// A commit that fires `cursor + 1`.
pub(super) fn commit(state: &ScheduleState) -> TickCommit {
    let due = UnixMs(state.cursor.0 + 1);
    deciding(state, vec![fire(due)])
}

pub(super) fn deciding(state: &ScheduleState, decisions: Vec<TickDecision>) -> TickCommit {
    TickCommit {
        schedule: state.schedule.clone(),
        revision: state.revision,
        expected_cursor: state.cursor,
        decisions,
        function: "f".parse().expect("a name"),
        queue: QueueName::default(),
        input: Bytes::from_static(b"{}"),
        retries: 2,
        overlap: Overlap::Allow,
        order: None,
        node: "beat".to_owned(),
    }
}

pub(super) fn fire(due: UnixMs) -> TickDecision {
    TickDecision { due, from: due, count: 1, verdict: Verdict::Fire }
}

pub(super) fn skip(from: UnixMs, due: UnixMs, count: u32) -> TickDecision {
    TickDecision { due, from, count, verdict: Verdict::Skip(SkipReason::Superseded) }
}
