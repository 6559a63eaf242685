//! Edits of definitions; the fence of a schedule changes in the same step.

use std::sync::Arc;

use beatmesh_node::beat::fence::{Edit, Fence};
use beatmesh_node::catalogue::entry::{FunctionEntry, QueueEntry, ScheduleEntry, Switch};
use beatmesh_node::catalogue::function::Function;
use beatmesh_node::catalogue::name::{FunctionName, QueueName, ScheduleName};
use beatmesh_node::catalogue::queue::Queue;
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::store::EditError;

use super::guards::Guard;
use super::state::StoreState;
use crate::history::Event;

impl StoreState {
    /// Definitions that are there before anybody runs.
    pub fn prepare(
        &mut self,
        function: FunctionName,
        definition: Function,
        schedules: impl Iterator<Item = ScheduleName>,
        schedule: &Schedule,
    ) {
        self.put_function(function, definition, None).expect("nothing stands in the way of a new function");
        for name in schedules {
            let put = self.put_schedule(name, schedule.clone(), None);
            put.expect("nothing stands in the way of a new schedule");
        }
    }

    pub(super) fn put_function(
        &mut self,
        name: FunctionName,
        definition: Function,
        expected: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError> {
        let known = self.catalogue.functions.get(&name);
        check_revision(known.map(|entry| entry.revision), expected)?;
        if let Some(entry) = known.filter(|entry| *entry.definition == definition) {
            return Ok((entry.clone(), false));
        }
        let revision = self.next_revision();
        let entry = FunctionEntry { name: name.clone(), revision, definition: Arc::new(definition) };
        self.catalogue.functions.insert(name, entry.clone());
        Ok((entry, true))
    }

    pub(super) fn delete_function(
        &mut self,
        name: &FunctionName,
        expected: Option<u64>,
    ) -> Result<(), EditError> {
        let known = self.catalogue.functions.get(name);
        let known = known.ok_or_else(|| not_found("function", name.as_str()))?;
        check_revision(Some(known.revision), expected)?;
        if let Some(by) = self.catalogue.schedules.values().find(|entry| entry.definition.function == *name) {
            return Err(EditError::InUse { by: by.name.to_string() });
        }
        self.next_revision();
        self.catalogue.functions.remove(name);
        Ok(())
    }

    pub(super) fn put_queue(
        &mut self,
        name: QueueName,
        definition: Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError> {
        let known = self.catalogue.queues.get(&name);
        check_revision(known.map(|entry| entry.revision), expected)?;
        if let Some(entry) = known.filter(|entry| *entry.definition == definition) {
            return Ok((entry.clone(), false));
        }
        let revision = self.next_revision();
        let entry = QueueEntry { name: name.clone(), revision, definition: Arc::new(definition) };
        self.catalogue.queues.insert(name, entry.clone());
        Ok((entry, true))
    }

    pub(super) fn delete_queue(&mut self, name: &QueueName, expected: Option<u64>) -> Result<(), EditError> {
        let known = self.catalogue.queues.get(name).ok_or_else(|| not_found("queue", name.as_str()))?;
        check_revision(Some(known.revision), expected)?;
        self.next_revision();
        self.catalogue.queues.remove(name);
        Ok(())
    }

    pub(super) fn put_schedule(
        &mut self,
        name: ScheduleName,
        definition: Schedule,
        expected: Option<u64>,
    ) -> Result<(ScheduleEntry, bool), EditError> {
        let known = self.catalogue.schedules.get(&name).cloned();
        check_revision(known.as_ref().map(|entry| entry.revision), expected)?;
        if !self.catalogue.functions.contains_key(&definition.function) {
            return Err(not_found("function", definition.function.as_str()));
        }
        if let Some(entry) = known.as_ref().filter(|entry| *entry.definition == definition) {
            return Ok((entry.clone(), false));
        }
        let revision = self.next_revision();
        let same_times = known.as_ref().filter(|entry| entry.definition.same_times(&definition));
        let times_revision = same_times.map_or(revision, |entry| entry.times_revision);
        let enabled = known.as_ref().is_none_or(|entry| entry.enabled);
        // Of other times nothing is owed from before the edit.
        let paused_until =
            same_times.or(known.as_ref().filter(|entry| !entry.enabled)).and_then(|entry| entry.paused_until);
        let definition = Arc::new(definition);
        let entry = ScheduleEntry { name, revision, times_revision, enabled, paused_until, definition };
        self.write_schedule(known.as_ref(), entry.clone());
        Ok((entry, true))
    }

    pub(super) fn delete_schedule(
        &mut self,
        name: &ScheduleName,
        expected: Option<u64>,
    ) -> Result<u64, EditError> {
        let known = self.catalogue.schedules.get(name).cloned();
        let known = known.ok_or_else(|| not_found("schedule", name.as_str()))?;
        check_revision(Some(known.revision), expected)?;
        let revision = self.next_revision();
        self.catalogue.schedules.remove(name);
        self.fence(Edit { schedule: name, revision, before: known.owes(), after: None });
        Ok(revision)
    }

    pub(super) fn switch_schedule(
        &mut self,
        name: &ScheduleName,
        switch: Switch,
    ) -> Result<ScheduleEntry, EditError> {
        let known = self.catalogue.schedules.get(name).cloned();
        let known = known.ok_or_else(|| not_found("schedule", name.as_str()))?;
        if let Switch::EndPause { revision } = switch {
            check_revision(Some(known.revision), Some(revision))?;
        }
        let Some(switched) = known.switched(switch) else { return Ok(known) };
        let revision = self.next_revision();
        let times_revision = if switched.enabled { revision } else { known.times_revision };
        let entry = ScheduleEntry { revision, times_revision, ..switched };
        self.write_schedule(Some(&known), entry.clone());
        Ok(entry)
    }

    fn write_schedule(&mut self, before: Option<&ScheduleEntry>, entry: ScheduleEntry) {
        let (schedule, revision) = (&entry.name, entry.revision);
        let before = before.and_then(ScheduleEntry::owes);
        self.fence(Edit { schedule, revision, before, after: Some(&entry) });
        self.catalogue.schedules.insert(entry.name.clone(), entry);
    }

    /// A fence without its edit.
    pub(super) fn fence_again(
        &mut self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) {
        let known = self.schedules.get(schedule).map(|standing| standing.revision);
        if known.map_or(after.is_some(), |known| known < revision) {
            self.fence(Edit { schedule, revision, before: None, after });
        }
    }

    /// Makes the edit's revision the only one whose ticks may commit, and writes down what it gives up.
    fn fence(&mut self, edit: Edit<'_>) {
        if self.is_catalogue_only {
            return self.history.record(Event::Defined {
                schedule: edit.schedule.clone(),
                revision: edit.revision,
                enabled: edit.after.is_some_and(|after| after.enabled),
            });
        }
        let standing = self.schedules.get(edit.schedule).cloned();
        let Fence { given_up, state } = edit.fence(standing.as_ref(), self.now);
        if let (Some(run), Some(standing)) = (given_up, standing)
            && self.guards.has(Guard::EditsLeaveLines)
        {
            self.give_up(&standing, &run);
        }
        self.history.record(Event::Fenced {
            schedule: edit.schedule.clone(),
            // As the edit wants it, not as the fence has it.
            revision: edit.revision,
            enabled: edit.after.is_some_and(|after| after.enabled),
            cron: edit.after.map(|after| after.definition.times().cron),
            cursor: state.cursor,
            store_now: self.now,
        });
        self.schedules.insert(state.schedule.clone(), state);
    }

    /// As SQLite's: no revision that the store has forgotten is given away again.
    fn next_revision(&mut self) -> u64 {
        let least =
            if self.guards.has(Guard::RevisionsUnique) { self.now.0.max(0).cast_unsigned() } else { 0 };
        self.catalogue.revision = (self.catalogue.revision + 1).max(least);
        self.catalogue.revision
    }
}

fn check_revision(known: Option<u64>, expected: Option<u64>) -> Result<(), EditError> {
    let current = known.unwrap_or(0);
    match expected {
        Some(expected) if expected != current => Err(EditError::Conflict { current }),
        _ => Ok(()),
    }
}

fn not_found(what: &'static str, name: &str) -> EditError {
    EditError::NotFound { what, name: name.to_owned() }
}
