//! After an edit is acknowledged, nothing of what was there before fires (T4), and no edit makes a due
//! time fire twice.

use std::cell::Cell;
use std::time::Duration;

use super::given::{PAUSE, commit, deciding, fire, on_leap_days, on_leap_days_with};
use super::{FOREVER, Node, Subject};
use crate::catalogue::entry::{ScheduleEntry, Switch};
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Schedule;
use crate::queue::tick::{ScheduleState, TickOutcome};

/// Commits one due time after the other under a fixed revision, until it is told that an edit stands.
/// Answers the last outcome.
async fn insist(node: &Node, mut state: ScheduleState, edited: &Cell<bool>) {
    let revision = state.revision;
    loop {
        let acknowledged = edited.get();
        match node.queue.commit_tick(commit(&state)).await.expect("answered") {
            TickOutcome::Committed { .. } => {
                assert!(!acknowledged, "a commit that began after the edit was acknowledged");
                state.cursor.0 += 1;
            }
            // It takes the cursor from the store, but not the revision: it has not heard of the edit.
            TickOutcome::Moved(Some(now)) => state = ScheduleState { revision, ..now },
            TickOutcome::Moved(None) => panic!("it is there"),
            // It has caught up with the clock.
            TickOutcome::TooEarly { .. } => tokio::task::yield_now().await,
        }
        if acknowledged {
            return;
        }
    }
}

/// Owners that know nothing of an edit go on trying while it is made.
pub async fn after_an_edit_no_tick_of_the_old_revision_commits(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let name = nodes[0].schedule("s").await.name;
    for round in 1..=12 {
        subject.pass(Duration::from_millis(30)).await;
        let state = nodes[0].standing(&name).await;
        let edited = Cell::new(false);
        let editing = async {
            // Some commits come first.
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            let edit = nodes[1].catalogue.put_schedule(&name, &on_leap_days_with(round), None).await;
            let (entry, _) = edit.expect("edited");
            edited.set(true);
            let old = |lines: Vec<crate::queue::tick::TickRecord>| {
                lines.into_iter().filter(|line| line.revision == state.revision).count()
            };
            (entry, old(nodes[1].ledger(&name).await))
        };
        let owners = futures_util::future::join_all(
            (0..6).map(|n| insist(&nodes[n % nodes.len()], state.clone(), &edited)),
        );
        let ((entry, at_edit), _) = tokio::join!(editing, owners);
        let ledger = nodes[2].ledger(&name).await;
        let old = ledger.iter().filter(|line| line.revision == state.revision).count();
        assert_eq!(old, at_edit, "the ledger grew under the old revision after the edit");
        let now = nodes[2].standing(&name).await;
        assert_eq!(now.revision, entry.revision);
        let cursor = ledger.last().map_or(state.cursor, |line| line.due.max(state.cursor));
        assert_eq!(now.cursor, cursor, "the cursor is where the ledger says");
        // The new revision goes on from there.
        let outcome = nodes[0].queue.commit_tick(commit(&now)).await.expect("answered");
        assert!(matches!(outcome, TickOutcome::Committed { .. } | TickOutcome::TooEarly { .. }));
    }
}

/// Another input is no other timetable: what is owed stays owed, what is decided stays decided.
pub async fn an_edit_that_keeps_the_times_keeps_the_cursor(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let entry = nodes[0].schedule("s").await;
    subject.pass(Duration::from_millis(40)).await;
    let state = nodes[0].standing(&entry.name).await;
    let (edited, changed) =
        nodes[1].catalogue.put_schedule(&entry.name, &on_leap_days_with(1), None).await.expect("edited");
    assert!(changed && edited.revision > entry.revision);
    assert_eq!(edited.times_revision, entry.times_revision);
    let now = nodes[2].standing(&entry.name).await;
    assert_eq!((now.cursor, now.revision), (state.cursor, edited.revision));
    // An equal definition is no edit.
    let (same, changed) =
        nodes[1].catalogue.put_schedule(&entry.name, &on_leap_days_with(1), None).await.expect("edited");
    assert!(!changed && same == edited);
    assert_eq!(nodes[2].standing(&entry.name).await, now);
}

/// New times are owed from the moment of the edit on.
pub async fn an_edit_of_the_times_starts_at_the_present(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let entry = nodes[0].schedule("s").await;
    for (cron, timezone) in [("* * * * *", "UTC"), ("* * * * *", "Europe/Berlin")] {
        subject.pass(Duration::from_millis(20)).await;
        let before = nodes[0].queue.now().await.expect("read");
        let definition =
            Schedule { cron: Some(cron.to_owned()), timezone: timezone.to_owned(), ..on_leap_days() };
        let edited = nodes[1].catalogue.put_schedule(&entry.name, &definition, None).await.expect("edited").0;
        assert_eq!(edited.times_revision, edited.revision);
        let after = nodes[0].queue.now().await.expect("read");
        let cursor = nodes[2].standing(&entry.name).await.cursor;
        assert!(before <= cursor && cursor <= after, "the store's present");
    }
    // A due time that was fired a little early is not fired again by the new times.
    let state = nodes[0].standing(&entry.name).await;
    let soon = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(40));
    let outcome = nodes[0].queue.commit_tick(deciding(&state, vec![fire(soon)])).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
    nodes[1].catalogue.put_schedule(&entry.name, &on_leap_days(), None).await.expect("edited");
    assert!(nodes[2].standing(&entry.name).await.cursor >= soon, "the cursor never goes back");
}

async fn standing_after_pause_and_resume(
    subject: &dyn Subject,
    nodes: &[Node],
    name: &ScheduleName,
) -> ScheduleState {
    let running = nodes[0].standing(name).await;
    let paused = nodes[0].catalogue.switch_schedule(name, PAUSE).await.expect("paused");
    assert!(!paused.enabled && paused.revision > running.revision);
    let state = nodes[1].standing(name).await;
    assert_eq!((state.enabled, state.revision, state.cursor), (false, paused.revision, running.cursor));
    let again = nodes[2].catalogue.switch_schedule(name, PAUSE).await.expect("paused already");
    assert_eq!(again, paused, "a pause of a paused schedule changes nothing");
    let outcome = nodes[1].queue.commit_tick(commit(&running)).await;
    assert_eq!(outcome, Ok(TickOutcome::Moved(Some(state.clone()))), "the old revision");
    let outcome = nodes[1].queue.commit_tick(commit(&state)).await;
    assert_eq!(outcome, Ok(TickOutcome::Moved(Some(state))), "the pause's own revision");
    subject.pass(Duration::from_millis(30)).await;
    let before = nodes[0].queue.now().await.expect("read");
    let resumed = nodes[0].catalogue.switch_schedule(name, Switch::Resume).await.expect("resumed");
    let state = nodes[1].standing(name).await;
    assert!(resumed.enabled && state.enabled && state.revision == resumed.revision);
    assert!(state.cursor >= before, "due times during a pause are owed to nobody");
    state
}

/// Paused, nothing fires; resumed, the schedule starts at the present.
pub async fn a_pause_stops_ticks_and_owes_none_afterwards(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let name = nodes[0].schedule("s").await.name;
    subject.pass(Duration::from_millis(30)).await;
    standing_after_pause_and_resume(subject, &nodes, &name).await;
    // An edit during a pause does not end it.
    nodes[0].catalogue.switch_schedule(&name, PAUSE).await.expect("paused");
    let edited = nodes[1].catalogue.put_schedule(&name, &on_leap_days_with(1), None).await.expect("edited").0;
    assert!(!edited.enabled && !nodes[2].standing(&name).await.enabled);
    nodes[0].catalogue.switch_schedule(&name, Switch::Resume).await.expect("resumed");
    let state = standing_after_pause_and_resume(subject, &nodes, &name).await;
    subject.pass(Duration::from_millis(5)).await;
    let outcome = nodes[2].queue.commit_tick(commit(&state)).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
}

/// The name was used before: what it has fired stays fired.
pub async fn a_schedule_made_anew_never_fires_an_old_due_time(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let first = nodes[0].schedule("s").await;
    for _ in 0..3 {
        subject.pass(Duration::from_millis(20)).await;
        let old = nodes[0].standing(&first.name).await;
        let soon = nodes[0].queue.now().await.expect("read").plus(Duration::from_millis(40));
        let outcome = nodes[0].queue.commit_tick(deciding(&old, vec![fire(soon)])).await;
        assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");
        nodes[1].catalogue.delete_schedule(&first.name, None).await.expect("deleted");
        let moved = ScheduleState { cursor: soon, ..old.clone() };
        let outcome = nodes[2].queue.commit_tick(commit(&moved)).await;
        assert!(matches!(outcome, Ok(TickOutcome::Moved(_))), "deleted: {outcome:?}");

        let anew = nodes[1].catalogue.put_schedule(&first.name, &on_leap_days(), Some(0)).await;
        let anew = anew.expect("made anew").0;
        assert!(anew.revision > old.revision, "a revision is never used twice");
        let state = nodes[2].standing(&first.name).await;
        assert!(state.enabled && state.revision == anew.revision && state.cursor >= soon);
        let outcome = nodes[2].queue.commit_tick(deciding(&old, vec![fire(soon)])).await;
        assert_eq!(outcome, Ok(TickOutcome::Moved(Some(state))), "the old life is over");
    }
    let dues: Vec<_> = nodes[0].ledger(&first.name).await.into_iter().map(|line| line.due).collect();
    assert!(dues.len() == 3 && dues.is_sorted(), "the ledger outlives the schedule: {dues:?}");
}

/// The second half of an edit, where catalogue and queue are two stores: it may come late, twice, or not at
/// all, and then somebody repeats it.
pub async fn a_fence_may_be_repeated_and_a_late_one_changes_nothing(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let first = nodes[0].schedule("s").await;
    let put = nodes[0].catalogue.put_schedule(&first.name, &on_leap_days_with(1), None).await;
    let second = put.expect("edited").0;
    subject.pass(Duration::from_millis(20)).await;
    let state = nodes[1].standing(&first.name).await;
    for (entry, revision) in [(&first, first.revision), (&second, second.revision)] {
        nodes[2].queue.fence(&entry.name, revision, Some(entry)).await.expect("answered");
        nodes[2].queue.fence(&entry.name, revision, None).await.expect("answered");
        assert_eq!(nodes[1].standing(&first.name).await, state, "it stands there, or further on");
    }
    let outcome = nodes[2].queue.commit_tick(commit(&state)).await;
    assert!(matches!(outcome, Ok(TickOutcome::Committed { .. })), "{outcome:?}");

    // What an edit that nobody has heard of leaves: the same times, so what is owed stays owed.
    let moved = nodes[1].standing(&first.name).await;
    let third = ScheduleEntry { revision: second.revision + 1, ..second };
    nodes[0].queue.fence(&third.name, third.revision, Some(&third)).await.expect("written");
    let expected = ScheduleState { revision: third.revision, ..moved.clone() };
    assert_eq!(nodes[1].standing(&first.name).await, expected);
    let outcome = nodes[2].queue.commit_tick(commit(&moved)).await;
    assert_eq!(outcome, Ok(TickOutcome::Moved(Some(expected.clone()))), "the old revision");
    nodes[0].queue.fence(&third.name, third.revision + 1, None).await.expect("written");
    let outcome = nodes[2].queue.commit_tick(commit(&expected)).await;
    assert!(matches!(outcome, Ok(TickOutcome::Moved(_))), "deleted: {outcome:?}");
    assert!(!nodes[1].standing(&first.name).await.enabled);
}

/// After a store has lost everything: history is not fired again, and what is gone for good stays gone.
pub async fn a_fence_without_a_standing_begins_at_the_present(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let known = nodes[0].schedule("known").await;
    let lost = ScheduleEntry { name: "lost".parse().expect("a name"), ..known };
    let never: ScheduleName = "never".parse().expect("a name");
    let before = nodes[0].queue.now().await.expect("read");
    nodes[0].queue.fence(&lost.name, lost.revision, Some(&lost)).await.expect("written");
    nodes[0].queue.fence(&never, lost.revision, None).await.expect("answered");
    let after = nodes[0].queue.now().await.expect("read");
    let state = nodes[1].standing(&lost.name).await;
    assert!(state.enabled && state.revision == lost.revision);
    assert!(before <= state.cursor && state.cursor <= after, "the store's present");
    let states = nodes[2].queue.schedule_states().await.expect("read");
    assert!(states.iter().all(|state| state.schedule != never), "nothing is kept of what never was");
}
