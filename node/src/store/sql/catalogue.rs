//! Definitions of functions and schedules.
//!
//! When the queue lives in the same database, an edit of a schedule, the fence that its ticks are checked
//! against, and the ledger's line of what the edit gives up change in one transaction. Else the fence is the
//! second half of an edit, in the queue's store ([`crate::store::fenced`]).

use std::sync::Arc;

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::guards::Guard;
use super::open::REVISION;
use super::ticks::{self, Line};
use super::{Fences, SqlStore, Tx, big, error, json, number, open, parsed};
use crate::beat::fence::{Edit, Fence};
use crate::catalogue::entry::{Catalogue, FunctionEntry, QueueEntry, ScheduleEntry, Switch};
use crate::catalogue::function::Function;
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::queue::Queue;
use crate::catalogue::schedule::Schedule;
use crate::queue::StoreError;
use crate::store::{CatalogueStore, EditError};

#[async_trait]
impl CatalogueStore for SqlStore {
    fn id(&self) -> &str {
        &self.id
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let query = self.dialect().query("SELECT value FROM beatmesh WHERE name = ?").bind(REVISION);
        let row = self.read(async |readers| query.fetch_optional(readers).await).await?;
        row.map_or(Ok(0), |row| parsed(&row, "value").map_err(error::reading))
    }

    async fn read(&self) -> Result<Catalogue, StoreError> {
        self.read_catalogue().await
    }

    async fn read_after(&self, known: &Catalogue) -> Result<Catalogue, StoreError> {
        self.read_catalogue_after(known).await
    }

    async fn put_function(
        &self,
        name: &FunctionName,
        definition: &Function,
        expected: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError> {
        let (name, definition) = (name.clone(), Arc::new(definition.clone()));
        let edited = self.writer.run(move |tx| {
            let (name, definition) = (name.clone(), definition.clone());
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let known = find_function(tx, &name).await?;
                let current = known.as_ref().map_or(0, |entry| entry.revision);
                if expected.is_some_and(|expected| expected != current) {
                    return Ok(Err(EditError::Conflict { current }));
                }
                match known {
                    Some(entry) if entry.definition == definition => Ok(Ok((entry, false))),
                    _ => Ok(Ok((write_function(tx, name, definition).await?, true))),
                }
            })
        });
        edited.await?
    }

    async fn delete_function(&self, name: &FunctionName, expected: Option<u64>) -> Result<(), EditError> {
        let name = name.clone();
        let deleted = self.writer.run(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let Some(known) = find_function(tx, &name).await? else {
                    return Ok(Err(EditError::NotFound { what: "function", name: name.to_string() }));
                };
                if expected.is_some_and(|expected| expected != known.revision) {
                    return Ok(Err(EditError::Conflict { current: known.revision }));
                }
                for other in schedules(tx).await? {
                    if other.definition.function == name {
                        return Ok(Err(EditError::InUse { by: other.name.to_string() }));
                    }
                }
                next_revision(tx).await?;
                let delete = tx.dialect.query("DELETE FROM functions WHERE name = ?").bind(name.as_str());
                delete.execute(&mut *tx.connection).await?;
                Ok(Ok(()))
            })
        });
        deleted.await?
    }

    async fn put_queue(
        &self,
        name: &QueueName,
        definition: &Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError> {
        self.write_queue(name, definition, expected).await
    }

    async fn delete_queue(&self, name: &QueueName, expected: Option<u64>) -> Result<(), EditError> {
        self.remove_queue(name, expected).await
    }

    async fn put_schedule(
        &self,
        name: &ScheduleName,
        definition: &Schedule,
        expected: Option<u64>,
    ) -> Result<(ScheduleEntry, bool), EditError> {
        let (name, definition) = (name.clone(), Arc::new(definition.clone()));
        let fences = self.fences;
        let edited = self.writer.run(move |tx| {
            let (name, definition) = (name.clone(), definition.clone());
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let known = find_schedule(tx, &name).await?;
                let current = known.as_ref().map_or(0, |entry| entry.revision);
                if expected.is_some_and(|expected| expected != current) {
                    return Ok(Err(EditError::Conflict { current }));
                }
                if find_function(tx, &definition.function).await?.is_none() {
                    let name = definition.function.to_string();
                    return Ok(Err(EditError::NotFound { what: "function", name }));
                }
                if let Some(entry) = &known
                    && entry.definition == definition
                {
                    return Ok(Ok((entry.clone(), false)));
                }
                let revision = next_revision(tx).await?;
                let same_times = known.as_ref().filter(|entry| entry.definition.same_times(&definition));
                let times_revision = same_times.map_or(revision, |entry| entry.times_revision);
                let enabled = known.as_ref().is_none_or(|entry| entry.enabled);
                // Of other times nothing is owed from before the edit.
                let paused_until = same_times
                    .or(known.as_ref().filter(|entry| !entry.enabled))
                    .and_then(|entry| entry.paused_until);
                let entry =
                    ScheduleEntry { name, revision, times_revision, enabled, paused_until, definition };
                write_schedule(tx, fences, known.as_ref(), &entry).await?;
                Ok(Ok((entry, true)))
            })
        });
        edited.await?
    }

    async fn delete_schedule(&self, name: &ScheduleName, expected: Option<u64>) -> Result<u64, EditError> {
        let (name, fences) = (name.clone(), self.fences);
        let deleted = self.writer.run(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let Some(known) = find_schedule(tx, &name).await? else {
                    return Ok(Err(EditError::NotFound { what: "schedule", name: name.to_string() }));
                };
                if expected.is_some_and(|expected| expected != known.revision) {
                    return Ok(Err(EditError::Conflict { current: known.revision }));
                }
                let revision = next_revision(tx).await?;
                let delete = tx.dialect.query("DELETE FROM schedules WHERE name = ?").bind(name.as_str());
                delete.execute(&mut *tx.connection).await?;
                if fences == Fences::Here {
                    let before = known.owes();
                    fence(tx, Edit { schedule: &name, revision, before, after: None }).await?;
                }
                Ok(Ok(revision))
            })
        });
        deleted.await?
    }

    async fn switch_schedule(&self, name: &ScheduleName, switch: Switch) -> Result<ScheduleEntry, EditError> {
        let (name, fences) = (name.clone(), self.fences);
        let edited = self.writer.run(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let Some(known) = find_schedule(tx, &name).await? else {
                    return Ok(Err(EditError::NotFound { what: "schedule", name: name.to_string() }));
                };
                if let Switch::EndPause { revision } = switch
                    && revision != known.revision
                {
                    return Ok(Err(EditError::Conflict { current: known.revision }));
                }
                let Some(switched) = known.switched(switch) else { return Ok(Ok(known)) };
                let revision = next_revision(tx).await?;
                let times_revision = if switched.enabled { revision } else { known.times_revision };
                let entry = ScheduleEntry { revision, times_revision, ..switched };
                write_schedule(tx, fences, Some(&known), &entry).await?;
                Ok(Ok(entry))
            })
        });
        edited.await?
    }
}

async fn write_function(
    tx: &mut Tx<'_>,
    name: FunctionName,
    definition: Arc<Function>,
) -> sqlx::Result<FunctionEntry> {
    let revision = next_revision(tx).await?;
    let delete = tx.dialect.query("DELETE FROM functions WHERE name = ?").bind(name.as_str());
    delete.execute(&mut *tx.connection).await?;
    tx.dialect
        .query("INSERT INTO functions (name, revision, definition) VALUES (?, ?, ?)")
        .bind(name.as_str())
        .bind(big(revision))
        .bind(to_json(&*definition))
        .execute(&mut *tx.connection)
        .await?;
    Ok(FunctionEntry { name, revision, definition })
}

async fn write_schedule(
    tx: &mut Tx<'_>,
    fences: Fences,
    before: Option<&ScheduleEntry>,
    entry: &ScheduleEntry,
) -> sqlx::Result<()> {
    let delete = tx.dialect.query("DELETE FROM schedules WHERE name = ?").bind(entry.name.as_str());
    delete.execute(&mut *tx.connection).await?;
    let insert = tx.dialect.query(
        "INSERT INTO schedules (name, revision, times_revision, enabled, paused_until, definition) \
         VALUES (?, ?, ?, ?, ?, ?)",
    );
    insert
        .bind(entry.name.as_str())
        .bind(big(entry.revision))
        .bind(big(entry.times_revision))
        .bind(i64::from(entry.enabled))
        .bind(entry.paused_until.map(|until| until.0))
        .bind(to_json(&*entry.definition))
        .execute(&mut *tx.connection)
        .await?;
    if fences == Fences::Elsewhere {
        return Ok(());
    }
    let before = before.and_then(ScheduleEntry::owes);
    fence(tx, Edit { schedule: &entry.name, revision: entry.revision, before, after: Some(entry) }).await
}

impl SqlStore {
    /// A fence without its edit: the standing was lost, or the queue was elsewhere until now.
    pub(super) async fn write_fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        let (schedule, after) = (schedule.clone(), after.cloned());
        let fenced = self.writer.run(move |tx| {
            let (schedule, after) = (schedule.clone(), after.clone());
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let standing = ticks::standing(tx, &schedule).await?;
                let known = standing.map(|standing| standing.revision);
                if known.map_or(after.is_none(), |known| known >= revision) {
                    return Ok(());
                }
                // Which times ran until now is not known here; edits say it, which carry their fence with them.
                fence(tx, Edit { schedule: &schedule, revision, before: None, after: after.as_ref() }).await
            })
        });
        fenced.await
    }
}

/// Makes the edit's revision the only one whose ticks may commit, and writes down what it gives up.
async fn fence(tx: &mut Tx<'_>, edit: Edit<'_>) -> sqlx::Result<()> {
    let standing = ticks::standing(tx, edit.schedule).await?;
    let is_new = standing.is_none();
    let Fence { given_up, state } = edit.fence(standing.as_ref(), tx.now);
    if let (Some(run), Some(standing)) = (given_up, standing)
        && tx.guards.has(Guard::EditsLeaveLines)
    {
        ticks::record(tx, &Line::given_up(&standing, &run)).await?;
    }
    // In its place, because ticks wait for this very row: of one that was deleted and made anew they would learn
    // nothing.
    let statement = if is_new {
        "INSERT INTO schedule_states (revision, enabled, due_up_to, schedule) VALUES (?, ?, ?, ?)"
    } else {
        "UPDATE schedule_states SET revision = ?, enabled = ?, due_up_to = ? WHERE schedule = ?"
    };
    tx.dialect
        .query(statement)
        .bind(big(state.revision))
        .bind(i64::from(state.enabled))
        .bind(state.cursor.0)
        .bind(state.schedule.as_str())
        .execute(&mut *tx.connection)
        .await?;
    Ok(())
}

/// Edits look at several rows before they write, so on a server they wait for each other: by the row of the counter
/// that all of them need, and before anything else, so that none waits with locks of its own.
pub(super) async fn one_edit_at_a_time(tx: &mut Tx<'_>) -> sqlx::Result<()> {
    let query = format!("SELECT value FROM beatmesh WHERE name = ? {}", tx.dialect.for_update());
    tx.dialect.query(query).bind(REVISION).fetch_optional(&mut *tx.connection).await.map(drop)
}

/// Greater than the last one, and no less than the store's clock in milliseconds: a file that was put back from
/// a backup must not give a revision away that nodes know from before, with other definitions.
pub(super) async fn next_revision(tx: &mut Tx<'_>) -> sqlx::Result<u64> {
    let last = open::value(tx.connection, tx.dialect, REVISION).await?.unwrap_or_else(|| "0".to_owned());
    // Signed, as the columns are that hold it.
    let after = |last: i64| u64::try_from(last.checked_add(1)?.max(tx.now.0)).ok();
    let next = last.parse().ok().and_then(after);
    let next =
        next.ok_or_else(|| sqlx::Error::Decode(format!("after {REVISION} `{last}` there is none").into()))?;
    open::set_value(tx.connection, tx.dialect, REVISION, &next.to_string()).await?;
    Ok(next)
}

async fn find_function(tx: &mut Tx<'_>, name: &FunctionName) -> sqlx::Result<Option<FunctionEntry>> {
    let query = tx.dialect.query("SELECT name, revision, definition FROM functions WHERE name = ?");
    let row = query.bind(name.as_str()).fetch_optional(&mut *tx.connection).await?;
    row.as_ref().map(function).transpose()
}

async fn find_schedule(tx: &mut Tx<'_>, name: &ScheduleName) -> sqlx::Result<Option<ScheduleEntry>> {
    let query = tx
        .dialect
        .query("SELECT name, revision, times_revision, enabled, paused_until, definition FROM schedules WHERE name = ?");
    let row = query.bind(name.as_str()).fetch_optional(&mut *tx.connection).await?;
    row.as_ref().map(schedule).transpose()
}

async fn schedules(tx: &mut Tx<'_>) -> sqlx::Result<Vec<ScheduleEntry>> {
    let query = "SELECT name, revision, times_revision, enabled, paused_until, definition FROM schedules";
    let rows = tx.dialect.query(query).fetch_all(&mut *tx.connection).await?;
    rows.iter().map(schedule).collect()
}

pub(super) fn function(row: &AnyRow) -> sqlx::Result<FunctionEntry> {
    Ok(FunctionEntry {
        name: parsed(row, "name")?,
        revision: number(row, "revision")?,
        definition: Arc::new(json(row, "definition")?),
    })
}

pub(super) fn schedule(row: &AnyRow) -> sqlx::Result<ScheduleEntry> {
    Ok(ScheduleEntry {
        name: parsed(row, "name")?,
        revision: number(row, "revision")?,
        times_revision: number(row, "times_revision")?,
        enabled: number::<i64>(row, "enabled")? != 0,
        paused_until: row.try_get::<Option<i64>, _>("paused_until")?.map(UnixMs),
        definition: Arc::new(json(row, "definition")?),
    })
}

pub(super) fn to_json(definition: &impl serde::Serialize) -> String {
    serde_json::to_string(definition).expect("definitions hold only texts, numbers and maps with text keys")
}
