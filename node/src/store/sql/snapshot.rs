//! The catalogue as one snapshot, read as a whole or brought up to date.
//!
//! A hundred thousand schedules take most of a second to read, and every node reads after every edit. So of schedules
//! only those are sent that have changed since; what was deleted meanwhile, and what a database has forgotten that was
//! put back from a backup, shows in the sum of all: then everything is read.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{SqlStore, big, catalogue, error, queues};
use crate::catalogue::entry::{Catalogue, FunctionEntry, QueueEntry, ScheduleEntry};
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::queue::StoreError;
use crate::store::CatalogueStore;

const SCHEDULES: &str =
    "SELECT name, revision, times_revision, enabled, paused_until, definition FROM schedules";

/// Revisions are summed up by their remainders: the sum of a million of them stays far below 2^63. Prime, so that those
/// of one moment, which follow each other, do not look alike.
const REMAINDER: u64 = 1_000_000_007;

/// How many schedules there are, and the sum of their revisions' remainders: equal sums mean equal schedules, because a
/// revision is never given away twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: i64,
    remainders: i64,
}

impl Sum {
    fn of(schedules: &BTreeMap<ScheduleName, ScheduleEntry>) -> Self {
        let remainders = schedules.values().map(|entry| big(entry.revision % REMAINDER));
        Self { count: i64::try_from(schedules.len()).unwrap_or(i64::MAX), remainders: remainders.sum() }
    }
}

impl SqlStore {
    /// Everything.
    pub(super) async fn read_catalogue(&self) -> Result<Catalogue, StoreError> {
        // The revision first: an edit in between is then read again, never missed.
        let revision = self.revision().await?;
        let (functions, queues) = self.read_few().await?;
        let schedules = self.dialect().query(SCHEDULES);
        let schedules = self.read(async |readers| schedules.fetch_all(readers).await).await?;
        let schedules = readable(schedules.iter().map(catalogue::schedule));
        let schedules = schedules.map(|entry| (entry.name.clone(), entry)).collect();
        Ok(Catalogue { revision, queues, functions, schedules })
    }

    /// Everything, of which `known` was there before.
    pub(super) async fn read_catalogue_after(&self, known: &Catalogue) -> Result<Catalogue, StoreError> {
        let revision = self.revision().await?;
        if revision < known.revision {
            return self.read_catalogue().await;
        }
        let (functions, queues) = self.read_few().await?;
        let (changed, sum) = self.read_changed(known.revision).await?;
        let mut schedules = known.schedules.clone();
        schedules.extend(changed.into_iter().map(|entry| (entry.name.clone(), entry)));
        if Sum::of(&schedules) != sum {
            return self.read_catalogue().await;
        }
        Ok(Catalogue { revision, queues, functions, schedules })
    }

    /// Of these there are few, whatever there is of schedules.
    async fn read_few(
        &self,
    ) -> Result<(BTreeMap<FunctionName, FunctionEntry>, BTreeMap<QueueName, QueueEntry>), StoreError> {
        let functions = self.dialect().query("SELECT name, revision, definition FROM functions");
        let functions = self.read(async |readers| functions.fetch_all(readers).await).await?;
        let functions = readable(functions.iter().map(catalogue::function));
        let queues = self.read_queue_rows().await?;
        let queues = readable(queues.iter().map(queues::entry));
        Ok((
            functions.map(|entry| (entry.name.clone(), entry)).collect(),
            queues.map(|entry| (entry.name.clone(), entry)).collect(),
        ))
    }

    /// Schedules of a later revision, and the sum of all, both of one moment: so in one statement. Without such
    /// schedules there is one row, of NULLs but for the sum.
    async fn read_changed(&self, since: u64) -> Result<(Vec<ScheduleEntry>, Sum), StoreError> {
        let integer = self.dialect().integer();
        let query = format!(
            "SELECT total.entries, total.remainders, name, revision, times_revision, enabled, paused_until, definition \
             FROM (SELECT COUNT(*) AS entries, CAST(COALESCE(SUM(revision % {REMAINDER}), 0) AS {integer}) AS remainders \
             FROM schedules) total LEFT JOIN schedules ON revision > ?"
        );
        let query = self.dialect().query(query).bind(big(since));
        let rows = self.read(async |readers| query.fetch_all(readers).await).await?;
        let sum = |row: &AnyRow| -> sqlx::Result<Sum> {
            Ok(Sum { count: row.try_get("entries")?, remainders: row.try_get("remainders")? })
        };
        let sum = rows.first().map_or(Ok(Sum::default()), sum).map_err(error::reading)?;
        let is_there =
            |row: &&AnyRow| row.try_get::<Option<String>, _>("name").is_ok_and(|name| name.is_some());
        // One that this version cannot read is missing in the sum, too: then everything is read, each time.
        let changed = readable(rows.iter().filter(is_there).map(catalogue::schedule)).collect();
        Ok((changed, sum))
    }
}

/// What this version can read. A definition with a field that only a later version knows must not take the
/// others away from this node.
fn readable<T>(entries: impl Iterator<Item = sqlx::Result<T>>) -> impl Iterator<Item = T> {
    entries.filter_map(|entry| {
        entry
            .inspect_err(|error| tracing::error!(%error, "a definition cannot be read by this version of the program; it is not known here"))
            .ok()
    })
}
