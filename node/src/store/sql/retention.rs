//! Forgets what is old, and the oldest of what has ended when there is too much of it; a bounded piece at a time.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use sqlx::Row;

use super::tasks::{AT_ONCE, LONGEST_LIST, ids, marks, phase};
use super::{SqlStore, Tx, error, ticks};
use crate::queue::StoreError;

/// Transactions of one sweep that only forget; each leaves room for others in between. At 500 rows each
/// and a sweep a second this keeps up with 10,000 tasks a second.
const MOST_FORGETTING: usize = 20;

/// How often a node looks for the oldest task that is kept: the database counts through all of them for it, which takes
/// a million some tenths of a second.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is beyond the number of tasks that are kept.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    /// By the store's clock.
    looked: Option<UnixMs>,
    /// The latest task that is to go: what ended before it goes as well.
    latest: Option<Ended>,
}

/// Ended tasks stand in this order: when they ended, then by their ids.
#[derive(Clone, Debug)]
struct Ended {
    wake_at: i64,
    id: String,
}

impl SqlStore {
    /// That it fails is no failure of the sweep: the next one goes on with it.
    pub(super) async fn forget(&self) {
        if let Err(error) = self.forget_some().await {
            tracing::debug!(%error, "old tasks and ticks were not forgotten");
        }
    }

    async fn forget_some(&self) -> Result<(), StoreError> {
        self.look_for_surplus().await?;
        let retention = self.retention;
        for _ in 0..MOST_FORGETTING {
            let latest = self.surplus.lock().latest.clone();
            let forgotten = self.writer.run(move |tx| {
                let latest = latest.clone();
                Box::pin(async move {
                    let before = Ended { wake_at: tx.now.minus(retention.tasks).0, id: String::new() };
                    let old = forget_tasks(tx, &before).await?;
                    let surplus = match &latest {
                        Some(latest) => forget_tasks(tx, latest).await?,
                        None => false,
                    };
                    let ticks = ticks::forget(tx, tx.now.minus(retention.ticks)).await?;
                    Ok((old || ticks, surplus))
                })
            });
            let (more, more_surplus) = forgotten.await?;
            if !more_surplus {
                self.surplus.lock().latest = None;
            }
            if !more && !more_surplus {
                break;
            }
        }
        Ok(())
    }

    /// Looks where the tasks begin that are too many. That is a place among them and not a number, so several nodes
    /// that look at once do not forget twice as much.
    async fn look_for_surplus(&self) -> Result<(), StoreError> {
        let now = self.store_now().await?;
        let is_due = |looked: UnixMs| now < looked || looked.plus(LOOK_EVERY) <= now;
        if !self.surplus.lock().looked.is_none_or(is_due) {
            return Ok(());
        }
        let query = format!(
            "SELECT wake_at, id FROM {} WHERE phase = ? ORDER BY wake_at DESC, id DESC LIMIT 1 OFFSET ?",
            self.dialect().by_index("tasks", "tasks_to_wake")
        );
        let query = self.dialect().query(query).bind(phase::ENDED).bind(i64::from(self.retention.most_tasks));
        let row = self.read(async |readers| query.fetch_optional(readers).await).await?;
        let ended =
            |row: sqlx::any::AnyRow| Ok(Ended { wake_at: row.try_get("wake_at")?, id: row.try_get("id")? });
        let latest = row.map(ended).transpose().map_err(error::reading)?;
        *self.surplus.lock() = Surplus { looked: Some(now), latest };
        Ok(())
    }
}

/// Forgets what ended no later than this, a bounded number at a time. Answers whether there may be more.
async fn forget_tasks(tx: &mut Tx<'_>, latest: &Ended) -> sqlx::Result<bool> {
    let query = format!(
        "SELECT id FROM {} WHERE phase = ? AND wake_at <= ? AND (wake_at < ? OR id <= ?) ORDER BY wake_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_wake"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(phase::ENDED).bind(latest.wake_at).bind(latest.wake_at);
    let query = query.bind(latest.id.clone()).bind(AT_ONCE);
    let ids = ids(&query.fetch_all(&mut *tx.connection).await?)?;
    for ids in ids.chunks(LONGEST_LIST) {
        let delete = tx.dialect.query(format!("DELETE FROM tasks WHERE id IN ({})", marks(ids.len())));
        ids.iter().fold(delete, |delete, id| delete.bind(id.clone())).execute(&mut *tx.connection).await?;
    }
    Ok(ids.len() == AT_ONCE as usize)
}
