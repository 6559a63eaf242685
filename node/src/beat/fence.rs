//! What an edit makes of a schedule in the queue's store: the fence that its ticks are checked against, and
//! what becomes of due times that had passed and that nobody had decided yet.
//!
//! Every due time ends as fired or as skipped with a reason, so those that an edit takes away are skipped in
//! the step that writes its fence. Pure, and the same for every store: the store reads, asks, and writes.

use beatmesh_mesh::env::UnixMs;

use super::timetable::Timetable;
use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Times;
use crate::queue::tick::{ScheduleState, SkipReason, TickDecision, Verdict};

/// What an edit leaves in the queue's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// A line for the ledger, under the revision before the edit.
    pub given_up: Option<TickDecision>,
    /// Where the schedule stands from now on: its new revision is the only one whose ticks may commit.
    pub state: ScheduleState,
}

/// An edit of one schedule, as the store finds and leaves it.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// Its name.
    pub schedule: &'a ScheduleName,
    /// The edit's own revision.
    pub revision: u64,
    /// The times that ran until this edit; `None` when there was no schedule, or it was paused.
    pub before: Option<Times>,
    /// What is there now; `None` when it was deleted.
    pub after: Option<&'a ScheduleEntry>,
}

impl Edit<'_> {
    /// The fence of this edit. `standing` is where the schedule stood, if the name was ever used; `now` is
    /// the store's clock, all in the edit's transaction.
    #[must_use]
    pub fn fence(&self, standing: Option<&ScheduleState>, now: UnixMs) -> Fence {
        let given_up = standing.zip(self.ending(standing)).and_then(|(standing, (timetable, reason))| {
            let passed = timetable.passed(standing.cursor, now)?;
            let (due, from, count) = (passed.last, passed.first, passed.count);
            Some(TickDecision { due, from, count, verdict: Verdict::Skip(reason) })
        });
        let decided = given_up.as_ref().map(|run| run.due).or(standing.map(|standing| standing.cursor));
        let cursor = match (decided, self.after) {
            (None, _) => now,
            // What was fired a little early is not fired again.
            (Some(decided), Some(after)) if self.starts_anew(after, standing) => {
                // A pause that ends by itself ends at its time, whenever somebody noticed.
                let ended = after.paused_until.filter(|_| after.enabled);
                decided.max(ended.map_or(now, |until| UnixMs(until.0.saturating_sub(1))))
            }
            (Some(decided), _) => decided,
        };
        let enabled = self.after.is_some_and(|after| after.enabled);
        let (schedule, revision) = (self.schedule.clone(), self.revision);
        Fence { given_up, state: ScheduleState { schedule, revision, enabled, cursor } }
    }

    /// Whether the due times are others than those of the fenced revision.
    fn starts_anew(&self, after: &ScheduleEntry, standing: Option<&ScheduleState>) -> bool {
        standing.is_none_or(|standing| standing.revision < after.times_revision)
    }

    /// The due times that are owed no longer, and why. During a pause none are.
    fn ending(&self, standing: Option<&ScheduleState>) -> Option<(Timetable, SkipReason)> {
        let before = self.before.as_ref()?;
        let reason = match self.after {
            None => SkipReason::Deleted,
            Some(after) if !after.enabled => SkipReason::Paused,
            Some(after) if after.definition.times() != *before => SkipReason::Edited,
            // The same times, but they begin at the present: edits in between, a pause and its end perhaps, never came
            // to the store of the fences.
            Some(after) if self.starts_anew(after, standing) => SkipReason::Edited,
            // They stay owed, and fire under the new revision.
            Some(_) => return None,
        };
        match before.timetable() {
            Ok(timetable) => Some((timetable, reason)),
            Err(error) => {
                let schedule = self.schedule.as_str();
                tracing::error!(schedule, %error, "an edit ends a timetable that this version cannot read: what was overdue is not in the ledger");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// With definitions and fences in two stores, one fence may stand for several edits.
    #[test]
    fn a_fence_that_skips_a_pause_and_its_end_says_what_it_gives_up() {
        let definition = serde_json::json!({"cron": "* * * * * *", "function": "f"});
        let definition: crate::catalogue::schedule::Schedule =
            serde_json::from_value(definition).expect("one");
        let schedule: ScheduleName = "s".parse().expect("a name");
        let standing =
            ScheduleState { schedule: schedule.clone(), revision: 1, enabled: true, cursor: UnixMs(10_000) };
        let before = Some(definition.times());
        for (times_revision, expected) in [(1, None), (3, Some((11_000, 13_000, 3)))] {
            let (name, definition) = (schedule.clone(), Arc::new(definition.clone()));
            let after = ScheduleEntry {
                name,
                revision: 3,
                times_revision,
                enabled: true,
                paused_until: None,
                definition,
            };
            let edit = Edit { schedule: &schedule, revision: 3, before: before.clone(), after: Some(&after) };
            let Fence { given_up, state } = edit.fence(Some(&standing), UnixMs(13_500));
            let given_up = given_up.map(|run| (run.from.0, run.due.0, run.count));
            assert_eq!(given_up, expected, "times of revision {times_revision}");
            let cursor = if expected.is_some() { 13_500 } else { 10_000 };
            assert_eq!(state.cursor, UnixMs(cursor), "what is not given up stays owed");
        }
    }
}
