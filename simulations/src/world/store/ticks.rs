//! Ticks: the one step on which "never twice" rests, and the ledger that it writes.

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::catalogue::schedule::Overlap;
use beatmesh_node::queue::task::TaskId;
use beatmesh_node::queue::tick::{
    EARLIEST_MS, ScheduleState, SkipReason, TickCommit, TickDecision, TickOutcome, TickRecord, Verdict,
};

use super::guards::Guard;
use super::state::{Phase, StoreState};
use super::tasks::schedule_of;
use crate::history::Event;

impl StoreState {
    /// Checks the fence, the cursor and the clock, then records all decisions and moves the cursor.
    pub(super) fn commit_tick(&mut self, commit: &TickCommit) -> TickOutcome {
        let state = self.schedules.get(&commit.schedule).cloned();
        let (Some(first), Some(last)) = (commit.decisions.first(), commit.decisions.last()) else {
            return TickOutcome::Moved(state);
        };
        let is_current = state.as_ref().is_some_and(|state| {
            let may_tick = state.enabled || !self.guards.has(Guard::EnabledCheck);
            // A store that overlooks a pause has nothing to compare with while it lasts.
            let compares = self.guards.has(Guard::RevisionCompare) && state.enabled == may_tick;
            may_tick
                && (state.revision == commit.revision || !compares)
                && (state.cursor == commit.expected_cursor || !self.guards.has(Guard::CursorCompare))
        });
        if !is_current || first.from <= commit.expected_cursor {
            self.refuse(commit, last.due, "moved");
            return TickOutcome::Moved(state);
        }
        // All due times must have come; the last is the latest.
        if last.due.millis_since(self.now) > EARLIEST_MS && self.guards.has(Guard::StoreClock) {
            self.refuse(commit, last.due, "too early");
            return TickOutcome::TooEarly { store_now: self.now };
        }
        let fired = commit.decisions.iter().filter_map(|decision| self.decide(commit, decision)).collect();
        if let Some(state) = self.schedules.get_mut(&commit.schedule) {
            state.cursor = last.due;
        }
        TickOutcome::Committed { fired }
    }

    /// Carries one decision out; answers the task if it was fired.
    fn decide(&mut self, commit: &TickCommit, decision: &TickDecision) -> Option<TaskId> {
        let verdict = match decision.verdict {
            Verdict::Fire if self.overlaps(commit) => Verdict::Skip(SkipReason::Overlap),
            verdict => verdict,
        };
        let skipped = match verdict {
            Verdict::Fire => None,
            Verdict::Skip(reason) => Some(reason.as_str().to_owned()),
        };
        let firing = skipped.is_none().then(|| commit.firing(decision.due));
        let task = firing.as_ref().map(|task| task.id);
        if let Some(firing) = firing {
            self.insert(firing);
        }
        self.write_line(&commit.schedule, commit.revision, decision, skipped, task, &commit.node);
        task
    }

    /// Skips what an edit gives up, under the revision that stood before it. No node asked for it.
    pub(super) fn give_up(&mut self, standing: &ScheduleState, run: &TickDecision) {
        let Verdict::Skip(reason) = run.verdict else { unreachable!("an edit fires nothing") };
        let skipped = Some(reason.as_str().to_owned());
        self.write_line(&standing.schedule, standing.revision, run, skipped, None, "");
    }

    fn write_line(
        &mut self,
        schedule: &ScheduleName,
        revision: u64,
        decision: &TickDecision,
        skipped: Option<String>,
        task: Option<TaskId>,
        node: &str,
    ) {
        let &TickDecision { due, from, count, .. } = decision;
        self.history.record(Event::TickCommitted {
            schedule: schedule.clone(),
            revision,
            from,
            due,
            count,
            skipped: skipped.clone(),
            task,
            node: node.to_owned(),
            store_now: self.now,
        });
        let (committed_at, node) = (self.now, node.to_owned());
        let record = TickRecord { due, from, count, revision, skipped, task, committed_at, node };
        self.ticks.push((schedule.clone(), record));
    }

    /// Whether a task of an earlier firing stands in the way.
    fn overlaps(&self, commit: &TickCommit) -> bool {
        let in_the_way = |phase| match commit.overlap {
            Overlap::Allow => false,
            Overlap::Skip => phase != Phase::Ended,
            Overlap::QueueOne => matches!(phase, Phase::Waiting | Phase::Ready | Phase::Behind),
        };
        let of_schedule =
            self.tasks.values().filter(|row| schedule_of(&row.record) == Some(&commit.schedule));
        of_schedule.map(|row| row.phase).any(in_the_way)
    }

    fn refuse(&self, commit: &TickCommit, due: UnixMs, reason: &'static str) {
        let (schedule, node) = (commit.schedule.clone(), commit.node.clone());
        self.history.record(Event::TickRefused { schedule, due, reason, node });
    }

    pub(super) fn read_ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Vec<TickRecord> {
        let within = |tick: &&TickRecord| tick.due >= since && tick.due < until;
        let mut found: Vec<_> = self.ledger(schedule).filter(within).cloned().collect();
        found.sort_by_key(|tick| std::cmp::Reverse(tick.due));
        found.truncate(limit as usize);
        found
    }
}
