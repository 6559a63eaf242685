//! Looks through all tasks, a page of ids at a time. A task is one row, so it cannot be in two places; but the index
//! that claims, wakes and forgets tasks stands beside the state that people see, and the two can disagree.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::tasks::phase;
use super::{SqlStore, Tx, error, parsed};
use crate::queue::StoreError;
use crate::queue::scan::{Repair, RepairKind, ScanCursor, Scanned};
use crate::queue::task::TaskState;

/// Rows of one page. They are read outside of any transaction.
const AT_ONCE: i64 = 1_000;

/// No lease is so long: one that ends later was not written by a claim, and would never run out.
const LONGEST_LEASE: Duration = Duration::from_secs(365 * 86_400);

/// Where a row stands in the index, and where it belongs.
struct Standing {
    id: String,
    state: TaskState,
    phase: i64,
    wake_at: i64,
    ready_at: i64,
    finished_at: Option<i64>,
}

impl SqlStore {
    pub(super) async fn scan_rows(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        let page = "SELECT id, state, phase, wake_at, ready_at, finished_at FROM tasks WHERE id > ? ORDER BY id LIMIT ?";
        let page = self.dialect().query(page).bind(from.at).bind(AT_ONCE);
        let rows = self.read(async |readers| page.fetch_all(readers).await).await?;
        let next = match rows.last() {
            Some(last) if rows.len() as i64 == AT_ONCE => {
                let at = last.try_get("id").map_err(error::reading)?;
                Some(ScanCursor { at, rest: Vec::new() })
            }
            _ => None,
        };
        // A row that cannot be read is left to whoever can: a later version perhaps.
        let suspects = rows.iter().filter_map(|row| Standing::of(row).ok());
        let now = self.store_now().await?;
        let ids: Vec<_> = suspects.filter(|row| row.belongs(now).is_some()).map(|row| row.id).collect();
        if ids.is_empty() {
            return Ok(Scanned { next, repaired: Vec::new() });
        }
        let repaired = self.writer.run(move |tx| {
            let ids = ids.clone();
            Box::pin(async move {
                let mut repaired = Vec::new();
                for id in ids {
                    repaired.extend(repair(tx, id).await?);
                }
                Ok(repaired)
            })
        });
        Ok(Scanned { next, repaired: repaired.await? })
    }
}

/// Looks once more, for it may have moved on, and puts it where its state says.
async fn repair(tx: &mut Tx<'_>, id: String) -> sqlx::Result<Option<Repair>> {
    let query = "SELECT id, state, phase, wake_at, ready_at, finished_at FROM tasks WHERE id = ?";
    let query = tx.dialect.query(format!("{query} {}", tx.dialect.for_update())).bind(id);
    let row = query.fetch_optional(&mut *tx.connection).await?;
    let Some(row) = row.as_ref().map(Standing::of).transpose()? else { return Ok(None) };
    let Some((phase, wake_at)) = row.belongs(tx.now) else { return Ok(None) };
    let update = tx.dialect.query("UPDATE tasks SET phase = ?, wake_at = ? WHERE id = ?");
    update.bind(phase).bind(wake_at).bind(row.id.clone()).execute(&mut *tx.connection).await?;
    let Standing { id, state, phase: stood, wake_at: woke, .. } = row;
    let what = format!("{id}, {}: phase {phase} at {wake_at}, not {stood} at {woke}", state.as_str());
    Ok(Some(Repair { kind: RepairKind::Placed, what }))
}

impl Standing {
    fn of(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            state: parsed(row, "state")?,
            phase: row.try_get("phase")?,
            wake_at: row.try_get("wake_at")?,
            ready_at: row.try_get("ready_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }

    /// Phase and time that its state asks for; `None` when they are right.
    fn belongs(&self, now: UnixMs) -> Option<(i64, i64)> {
        let (phase, wake_at) = match self.state {
            TaskState::Scheduled | TaskState::Retry => (phase::WAITING, Some(self.ready_at)),
            // Which of the two says its line, which is settled with every change that concerns it.
            TaskState::Ready if self.phase == phase::BEHIND => (phase::BEHIND, None),
            TaskState::Ready => (phase::READY, Some(self.ready_at)),
            TaskState::Leased => (phase::LEASED, None),
            _ => (phase::ENDED, self.finished_at),
        };
        let is_endless = phase == phase::LEASED && self.wake_at > now.plus(LONGEST_LEASE).0;
        let is_right = phase == self.phase && wake_at.is_none_or(|at| at == self.wake_at) && !is_endless;
        // Of a lease nobody knows how long it was to run: it runs out now, and whoever holds it may renew it first.
        (!is_right).then(|| (phase, wake_at.unwrap_or(now.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::task::{NewTask, TaskId};
    use crate::queue::{Claimant, TaskQueue};
    use crate::store::sql::scratch::{self, Scratch};

    const LONG: Duration = Duration::from_secs(600);

    async fn break_with(store: &SqlStore, statement: &'static str) {
        let broken = store.writer.run(move |tx| {
            Box::pin(async move { tx.dialect.query(statement).execute(&mut *tx.connection).await.map(drop) })
        });
        broken.await.expect("it is a statement");
    }

    async fn scan(store: &SqlStore) -> Vec<Repair> {
        let scanned = store.scan(ScanCursor::default()).await.expect("scanned");
        assert_eq!(scanned.next, None, "one page");
        scanned.repaired
    }

    #[tokio::test]
    async fn a_row_stands_in_the_index_where_its_state_says() {
        let scratch = Scratch::new();
        let store = scratch::open(&scratch.0).await;
        let task = |dice: u8, delay| {
            let id = TaskId::of_key(&"f".parse().unwrap(), &[dice]);
            NewTask { delay, ..NewTask::new(id, "f".parse().unwrap()) }
        };
        let tasks = vec![task(1, Duration::ZERO), task(2, Duration::ZERO), task(3, LONG)];
        store.enqueue(tasks).await.expect("enqueued");
        store.claim(&Claimant::new("w"), 1, LONG).await.expect("claimed");
        assert_eq!(scan(&store).await, [], "nothing is broken");
        for statement in [
            "UPDATE tasks SET phase = 3 WHERE state = 'ready'",
            "UPDATE tasks SET phase = 0, wake_at = wake_at + 1000000 WHERE state = 'ready'",
            "UPDATE tasks SET phase = 1 WHERE state = 'scheduled'",
            "UPDATE tasks SET wake_at = wake_at + 1000000 WHERE state = 'scheduled'",
            "UPDATE tasks SET phase = 1 WHERE state = 'leased'",
            "UPDATE tasks SET wake_at = 99999999999999 WHERE state = 'leased'",
        ] {
            break_with(&store, statement).await;
            let repaired = scan(&store).await;
            assert_eq!(repaired.len(), 1, "{statement}: {repaired:?}");
            assert_eq!(repaired[0].kind, RepairKind::Placed);
            assert_eq!(scan(&store).await, [], "once: {statement}");
        }
        // The lease that was repaired last runs out now, by a clock that counts in milliseconds, and its task can be had
        // again with the other one.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let swept = store.sweep(5).await.expect("swept");
        assert_eq!(swept.returned.len(), 1);
        assert_eq!(store.claim(&Claimant::new("w"), 8, LONG).await.expect("claimed").len(), 2);
        break_with(&store, "UPDATE tasks SET state = 'a later version knows it' WHERE state = 'scheduled'")
            .await;
        assert_eq!(scan(&store).await, [], "it is left alone");
    }
}
