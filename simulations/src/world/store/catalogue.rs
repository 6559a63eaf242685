//! Edits of definitions; the fence of a schedule changes in the same step.

use std::sync::Arc;

use beatmesh_node::catalogue::entry::{FunctionEntry, ScheduleEntry};
use beatmesh_node::catalogue::function::Function;
use beatmesh_node::catalogue::name::{FunctionName, ScheduleName};
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::queue::tick::ScheduleState;
use beatmesh_node::store::EditError;

use super::state::StoreState;
use crate::history::Event;

impl StoreState {
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
        let entry =
            ScheduleEntry { name, revision, times_revision, enabled, definition: Arc::new(definition) };
        self.write_schedule(entry.clone());
        Ok((entry, true))
    }

    pub(super) fn delete_schedule(
        &mut self,
        name: &ScheduleName,
        expected: Option<u64>,
    ) -> Result<(), EditError> {
        let known = self.catalogue.schedules.get(name).cloned();
        let known = known.ok_or_else(|| not_found("schedule", name.as_str()))?;
        check_revision(Some(known.revision), expected)?;
        let revision = self.next_revision();
        self.catalogue.schedules.remove(name);
        self.fence(&ScheduleEntry { revision, enabled: false, ..known });
        Ok(())
    }

    pub(super) fn enable_schedule(
        &mut self,
        name: &ScheduleName,
        enabled: bool,
    ) -> Result<ScheduleEntry, EditError> {
        let known = self.catalogue.schedules.get(name).cloned();
        let known = known.ok_or_else(|| not_found("schedule", name.as_str()))?;
        if known.enabled == enabled {
            return Ok(known);
        }
        let revision = self.next_revision();
        let times_revision = if enabled { revision } else { known.times_revision };
        let entry = ScheduleEntry { revision, times_revision, enabled, ..known };
        self.write_schedule(entry.clone());
        Ok(entry)
    }

    fn write_schedule(&mut self, entry: ScheduleEntry) {
        self.fence(&entry);
        self.catalogue.schedules.insert(entry.name.clone(), entry);
    }

    /// Makes the schedule's new revision the only one whose ticks may commit. The cursor stays when the
    /// due times are those of the fenced revision, else it starts at the store's present.
    fn fence(&mut self, entry: &ScheduleEntry) {
        let cursor = match self.schedules.get(&entry.name) {
            None => self.now,
            Some(known) if known.revision < entry.times_revision => known.cursor.max(self.now),
            Some(known) => known.cursor,
        };
        let (schedule, revision, enabled) = (entry.name.clone(), entry.revision, entry.enabled);
        self.history.record(Event::Fenced { schedule: schedule.clone(), revision, enabled, cursor });
        self.schedules.insert(schedule.clone(), ScheduleState { schedule, revision, enabled, cursor });
    }

    fn next_revision(&mut self) -> u64 {
        self.catalogue.revision += 1;
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
