//! Ticks: the one step on which "never twice" rests, and the ledger that it writes.

use beatmesh_mesh::env::UnixMs;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::guards::Guard;
use super::tasks::{AT_ONCE, LONGEST_LIST, insert};
use super::{SqlStore, Tx, big, error, number, parsed};
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Overlap;
use crate::queue::StoreError;
use crate::queue::task::TaskId;
use crate::queue::tick::{
    EARLIEST_MS, ScheduleState, SkipReason, TickCommit, TickDecision, TickOutcome, TickRecord, Verdict,
};

/// Checks the fence, the cursor and the clock, then records all decisions and moves the cursor.
pub(super) async fn commit(tx: &mut Tx<'_>, commit: &TickCommit) -> sqlx::Result<TickOutcome> {
    // The schedule's row first: whoever else decides about it waits here, and then sees what this one has done.
    let state = standing(tx, &commit.schedule).await?;
    let is_current = state.as_ref().is_some_and(|state| {
        (state.enabled || !tx.guards.has(Guard::EnabledCheck))
            && (state.revision == commit.revision || !tx.guards.has(Guard::RevisionCompare))
            && (state.cursor == commit.expected_cursor || !tx.guards.has(Guard::CursorCompare))
    });
    let Some(last) = commit.decisions.last().filter(|_| is_current) else {
        return Ok(TickOutcome::Moved(state));
    };
    // All due times must have come; the last is the latest, as the commit's own check has made sure.
    if last.due.millis_since(tx.now) > EARLIEST_MS && tx.guards.has(Guard::StoreClock) {
        return Ok(TickOutcome::TooEarly { store_now: tx.now });
    }
    let mut fired = Vec::new();
    for decision in &commit.decisions {
        let verdict = match decision.verdict {
            Verdict::Fire if overlaps(tx, commit).await? => Verdict::Skip(SkipReason::Overlap),
            verdict => verdict,
        };
        let firing = (verdict == Verdict::Fire).then(|| commit.firing(decision.due));
        if let Some(task) = &firing {
            insert(tx, task).await?;
            fired.push(task.id);
        }
        let (schedule, revision, node) = (&commit.schedule, commit.revision, commit.node.as_str());
        let task = firing.map(|task| task.id);
        record(tx, &Line { schedule, revision, decision, verdict, task, node }).await?;
    }
    tx.dialect
        .query("UPDATE schedule_states SET due_up_to = ? WHERE schedule = ?")
        .bind(last.due.0)
        .bind(commit.schedule.as_str())
        .execute(&mut *tx.connection)
        .await?;
    Ok(TickOutcome::Committed { fired })
}

/// Where a schedule stands, until the end of the transaction; `None` when the name was never used.
pub(super) async fn standing(
    tx: &mut Tx<'_>,
    schedule: &ScheduleName,
) -> sqlx::Result<Option<ScheduleState>> {
    let query = format!(
        "SELECT schedule, revision, enabled, due_up_to FROM schedule_states WHERE schedule = ? {}",
        tx.dialect.for_update()
    );
    let query = tx.dialect.query(query).bind(schedule.as_str());
    let row = query.fetch_optional(&mut *tx.connection).await?;
    row.as_ref().map(state).transpose()
}

/// A line of the ledger to be written.
pub(super) struct Line<'a> {
    schedule: &'a ScheduleName,
    /// Whose due times these are.
    revision: u64,
    decision: &'a TickDecision,
    /// The store's verdict, which the decision's may have become.
    verdict: Verdict,
    task: Option<TaskId>,
    /// Who asked.
    node: &'a str,
}

impl<'a> Line<'a> {
    /// The line of what an edit gives up, of the revision that stood before it. No node asked.
    pub(super) fn given_up(standing: &'a ScheduleState, decision: &'a TickDecision) -> Self {
        let (schedule, revision, verdict) = (&standing.schedule, standing.revision, decision.verdict);
        Self { schedule, revision, decision, verdict, task: None, node: "" }
    }
}

pub(super) async fn record(tx: &mut Tx<'_>, line: &Line<'_>) -> sqlx::Result<()> {
    let insert = tx.dialect.query(
        "INSERT INTO ticks (schedule, due, due_from, due_count, revision, skipped, task, committed_at, node) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    insert
        .bind(line.schedule.as_str())
        .bind(line.decision.due.0)
        .bind(line.decision.from.0)
        .bind(i64::from(line.decision.count))
        .bind(big(line.revision))
        .bind(match line.verdict {
            Verdict::Fire => None,
            Verdict::Skip(reason) => Some(reason.as_str()),
        })
        .bind(line.task.map(|task| task.to_string()))
        .bind(tx.now.0)
        .bind(line.node)
        .execute(&mut *tx.connection)
        .await?;
    Ok(())
}

/// Whether a task of an earlier firing stands in the way.
async fn overlaps(tx: &mut Tx<'_>, commit: &TickCommit) -> sqlx::Result<bool> {
    let query = match commit.overlap {
        Overlap::Allow => return Ok(false),
        Overlap::Skip => "SELECT 1 FROM tasks WHERE schedule = ? AND phase IN (0, 1, 2, 4) LIMIT 1",
        Overlap::QueueOne => "SELECT 1 FROM tasks WHERE schedule = ? AND phase IN (0, 1, 4) LIMIT 1",
    };
    let query = tx.dialect.query(query).bind(commit.schedule.as_str());
    Ok(query.fetch_optional(&mut *tx.connection).await?.is_some())
}

impl SqlStore {
    pub(super) async fn read_schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        let query =
            self.dialect().query("SELECT schedule, revision, enabled, due_up_to FROM schedule_states");
        let rows = self.read(async |readers| query.fetch_all(readers).await).await?;
        rows.iter().map(state).collect::<sqlx::Result<_>>().map_err(error::reading)
    }

    pub(super) async fn read_schedule_state(
        &self,
        schedule: &ScheduleName,
    ) -> Result<Option<ScheduleState>, StoreError> {
        let query = "SELECT schedule, revision, enabled, due_up_to FROM schedule_states WHERE schedule = ?";
        let query = self.dialect().query(query).bind(schedule.as_str());
        let row = self.read(async |readers| query.fetch_optional(readers).await).await?;
        row.as_ref().map(state).transpose().map_err(error::reading)
    }

    pub(super) async fn read_ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        let query = self
            .dialect()
            .query(
                "SELECT due, due_from, due_count, revision, skipped, task, committed_at, node FROM ticks \
                 WHERE schedule = ? AND due >= ? AND due < ? ORDER BY due DESC LIMIT ?",
            )
            .bind(schedule.as_str())
            .bind(since.0)
            .bind(until.0)
            .bind(i64::from(limit));
        let rows = self.read(async |readers| query.fetch_all(readers).await).await?;
        rows.iter().map(tick).collect::<sqlx::Result<_>>().map_err(error::reading)
    }
}

/// Forgets lines of the ledger that were written before `before`, a bounded number at a time. Answers
/// whether there may be more.
pub(super) async fn forget(tx: &mut Tx<'_>, before: UnixMs) -> sqlx::Result<bool> {
    let query = format!(
        "SELECT schedule, due FROM {} WHERE committed_at < ? ORDER BY committed_at LIMIT ? {}",
        tx.dialect.by_index("ticks", "ticks_by_age"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(before.0).bind(AT_ONCE);
    let rows = query.fetch_all(&mut *tx.connection).await?;
    for rows in rows.chunks(LONGEST_LIST) {
        // Not a list of pairs, for which MariaDB looks through the whole table.
        let each = vec!["(schedule = ? AND due = ?)"; rows.len()].join(" OR ");
        let mut delete = tx.dialect.query(format!("DELETE FROM ticks WHERE {each}"));
        for row in rows {
            delete = delete.bind(row.try_get::<String, _>("schedule")?).bind(row.try_get::<i64, _>("due")?);
        }
        delete.execute(&mut *tx.connection).await?;
    }
    Ok(rows.len() == AT_ONCE as usize)
}

fn state(row: &AnyRow) -> sqlx::Result<ScheduleState> {
    Ok(ScheduleState {
        schedule: parsed(row, "schedule")?,
        revision: number(row, "revision")?,
        enabled: number::<i64>(row, "enabled")? != 0,
        cursor: UnixMs(row.try_get("due_up_to")?),
    })
}

fn tick(row: &AnyRow) -> sqlx::Result<TickRecord> {
    let task: Option<String> = row.try_get("task")?;
    Ok(TickRecord {
        due: UnixMs(row.try_get("due")?),
        from: UnixMs(row.try_get("due_from")?),
        count: number(row, "due_count")?,
        revision: number(row, "revision")?,
        skipped: row.try_get("skipped")?,
        task: task.and_then(|text| text.parse().ok()),
        committed_at: UnixMs(row.try_get("committed_at")?),
        node: row.try_get("node")?,
    })
}
