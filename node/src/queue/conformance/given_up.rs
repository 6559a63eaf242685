//! Every due time ends as fired or as skipped with a reason (T1), also those that had passed undecided when an
//! edit took them away.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::given::{PAUSE, deciding, fire, on_leap_days};
use super::{FOREVER, Node, Subject};
use crate::catalogue::entry::Switch;
use crate::catalogue::schedule::Schedule;
use crate::queue::tick::{ScheduleState, TickOutcome, TickRecord};
use crate::store::EditError;

const SECOND_MS: i64 = 1_000;

/// Two due times of a schedule that is due every second pass in it, wherever in a second it begins.
const OVERDUE: Duration = Duration::from_millis(2_050);

fn every(seconds: u32) -> Schedule {
    Schedule { cron: Some(format!("*/{seconds} * * * * *")), ..on_leap_days() }
}

/// Nodes, and where a schedule stands that is due every second and has been left alone for [`OVERDUE`].
async fn overdue(subject: &dyn Subject) -> (Vec<Node>, ScheduleState) {
    let nodes = subject.fresh(FOREVER).await;
    let name = nodes[0].schedule("s").await.name;
    nodes[0].catalogue.put_schedule(&name, &every(1), None).await.expect("edited");
    subject.pass(OVERDUE).await;
    let state = nodes[1].standing(&name).await;
    (nodes, state)
}

fn next_second(after: UnixMs) -> UnixMs {
    UnixMs((after.0.div_euclid(SECOND_MS) + 1) * SECOND_MS)
}

/// One line holds every second after `old`'s cursor, up to the moment of the edit; answers its last one.
fn assert_given_up(line: &TickRecord, old: &ScheduleState, reason: &str) -> UnixMs {
    assert_eq!((line.skipped.as_deref(), line.task), (Some(reason), None));
    assert_eq!((line.revision, line.node.as_str()), (old.revision, ""), "of the times before the edit");
    assert_eq!(line.from, next_second(old.cursor), "from the first one that was not decided");
    assert_eq!(line.due, UnixMs(line.committed_at.0.div_euclid(SECOND_MS) * SECOND_MS), "to the last one");
    let seconds = line.due.millis_since(line.from) / SECOND_MS + 1;
    assert!(seconds >= 2 && i64::from(line.count) == seconds, "all of them: {line:?}");
    line.due
}

/// The user said stop, so nothing of it fires; and a pause owes nothing.
pub async fn what_is_overdue_at_a_pause_is_skipped_and_nothing_is_owed_of_the_pause(subject: &dyn Subject) {
    let (nodes, running) = overdue(subject).await;
    let name = running.schedule.clone();
    nodes[0].catalogue.switch_schedule(&name, PAUSE).await.expect("paused");
    let ledger = nodes[1].ledger(&name).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    let last = assert_given_up(&ledger[0], &running, "paused");
    let paused = nodes[2].standing(&name).await;
    assert_eq!((paused.cursor, paused.enabled), (last, false), "the cursor is where the ledger ends");

    subject.pass(OVERDUE).await;
    // Neither an edit nor the end of a pause finds anything owed.
    nodes[1].catalogue.put_schedule(&name, &every(2), None).await.expect("edited");
    nodes[0].catalogue.put_schedule(&name, &every(1), None).await.expect("edited");
    let before = nodes[0].queue.now().await.expect("read");
    nodes[2].catalogue.switch_schedule(&name, Switch::Resume).await.expect("resumed");
    assert_eq!(nodes[1].ledger(&name).await, ledger);
    let resumed = nodes[1].standing(&name).await;
    assert!(resumed.cursor >= before, "it starts at the present");

    // From there on all is owed again, whoever decides it.
    subject.pass(OVERDUE).await;
    let first = next_second(resumed.cursor);
    let outcome = nodes[1].queue.commit_tick(deciding(&resumed, vec![fire(first)])).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
    subject.pass(OVERDUE).await;
    let moved = ScheduleState { cursor: first, ..resumed };
    nodes[0].catalogue.switch_schedule(&name, PAUSE).await.expect("paused");
    let ledger = nodes[2].ledger(&name).await;
    assert_eq!(ledger.len(), 3, "{ledger:?}");
    assert_given_up(&ledger[2], &moved, "paused");
}

/// A pause that ends by itself ends at its time, also when that is noticed late, and only the pause that was meant.
pub async fn a_pause_that_ends_by_itself_owes_what_is_due_from_its_end_on(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let name = nodes[0].schedule("s").await.name;
    nodes[0].catalogue.put_schedule(&name, &every(1), None).await.expect("edited");
    let until = next_second(nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(100)));
    let pause = Switch::Pause { until: Some(until) };
    let first = nodes[0].catalogue.switch_schedule(&name, pause).await.expect("paused");
    assert_eq!((first.enabled, first.paused_until), (false, Some(until)));
    assert_eq!(nodes[1].catalogue.read().await.expect("read").schedules[&name], first);
    let again = nodes[1].catalogue.switch_schedule(&name, pause).await.expect("paused already");
    assert_eq!(again, first, "the same pause changes nothing");
    // Another pause takes its place; whoever would end the first one comes too late.
    let longer = Switch::Pause { until: Some(UnixMs(until.0 + 60_000)) };
    let second = nodes[2].catalogue.switch_schedule(&name, longer).await.expect("paused");
    assert!(second.revision > first.revision && !second.enabled);
    let too_late =
        nodes[1].catalogue.switch_schedule(&name, Switch::EndPause { revision: first.revision }).await;
    assert_eq!(too_late, Err(EditError::Conflict { current: second.revision }));
    let third = nodes[0].catalogue.switch_schedule(&name, pause).await.expect("paused");
    // An edit during a pause keeps its end, and is not what was read with it.
    let edited = nodes[1].catalogue.put_schedule(&name, &every(2), None).await.expect("edited").0;
    assert_eq!((edited.enabled, edited.paused_until), (false, Some(until)));
    let edited = nodes[1].catalogue.put_schedule(&name, &every(1), None).await.expect("edited").0;
    let stale =
        nodes[2].catalogue.switch_schedule(&name, Switch::EndPause { revision: third.revision }).await;
    assert_eq!(stale, Err(EditError::Conflict { current: edited.revision }));

    // Two due times after its end, two nodes notice at once.
    let now = nodes[0].queue.now().await.expect("read");
    subject.pass(now.until(until) + OVERDUE).await;
    let end = Switch::EndPause { revision: edited.revision };
    let (one, other) = tokio::join!(
        nodes[0].catalogue.switch_schedule(&name, end),
        nodes[1].catalogue.switch_schedule(&name, end)
    );
    let ended: Vec<_> = [one, other].into_iter().flatten().collect();
    assert_eq!(ended.len(), 1, "one of them: {ended:?}");
    assert!(ended[0].enabled && ended[0].revision > edited.revision);
    let state = nodes[2].standing(&name).await;
    assert_eq!((state.cursor, state.enabled), (UnixMs(until.0 - 1), true), "from its end on all is owed");
    let outcome = nodes[2].queue.commit_tick(deciding(&state, vec![fire(until)])).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");

    // An edit of the times owes nothing of before; nor does a person's resumption.
    let before = nodes[0].queue.now().await.expect("read");
    let other_times = nodes[0].catalogue.put_schedule(&name, &every(30), None).await.expect("edited").0;
    assert_eq!(other_times.paused_until, None);
    assert!(nodes[1].standing(&name).await.cursor >= before);
    let soon = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(20));
    let pause = Switch::Pause { until: Some(soon) };
    nodes[0].catalogue.switch_schedule(&name, pause).await.expect("paused");
    subject.pass(Duration::from_millis(60)).await;
    let before = nodes[0].queue.now().await.expect("read");
    let resumed = nodes[1].catalogue.switch_schedule(&name, Switch::Resume).await.expect("resumed");
    assert!(resumed.enabled && resumed.paused_until.is_none());
    assert!(nodes[1].standing(&name).await.cursor >= before, "from the person's moment on");
}

/// By the old times: the new ones are owed from the edit on.
pub async fn what_is_overdue_at_an_edit_of_the_times_is_skipped_by_the_old_times(subject: &dyn Subject) {
    let (nodes, running) = overdue(subject).await;
    let name = running.schedule.clone();
    let edited = nodes[0].catalogue.put_schedule(&name, &every(30), None).await.expect("edited").0;
    let ledger = nodes[1].ledger(&name).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_given_up(&ledger[0], &running, "edited");
    let state = nodes[2].standing(&name).await;
    assert_eq!((state.cursor, state.revision), (ledger[0].committed_at, edited.revision));
}

/// What is due once owes that one moment, and a later one after an edit.
pub async fn what_is_due_once_is_owed_once_and_again_when_its_time_is_edited(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let name = nodes[0].schedule("s").await.name;
    let at = |time: UnixMs| {
        let time = jiff::Timestamp::from_millisecond(time.0).expect("a moment of today");
        Schedule { cron: None, at: Some(time.to_string()), ..on_leap_days() }
    };
    let due = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(200));
    nodes[0].catalogue.put_schedule(&name, &at(due), None).await.expect("edited");
    let before = nodes[1].standing(&name).await;
    assert!(before.cursor < due);
    // Nobody has decided it when its time is moved.
    subject.pass(Duration::from_millis(300)).await;
    let later = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(30));
    nodes[1].catalogue.put_schedule(&name, &at(later), None).await.expect("edited");
    let ledger = nodes[2].ledger(&name).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!((ledger[0].due, ledger[0].from, ledger[0].count), (due, due, 1));
    assert_eq!((ledger[0].skipped.as_deref(), ledger[0].revision), (Some("edited"), before.revision));
    let state = nodes[0].standing(&name).await;
    assert!(state.cursor < later);
    subject.pass(Duration::from_millis(60)).await;
    let outcome = nodes[2].queue.commit_tick(deciding(&state, vec![fire(later)])).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
    // It is over: whatever ends it now gives nothing up.
    nodes[0].catalogue.put_schedule(&name, &every(30), None).await.expect("edited");
    assert_eq!(nodes[1].ledger(&name).await.len(), 2);
}

/// They fire under the new revision.
pub async fn what_is_overdue_at_an_edit_that_keeps_the_times_stays_owed(subject: &dyn Subject) {
    let (nodes, running) = overdue(subject).await;
    let name = running.schedule.clone();
    let other = Schedule { input: Some(1.into()), ..every(1) };
    let edited = nodes[0].catalogue.put_schedule(&name, &other, None).await.expect("edited").0;
    assert!(nodes[1].ledger(&name).await.is_empty());
    let state = nodes[2].standing(&name).await;
    assert_eq!((state.cursor, state.revision), (running.cursor, edited.revision));
}

/// The ledger outlives the schedule, so it must be whole.
pub async fn what_is_overdue_at_a_deletion_is_skipped_in_the_ledger_that_stays(subject: &dyn Subject) {
    let (nodes, running) = overdue(subject).await;
    let name = running.schedule.clone();
    nodes[0].catalogue.delete_schedule(&name, None).await.expect("deleted");
    let ledger = nodes[1].ledger(&name).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    let last = assert_given_up(&ledger[0], &running, "deleted");
    assert_eq!(nodes[2].standing(&name).await.cursor, last);

    // While it is not there, nothing is owed.
    subject.pass(OVERDUE).await;
    nodes[1].catalogue.put_schedule(&name, &every(1), Some(0)).await.expect("made anew");
    assert_eq!(nodes[2].ledger(&name).await, ledger);
    assert!(nodes[2].standing(&name).await.cursor >= ledger[0].committed_at.plus(OVERDUE));
}
