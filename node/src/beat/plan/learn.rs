//! How a plan learns, and where what it learned puts a schedule on the agenda.
//!
//! Younger facts win: ids grow, so an answer to a read that was asked for before a commit ended, or
//! before an edit, is recognised as older news. A cursor may well go back (the store was rolled back, see
//! [`super::rollback`]): the store is believed, whatever was known before.

use std::collections::BTreeMap;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;

use super::schedule::{Known, Phase, PlannedSchedule, Undecided};
use super::{AFTER_ERROR, CommitId, Plan, ReadId, Standing, WHILE_INCONSISTENT};
use crate::catalogue::function::Backoff;
use crate::catalogue::name::ScheduleName;
use crate::queue::StoreError;
use crate::queue::tick::{ScheduleState, TickOutcome};

/// What a node learns.
impl Plan {
    pub(super) fn take_standing(&mut self, now: UnixMs, standing: Standing) {
        let before = std::mem::replace(&mut self.standing, standing);
        // An owner acts without looking, so it must have looked once; a node that was out knows
        // nothing of what happened meanwhile. A standby looks each time.
        if before != standing && (standing == Standing::Owner || before == Standing::Out) {
            self.go_blind(now);
        }
    }

    pub(super) fn take_catalogue(&mut self, now: UnixMs, catalogue: Vec<Arc<PlannedSchedule>>) {
        let mut gone = std::mem::take(&mut self.schedules);
        for planned in catalogue {
            let name = planned.name.clone();
            let Some(mut known) = gone.remove(&name) else {
                self.schedules.insert(name.clone(), Known::new(planned));
                self.doubt(now, &name);
                continue;
            };
            let edited = known.planned.revision != planned.revision;
            known.planned = planned;
            if edited {
                known.troubles = 0;
            }
            let committing = matches!(known.phase, Phase::Committing { .. });
            self.schedules.insert(name.clone(), known);
            // A commit under way will say where the old revision ended, and then this one is read.
            if edited && !committing {
                self.doubt(now, &name);
            }
        }
        for (name, known) in gone {
            self.leave_agenda(&name, known.phase);
            self.leading.remove(&name);
        }
    }

    pub(super) fn end_read(
        &mut self,
        now: UnixMs,
        id: ReadId,
        result: Result<Vec<ScheduleState>, StoreError>,
        dice: f64,
    ) {
        let Some(reading) = self.reading.take_if(|reading| reading.id == id) else { return };
        let states = match result {
            Ok(states) => states,
            Err(_) => {
                self.read_failures = self.read_failures.saturating_add(1);
                self.read_not_before = now.plus(AFTER_ERROR.pause(self.read_failures, dice));
                return;
            }
        };
        self.blind = false;
        self.read_failures = 0;
        self.read_not_before = now;
        let mut states: BTreeMap<_, _> = states.into_iter().map(|s| (s.schedule.clone(), s)).collect();
        let mut schedules = std::mem::take(&mut self.schedules);
        let names: Vec<_> = schedules
            .iter_mut()
            // What a commit has said since the read was asked for is newer than the read.
            .filter(|(_, known)| known.learned < id.0 && !matches!(known.phase, Phase::Committing { .. }))
            .filter_map(|(name, known)| {
                known.seen = reading.asked;
                known.take_told(id.0);
                let state = states.remove(name);
                let went_back = state.as_ref().is_some_and(|state| state.cursor < known.cursor);
                // Most have not moved: leave them where they are.
                (went_back || !known.stands_at(state.as_ref())).then(|| (name.clone(), state))
            })
            .collect();
        self.schedules = schedules;
        for (name, state) in names {
            if let Some(state) = &state {
                self.observe(&name, state.cursor, id.0);
            }
            self.settle(now, &name, state.as_ref(), dice);
        }
    }

    pub(super) fn end_commit(
        &mut self,
        now: UnixMs,
        id: CommitId,
        result: Result<TickOutcome, StoreError>,
        dice: f64,
    ) {
        let Some(name) = self.in_flight.remove(&id) else { return };
        let learned = self.last_id;
        let Some(known) = self.schedules.get_mut(&name) else { return };
        let Phase::Committing { id: current, revision, undecided, last } = known.phase else { return };
        if current != id {
            return;
        }
        known.learned = learned;
        known.seen = now;
        known.forget_lead(&mut self.leading);
        match result {
            // It has not moved at all. A store that contradicts itself must not be asked in a hot loop.
            Ok(TickOutcome::Moved(Some(state)))
                if state.cursor == undecided.cursor && state.revision == revision && state.enabled =>
            {
                self.pause_after(AFTER_ERROR, now, &name, dice);
            }
            Ok(TickOutcome::Moved(state)) => {
                let went_back = state.as_ref().is_some_and(|state| self.observe(&name, state.cursor, id.0));
                self.settle(now, &name, state.as_ref(), dice);
                // What one has lost others have lost: seen at once, and told together.
                if went_back && !self.blind {
                    self.go_blind(now);
                }
            }
            // The catalogue changed meanwhile: only the store knows where the new revision stands.
            Ok(_) if revision != known.planned.revision => self.doubt(now, &name),
            Ok(TickOutcome::Committed { .. }) => {
                self.observe(&name, last, id.0);
                let state = ScheduleState { schedule: name.clone(), revision, enabled: true, cursor: last };
                self.settle(now, &name, Some(&state), dice);
                self.queue_behind(now, &name);
            }
            Ok(TickOutcome::TooEarly { store_now }) => {
                // Counted to the end of the round trip: rather a little late than too early again.
                known.lead = now.millis_since(store_now).max(1);
                let at = UnixMs(undecided.moment.0.saturating_add(known.lead));
                self.leading.insert(name.clone());
                self.wait(&name, undecided, at);
            }
            Err(error) => {
                let backoff = match error {
                    StoreError::Unavailable(_) | StoreError::Unknown(_) => AFTER_ERROR,
                    StoreError::Refused(_) => WHILE_INCONSISTENT,
                };
                self.pause_after(backoff, now, &name, dice);
            }
        }
    }
}

/// Where a schedule goes on the agenda.
impl Plan {
    /// Goes on from what the store said: waits for the next due time, or asks again later.
    fn settle(&mut self, now: UnixMs, name: &ScheduleName, state: Option<&ScheduleState>, dice: f64) {
        let known = self.schedules.get_mut(name).expect("callers have looked it up");
        let Some(state) = state.filter(|state| known.agrees_with(state)) else {
            return self.pause_after(WHILE_INCONSISTENT, now, name, dice);
        };
        known.troubles = 0;
        match known.planned.timetable.next_after(state.cursor) {
            Some(due) => {
                let moment = known.planned.moments().of(due);
                let at = UnixMs(moment.0.saturating_add(known.lead));
                self.wait(name, Undecided { cursor: state.cursor, due, moment }, at);
            }
            None => self.enter(name, Phase::Idle),
        }
    }

    /// After a commit that left more to catch up: behind those that are due already, so that one long
    /// gap does not hold up every other schedule.
    fn queue_behind(&mut self, now: UnixMs, name: &ScheduleName) {
        let Some(delay) = self.delay() else { return };
        if let Phase::Waiting { undecided, at } = self.schedules[name].phase {
            let my_turn = now.minus(delay);
            if at < my_turn {
                self.wait(name, undecided, my_turn);
            }
        }
    }

    pub(super) fn wait(&mut self, name: &ScheduleName, undecided: Undecided, at: UnixMs) {
        self.enter(name, Phase::Waiting { undecided, at });
        self.by_due.insert((at, name.clone()));
    }

    /// It could not go on: asks again, later each time.
    fn pause_after(&mut self, backoff: Backoff, now: UnixMs, name: &ScheduleName, dice: f64) {
        let known = self.schedules.get_mut(name).expect("callers have looked it up");
        known.troubles = known.troubles.saturating_add(1);
        let retry_at = now.plus(backoff.pause(known.troubles, dice));
        self.doubt(retry_at, name);
    }

    /// Where it stands is not known, or makes no sense yet: a read at `retry_at` will tell.
    fn doubt(&mut self, retry_at: UnixMs, name: &ScheduleName) {
        self.enter(name, Phase::Unsure { retry_at });
        let last_id = self.last_id;
        if let Some(known) = self.schedules.get_mut(name) {
            known.learned = last_id;
        }
        self.by_retry.insert((retry_at, name.clone()));
    }

    fn enter(&mut self, name: &ScheduleName, phase: Phase) {
        let known = self.schedules.get_mut(name).expect("callers have looked it up");
        let before = std::mem::replace(&mut known.phase, phase);
        self.leave_agenda(name, before);
    }

    pub(super) fn leave_agenda(&mut self, name: &ScheduleName, phase: Phase) {
        match phase {
            Phase::Waiting { at, .. } => self.by_due.remove(&(at, name.clone())),
            Phase::Unsure { retry_at } => self.by_retry.remove(&(retry_at, name.clone())),
            Phase::Committing { .. } | Phase::Idle => false,
        };
    }
}
