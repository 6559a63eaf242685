//! One commit of due times: all of it or nothing, and only from the right cursor, revision and hour
//! (T1, T2, T3).

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::given::{LONG, PAUSE, commit, deciding, fire, skip};
use super::{FOREVER, Node, Subject};
use crate::queue::StoreError;
use crate::queue::TaskFilter;
use crate::queue::task::{Origin, TaskState};
use crate::queue::tick::{
    EARLIEST_MS, MOST_DECISIONS, ScheduleState, TickCommit, TickDecision, TickOutcome, Verdict, tick_task_id,
};

/// A store with one schedule some of whose due times have come.
async fn begin(subject: &dyn Subject) -> (Vec<Node>, ScheduleState) {
    let nodes = subject.fresh(FOREVER).await;
    let entry = nodes[0].schedule("s").await;
    subject.pass(Duration::from_millis(100)).await;
    let state = nodes[0].standing(&entry.name).await;
    assert_eq!((state.revision, state.enabled), (entry.revision, true));
    (nodes, state)
}

fn at(state: &ScheduleState, ms: i64) -> UnixMs {
    UnixMs(state.cursor.0 + ms)
}

/// No trace of any commit.
async fn assert_untouched(node: &Node, state: &ScheduleState) {
    assert_eq!(node.standing(&state.schedule).await.cursor, state.cursor);
    assert!(node.ledger(&state.schedule).await.is_empty());
    let all = TaskFilter { limit: 8, ..TaskFilter::default() };
    assert!(node.queue.tasks(&all).await.expect("read").is_empty());
}

async fn assert_moved(node: &Node, commit: TickCommit, standing: Option<&ScheduleState>) {
    let outcome = node.queue.commit_tick(commit).await;
    assert_eq!(outcome, Ok(TickOutcome::Moved(standing.cloned())));
}

/// Fired, in the ledger, and past: one step.
pub async fn a_firing_moves_the_cursor_writes_the_ledger_and_enqueues(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    let decisions = vec![fire(at(&state, 10)), skip(at(&state, 11), at(&state, 11), 1), fire(at(&state, 20))];
    let outcome = nodes[0].queue.commit_tick(deciding(&state, decisions)).await;
    let ids = [10, 20].map(|ms| tick_task_id(&state.schedule, state.revision, at(&state, ms)));
    assert_eq!(outcome, Ok(TickOutcome::Committed { fired: ids.to_vec() }));
    assert_eq!(nodes[1].standing(&state.schedule).await.cursor, at(&state, 20));

    let ledger = nodes[1].ledger(&state.schedule).await;
    let lines: Vec<_> = ledger.iter().map(|line| (line.due, line.task, line.skipped.as_deref())).collect();
    assert_eq!(
        lines,
        [
            (at(&state, 10), Some(ids[0]), None),
            (at(&state, 11), None, Some("superseded")),
            (at(&state, 20), Some(ids[1]), None)
        ]
    );
    for line in &ledger {
        assert_eq!((line.from, line.count, line.revision), (line.due, 1, state.revision));
        assert_eq!(line.node, "beat");
        assert!(line.committed_at.millis_since(line.due) >= -EARLIEST_MS, "nothing is early");
    }
    let task = nodes[2].task(ids[0]).await;
    let origin = Origin::Schedule { schedule: state.schedule.clone(), due: at(&state, 10) };
    assert_eq!((task.state, task.retries, task.origin), (TaskState::Ready, 2, origin));
    let claimed = nodes[2].claim(8, LONG).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(
        (claimed[0].input.as_ref(), claimed[0].content_type.as_str()),
        (&b"{}"[..], "application/json")
    );
}

/// A run stands in the ledger by its last due time, and counts.
pub async fn a_run_of_skipped_due_times_is_one_line(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    let commit = deciding(&state, vec![skip(at(&state, 1), at(&state, 70), 70), fire(at(&state, 71))]);
    let outcome = nodes[0].queue.commit_tick(commit).await.expect("answered");
    assert!(matches!(outcome, TickOutcome::Committed { fired } if fired.len() == 1));
    let ledger = nodes[1].ledger(&state.schedule).await;
    let lines: Vec<_> = ledger.iter().map(|line| (line.from, line.due, line.count)).collect();
    assert_eq!(lines, [(at(&state, 1), at(&state, 70), 70), (at(&state, 71), at(&state, 71), 1)]);
    assert_eq!(nodes[1].standing(&state.schedule).await.cursor, at(&state, 71));
}

/// The comparison on which "never twice" rests.
pub async fn a_commit_from_another_cursor_changes_nothing(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    for ms in [-1, 1] {
        let other = ScheduleState { cursor: at(&state, ms), ..state.clone() };
        assert_moved(&nodes[0], commit(&other), Some(&state)).await;
    }
    assert_untouched(&nodes[1], &state).await;

    nodes[0].queue.commit_tick(deciding(&state, vec![fire(at(&state, 5))])).await.expect("committed");
    let moved = ScheduleState { cursor: at(&state, 5), ..state.clone() };
    // The same again, and another plan from the same reading.
    assert_moved(&nodes[1], deciding(&state, vec![fire(at(&state, 5))]), Some(&moved)).await;
    assert_moved(&nodes[2], deciding(&state, vec![fire(at(&state, 7))]), Some(&moved)).await;
    assert_eq!(nodes[0].ledger(&state.schedule).await.len(), 1);
    assert_eq!(nodes[0].claim(8, LONG).await.len(), 1);
}

/// Only the fenced revision fires, neither an older nor a later one.
pub async fn a_commit_of_another_revision_changes_nothing(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    for revision in [state.revision - 1, state.revision + 1, 0] {
        let other = ScheduleState { revision, ..state.clone() };
        assert_moved(&nodes[0], commit(&other), Some(&state)).await;
    }
    assert_untouched(&nodes[1], &state).await;
}

/// Even when revision and cursor are right.
pub async fn a_commit_while_paused_or_deleted_changes_nothing(subject: &dyn Subject) {
    let (nodes, _) = begin(subject).await;
    let name = "s".parse().expect("a name");
    nodes[0].catalogue.switch_schedule(&name, PAUSE).await.expect("paused");
    let paused = nodes[1].standing(&name).await;
    assert!(!paused.enabled);
    assert_moved(&nodes[1], commit(&paused), Some(&paused)).await;
    assert_untouched(&nodes[1], &paused).await;

    nodes[0].catalogue.delete_schedule(&name, None).await.expect("deleted");
    // What is left of it, if anything, is a fence.
    let states = nodes[1].queue.schedule_states().await.expect("read");
    let left = states.into_iter().find(|state| state.schedule == name);
    assert!(left.as_ref().is_none_or(|state| !state.enabled));
    let asked = left.clone().unwrap_or(paused);
    assert_moved(&nodes[1], commit(&asked), left.as_ref()).await;
    let unknown = ScheduleState { schedule: "never".parse().expect("a name"), ..asked };
    assert_moved(&nodes[1], commit(&unknown), None).await;
    let all = TaskFilter { limit: 8, ..TaskFilter::default() };
    assert!(nodes[2].queue.tasks(&all).await.expect("read").is_empty());
    assert!(nodes[2].ledger(&name).await.is_empty());
}

/// The last decision counts: a commit that begins in the past may reach into the future.
pub async fn nothing_is_decided_before_the_last_due_time_has_come(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    let ahead = nodes[0].queue.now().await.expect("read").plus(LONG);
    for decisions in [
        vec![fire(ahead)],
        vec![fire(at(&state, 1)), fire(ahead)],
        vec![fire(at(&state, 1)), skip(at(&state, 2), ahead, 9)],
    ] {
        let before = nodes[0].queue.now().await.expect("read");
        match nodes[0].queue.commit_tick(deciding(&state, decisions)).await {
            Ok(TickOutcome::TooEarly { store_now }) => assert!(store_now >= before && store_now < ahead),
            other => panic!("{other:?}"),
        }
    }
    assert_untouched(&nodes[1], &state).await;
    // A little early is in time: clocks differ by milliseconds.
    let soon = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(EARLIEST_MS as u64 - 5));
    let outcome = nodes[0].queue.commit_tick(deciding(&state, vec![fire(soon)])).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
}

/// A caller's mistake must not bend the cursor.
pub async fn a_commit_that_makes_no_sense_is_refused(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    let single = |ms| fire(at(&state, ms));
    let fired_run = TickDecision { verdict: Verdict::Fire, ..skip(at(&state, 1), at(&state, 3), 3) };
    for decisions in [
        vec![],
        vec![single(0)],
        vec![single(-1)],
        vec![single(2), single(1)],
        vec![single(1), single(1)],
        vec![skip(at(&state, 1), at(&state, 5), 5), single(4)],
        vec![skip(at(&state, 5), at(&state, 1), 5)],
        vec![skip(at(&state, 1), at(&state, 5), 0)],
        vec![skip(at(&state, 1), at(&state, 5), 1)],
        vec![skip(at(&state, 1), at(&state, 1), 2)],
        vec![fired_run],
        (1..=MOST_DECISIONS as i64 + 1).map(single).collect(),
    ] {
        let outcome = nodes[0].queue.commit_tick(deciding(&state, decisions.clone())).await;
        assert!(matches!(outcome, Err(StoreError::Refused(_))), "{decisions:?}: {outcome:?}");
    }
    assert_untouched(&nodes[1], &state).await;
}

/// Newest first, from `since`, before `until`, at most `limit`, of one schedule.
pub async fn the_ledger_is_read_by_range(subject: &dyn Subject) {
    let (nodes, state) = begin(subject).await;
    nodes[0].schedule("other").await;
    nodes[0]
        .queue
        .commit_tick(deciding(&state, (1..=9).map(|n| fire(at(&state, n))).collect()))
        .await
        .expect("ok");
    for (since, until, limit, expected) in [
        (1, 10, 100, vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (3, 6, 100, vec![5, 4, 3]),
        (3, 6, 2, vec![5, 4]),
        (6, 6, 100, vec![]),
        (10, 99, 100, vec![]),
    ] {
        let lines = nodes[1].queue.ticks(&state.schedule, at(&state, since), at(&state, until), limit).await;
        let dues: Vec<_> = lines.expect("read").into_iter().map(|line| line.due.0 - state.cursor.0).collect();
        assert_eq!(dues, expected, "[{since}, {until}) {limit}");
    }
    assert!(nodes[1].ledger(&"other".parse().expect("a name")).await.is_empty());
}
