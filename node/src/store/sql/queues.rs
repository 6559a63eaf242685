//! Queues: their definitions, and how many tasks wait in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::catalogue::{next_revision, one_edit_at_a_time, to_json};
use super::tasks::phase;
use super::{SqlStore, Tx, big, error, json, number, parsed};
use crate::catalogue::entry::QueueEntry;
use crate::catalogue::name::QueueName;
use crate::catalogue::queue::Queue;
use crate::queue::{QueueCounts, StoreError};
use crate::store::EditError;

impl SqlStore {
    pub(super) async fn write_queue(
        &self,
        name: &QueueName,
        definition: &Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError> {
        let (name, definition) = (name.clone(), Arc::new(definition.clone()));
        let edited = self.writer.run(move |tx| {
            let (name, definition) = (name.clone(), definition.clone());
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let known = find(tx, &name).await?;
                let current = known.as_ref().map_or(0, |entry| entry.revision);
                if expected.is_some_and(|expected| expected != current) {
                    return Ok(Err(EditError::Conflict { current }));
                }
                if let Some(entry) = known.filter(|entry| entry.definition == definition) {
                    return Ok(Ok((entry, false)));
                }
                let revision = next_revision(tx).await?;
                let delete = tx.dialect.query("DELETE FROM queues WHERE name = ?").bind(name.as_str());
                delete.execute(&mut *tx.connection).await?;
                tx.dialect
                    .query("INSERT INTO queues (name, revision, definition) VALUES (?, ?, ?)")
                    .bind(name.as_str())
                    .bind(big(revision))
                    .bind(to_json(&*definition))
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(Ok((QueueEntry { name, revision, definition }, true)))
            })
        });
        edited.await?
    }

    pub(super) async fn remove_queue(
        &self,
        name: &QueueName,
        expected: Option<u64>,
    ) -> Result<(), EditError> {
        let name = name.clone();
        let deleted = self.writer.run(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                one_edit_at_a_time(tx).await?;
                let Some(known) = find(tx, &name).await? else {
                    return Ok(Err(EditError::NotFound { what: "queue", name: name.to_string() }));
                };
                if expected.is_some_and(|expected| expected != known.revision) {
                    return Ok(Err(EditError::Conflict { current: known.revision }));
                }
                next_revision(tx).await?;
                let delete = tx.dialect.query("DELETE FROM queues WHERE name = ?").bind(name.as_str());
                delete.execute(&mut *tx.connection).await?;
                Ok(Ok(()))
            })
        });
        deleted.await?
    }

    pub(super) async fn read_queue_rows(&self) -> Result<Vec<AnyRow>, StoreError> {
        let query = self.dialect().query("SELECT name, revision, definition FROM queues");
        self.read(async |readers| query.fetch_all(readers).await).await
    }

    /// Two readings, not of one moment: numbers for people.
    pub(super) async fn read_queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        let mut counts: BTreeMap<QueueName, QueueCounts> = BTreeMap::new();
        let open = "SELECT queue, state, COUNT(*) AS tasks, MIN(CASE WHEN phase = ? THEN wake_at END) AS oldest \
                    FROM tasks WHERE phase IN (0, 1, 2, 4) GROUP BY queue, state";
        let open = self.dialect().query(open).bind(phase::READY);
        let ended = "SELECT queue, state, COUNT(*) AS tasks, MIN(CASE WHEN phase = ? THEN wake_at END) AS oldest \
                     FROM tasks WHERE phase = ? GROUP BY queue, state";
        let ended = self.dialect().query(ended).bind(phase::READY).bind(phase::ENDED);
        for query in [open, ended] {
            for row in self.read(async |readers| query.fetch_all(readers).await).await? {
                // A name that is none is not ours.
                let Ok(queue) = parsed::<QueueName>(&row, "queue") else { continue };
                let of = counts.entry(queue).or_default();
                let state = parsed(&row, "state").map_err(error::reading)?;
                let tasks: u64 = number(&row, "tasks").map_err(error::reading)?;
                *of.tasks.entry(state).or_default() += tasks;
                let oldest: Option<i64> = row.try_get("oldest").map_err(error::reading)?;
                of.oldest_ready = of.oldest_ready.into_iter().chain(oldest.map(UnixMs)).min();
            }
        }
        Ok(counts)
    }
}

async fn find(tx: &mut Tx<'_>, name: &QueueName) -> sqlx::Result<Option<QueueEntry>> {
    let query = tx.dialect.query("SELECT name, revision, definition FROM queues WHERE name = ?");
    let row = query.bind(name.as_str()).fetch_optional(&mut *tx.connection).await?;
    row.as_ref().map(entry).transpose()
}

pub(super) fn entry(row: &AnyRow) -> sqlx::Result<QueueEntry> {
    Ok(QueueEntry {
        name: parsed(row, "name")?,
        revision: number(row, "revision")?,
        definition: Arc::new(json(row, "definition")?),
    })
}
