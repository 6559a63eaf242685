//! Edits of functions and schedules: revisions, conflicts, and what must not be deleted.

use futures_util::future::join_all;

use super::given::{noop, on_leap_days, on_leap_days_with};
use super::{FOREVER, Subject};
use crate::catalogue::entry::{ScheduleEntry, Switch};
use crate::catalogue::function::Function;
use crate::catalogue::name::{FunctionName, ScheduleName};
use crate::store::EditError;

fn names() -> (FunctionName, ScheduleName) {
    ("f".parse().expect("a name"), "s".parse().expect("a name"))
}

fn echo() -> Function {
    Function { handler: Some("echo".to_owned()), ..noop() }
}

/// What was acknowledged is what every node reads, under one counter for all edits.
pub async fn every_edit_takes_a_higher_revision_and_an_equal_one_changes_nothing(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (f, s) = names();
    let id = nodes[0].catalogue.id().to_owned();
    assert!(!id.is_empty() && nodes.iter().all(|node| node.catalogue.id() == id), "one store, one id");
    assert_eq!(nodes[0].catalogue.revision().await, Ok(0));
    let began = nodes[0].queue.now().await.expect("the store's clock");
    let empty = nodes[0].catalogue.read().await.expect("read");
    assert!(empty.functions.is_empty() && empty.schedules.is_empty());

    let (first, changed) = nodes[0].catalogue.put_function(&f, &noop(), None).await.expect("stored");
    assert!(changed);
    assert_eq!(nodes[1].catalogue.put_function(&f, &noop(), None).await, Ok((first.clone(), false)));
    let (second, changed) = nodes[1].catalogue.put_function(&f, &echo(), None).await.expect("stored");
    assert!(changed && second.revision > first.revision);
    // Else a store that was put back would give revisions away that nodes know from before.
    assert!(first.revision >= began.0.cast_unsigned(), "{} is before {began:?}", first.revision);
    let (schedule, changed) =
        nodes[2].catalogue.put_schedule(&s, &on_leap_days(), None).await.expect("stored");
    assert!(changed && schedule.enabled && schedule.revision > second.revision);
    assert_eq!(schedule.times_revision, schedule.revision);

    let read = nodes[0].catalogue.read().await.expect("read");
    assert_eq!(read.revision, schedule.revision);
    assert_eq!(nodes[1].catalogue.revision().await, Ok(schedule.revision));
    assert_eq!(read.functions.values().collect::<Vec<_>>(), [&second]);
    assert_eq!(read.schedules.values().collect::<Vec<_>>(), [&schedule]);
    nodes[1].catalogue.delete_schedule(&s, None).await.expect("deleted");
    let deleted = nodes[0].catalogue.revision().await.expect("read");
    assert!(deleted > schedule.revision, "a deletion is an edit, or nobody would notice it");
    nodes[2].catalogue.delete_function(&f, None).await.expect("deleted");
    assert!(nodes[0].catalogue.revision().await.expect("read") > deleted);
    let empty = nodes[0].catalogue.read().await.expect("read");
    assert!(empty.functions.is_empty() && empty.schedules.is_empty());
}

/// `expected` is what the caller has read; 0 is "none is there".
pub async fn an_edit_of_another_revision_is_refused(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (f, s) = names();
    let catalogue = &nodes[0].catalogue;
    let conflict = |current| EditError::Conflict { current };
    assert_eq!(catalogue.put_function(&f, &noop(), Some(7)).await, Err(conflict(0)));
    let at = catalogue.put_function(&f, &noop(), Some(0)).await.expect("created").0.revision;
    assert_eq!(catalogue.put_function(&f, &echo(), Some(0)).await, Err(conflict(at)));
    assert_eq!(catalogue.put_function(&f, &echo(), Some(at + 1)).await, Err(conflict(at)));
    assert_eq!(catalogue.delete_function(&f, Some(at + 1)).await, Err(conflict(at)));
    let at = catalogue.put_function(&f, &echo(), Some(at)).await.expect("edited").0.revision;

    assert_eq!(catalogue.put_schedule(&s, &on_leap_days(), Some(at)).await, Err(conflict(0)));
    let first = catalogue.put_schedule(&s, &on_leap_days(), Some(0)).await.expect("created").0.revision;
    assert_eq!(catalogue.put_schedule(&s, &on_leap_days_with(1), Some(0)).await, Err(conflict(first)));
    assert_eq!(catalogue.put_schedule(&s, &on_leap_days(), Some(0)).await, Err(conflict(first)));
    assert_eq!(catalogue.delete_schedule(&s, Some(at)).await, Err(conflict(first)));
    let second = catalogue.put_schedule(&s, &on_leap_days_with(1), Some(first)).await.expect("edited").0;
    let read = nodes[1].catalogue.read().await.expect("read");
    assert_eq!(read.schedules[&s], second, "no refused edit has left a trace");
    assert_eq!(read.revision, second.revision);
    catalogue.delete_schedule(&s, Some(second.revision)).await.expect("deleted");
    catalogue.delete_function(&f, Some(at)).await.expect("deleted");
}

/// The last reader's edit must not silently undo another's.
pub async fn of_two_edits_of_one_revision_one_wins(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (f, s) = names();
    nodes[0].catalogue.put_function(&f, &noop(), None).await.expect("stored");
    let mut at = 0;
    for round in 0..8_u64 {
        let definitions: Vec<_> = (0..6).map(|n| on_leap_days_with(100 * round + n)).collect();
        let edits = definitions.iter().zip(nodes.iter().cycle());
        let edits = edits.map(|(definition, node)| node.catalogue.put_schedule(&s, definition, Some(at)));
        let outcomes = join_all(edits).await;
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        assert!(won[0].0.revision > at);
        at = won[0].0.revision;
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(*lost, EditError::Conflict { current: at });
        }
        assert_eq!(nodes[1].catalogue.read().await.expect("read").schedules[&s], won[0].0);
        assert_eq!(nodes[2].standing(&s).await.revision, at);
    }
}

/// A schedule without its function could never fire.
pub async fn a_function_in_use_stays(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (f, s) = names();
    let missing = nodes[0].catalogue.put_schedule(&s, &on_leap_days(), None).await;
    assert_eq!(missing, Err(EditError::NotFound { what: "function", name: "f".to_owned() }));
    assert!(nodes[0].queue.schedule_states().await.expect("read").is_empty());
    for round in 0..6 {
        nodes[0].catalogue.put_function(&f, &noop(), None).await.expect("stored");
        // Both at once: whichever comes first makes the other impossible.
        let definition = on_leap_days_with(round);
        let (made, deleted) = tokio::join!(
            nodes[1].catalogue.put_schedule(&s, &definition, None),
            nodes[2].catalogue.delete_function(&f, None)
        );
        match (made, deleted) {
            (Ok(_), Err(EditError::InUse { by })) => assert_eq!(by, "s"),
            (Err(EditError::NotFound { what: "function", .. }), Ok(())) => continue,
            other => panic!("{other:?}"),
        }
        nodes[0].catalogue.delete_schedule(&s, None).await.expect("deleted");
        nodes[0].catalogue.delete_function(&f, None).await.expect("free now");
    }
}

/// Deleting or pausing what is not there is told as such.
pub async fn what_is_not_there_is_said_to_be_missing(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (f, s) = names();
    let missing = |what, name: &str| EditError::NotFound { what, name: name.to_owned() };
    assert_eq!(nodes[0].catalogue.delete_function(&f, None).await, Err(missing("function", "f")));
    assert_eq!(nodes[0].catalogue.delete_schedule(&s, None).await, Err(missing("schedule", "s")));
    assert_eq!(nodes[0].catalogue.switch_schedule(&s, Switch::Resume).await, Err(missing("schedule", "s")));
    assert_eq!(nodes[0].catalogue.revision().await, Ok(0));
}

/// A node that knows what was there before, and one that knows what never was, read the same as one that knows nothing.
pub async fn what_is_read_after_an_edit_is_all_that_is_there(subject: &dyn Subject) {
    let nodes = subject.fresh(FOREVER).await;
    let (catalogue, reader) = (&nodes[0].catalogue, &nodes[1].catalogue);
    let (f, _) = names();
    let name = |text: &str| -> ScheduleName { text.parse().expect("a name") };
    let mut known = reader.read().await.expect("read");
    for step in 0..8 {
        match step {
            0 => drop(catalogue.put_function(&f, &noop(), None).await.expect("stored")),
            1 => drop(catalogue.put_schedule(&name("a"), &on_leap_days(), None).await.expect("stored")),
            2 => drop(catalogue.put_schedule(&name("b"), &on_leap_days(), None).await.expect("stored")),
            3 => drop(catalogue.put_schedule(&name("a"), &on_leap_days_with(1), None).await.expect("stored")),
            4 => {
                catalogue.switch_schedule(&name("b"), Switch::Pause { until: None }).await.expect("stored");
            }
            // One goes and another comes between two readings: as many as before.
            5 => {
                catalogue.delete_schedule(&name("a"), None).await.expect("deleted");
                catalogue.put_schedule(&name("c"), &on_leap_days(), None).await.expect("stored");
            }
            6 => drop(catalogue.delete_schedule(&name("c"), None).await.expect("deleted")),
            // Made anew under its old name, by another text.
            _ => {
                catalogue.delete_schedule(&name("b"), None).await.expect("deleted");
                catalogue.put_schedule(&name("b"), &on_leap_days_with(2), None).await.expect("stored");
            }
        }
        let all = reader.read().await.expect("read");
        assert_ne!(all, known, "step {step}");
        assert_eq!(reader.read_after(&known).await.expect("read"), all, "step {step}");
        assert_eq!(reader.read_after(&all).await.expect("read"), all, "step {step}: nothing has changed");
        known = all;
    }
    // Whoever has seen edits that the store has forgotten: one more schedule, or another revision of one, up to a later
    // moment than the store's last edit or up to an earlier one.
    let b = known.schedules[&name("b")].clone();
    catalogue.put_schedule(&name("last"), &on_leap_days(), None).await.expect("stored");
    let all = reader.read().await.expect("read");
    for revision in [all.revision, all.revision + 5] {
        for forgotten in ["b", "z"] {
            let mut known = all.clone();
            known.revision = revision;
            let entry = ScheduleEntry { name: name(forgotten), revision, enabled: false, ..b.clone() };
            known.schedules.insert(entry.name.clone(), entry);
            assert_eq!(reader.read_after(&known).await.expect("read"), all, "{forgotten}, {revision}");
        }
    }
}
