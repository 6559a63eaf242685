//! Tasks: enqueue, read, cancel, retry. Leases are in `lease`, ticks in `ticks`.

use std::collections::BTreeMap;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::claim::{filled, readable};
use super::lines::{self, LEAVES};
use super::{SqlStore, Tx, error, json, number, parsed};
use crate::queue::order::{Line, OrderKey};
use crate::queue::task::{NewTask, Origin, TaskId, TaskRecord, TaskState};
use crate::queue::{StoreError, TaskFilter};

/// Where a task stands in the index that claims, wakes and forgets tasks.
pub(super) mod phase {
    /// Waits for its time.
    pub(in super::super) const WAITING: i64 = 0;
    /// May be claimed.
    pub(in super::super) const READY: i64 = 1;
    /// A worker has it.
    pub(in super::super) const LEASED: i64 = 2;
    /// Has ended.
    pub(in super::super) const ENDED: i64 = 3;
    /// Would be ready, but others of its order key are before it.
    pub(in super::super) const BEHIND: i64 = 4;
}

/// All columns but input and output, which only one reader wants.
const COLUMNS: &str = "id, state, queue, urgency, function_name, attempt, failures, lost_leases, retries, node, origin, \
    created_at, ready_at, expires_at, started_at, finished_at, output_type, error, log_tail, order_key, phase";

/// The most tasks that one listing answers.
const MOST_LISTED: u32 = 1_000;

pub(super) async fn insert(tx: &mut Tx<'_>, task: &NewTask) -> sqlx::Result<()> {
    let ready_at = tx.now.plus(task.delay);
    let (phase, state) = match &task.order {
        _ if !task.delay.is_zero() => (phase::WAITING, TaskState::Scheduled),
        Some(_) => (phase::BEHIND, TaskState::Ready),
        None => (phase::READY, TaskState::Ready),
    };
    let schedule = match &task.origin {
        Origin::Schedule { schedule, .. } | Origin::Trigger { schedule } => Some(schedule.as_str()),
        Origin::Api | Origin::Call => None,
    };
    // The same id again is the same request again: an enqueue whose answer was lost may be repeated.
    let insert = format!(
        "INSERT INTO tasks (id, phase, wake_at, state, queue, urgency, function_name, attempt, failures, \
         lost_leases, retries, reply_to, origin, schedule, created_at, ready_at, expires_at, content_type, input, \
         order_key, order_at_once) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {}",
        tx.dialect.or_leave("id")
    );
    let inserted = tx
        .dialect
        .query(insert)
        .bind(task.id.to_string())
        .bind(phase)
        .bind(ready_at.0)
        .bind(state.as_str())
        .bind(task.queue.as_str())
        .bind(-i64::from(task.priority))
        .bind(task.function.as_str())
        .bind(i64::from(task.retries))
        .bind(task.reply_to.as_str())
        .bind(serde_json::to_string(&task.origin).expect("an origin holds only texts and numbers"))
        .bind(schedule)
        .bind(tx.now.0)
        .bind(ready_at.0)
        .bind(task.expires.map(|span| tx.now.plus(span).0))
        .bind(task.content_type.as_str())
        .bind(task.input.to_vec())
        .bind(task.order_key().map(OrderKey::as_str))
        .bind(task.order.as_ref().map(|order| i64::from(order.at_once)))
        .execute(&mut *tx.connection)
        .await?;
    if let Some(order) =
        task.order.as_ref().filter(|_| phase == phase::BEHIND && inserted.rows_affected() > 0)
    {
        tx.touched.joins(Line::of(&task.function, &order.key), task.id.to_string());
    }
    Ok(())
}

/// The ids of those tasks in whose place others are.
async fn taken(tx: &mut Tx<'_>, tasks: &[NewTask]) -> sqlx::Result<Vec<TaskId>> {
    let mut taken = Vec::new();
    for task in tasks.iter().filter(|task| task.id.may_be_known()) {
        let query =
            tx.dialect.query("SELECT function_name, content_type, input, order_key FROM tasks WHERE id = ?");
        let row = query.bind(task.id.to_string()).fetch_optional(&mut *tx.connection).await?;
        let Some(row) = row else { continue };
        let (input, content_type): (Vec<u8>, String) = (row.try_get("input")?, row.try_get("content_type")?);
        let (function, order_key) = (parsed(&row, "function_name")?, order_key(&row)?);
        if !task.same_content(&function, &input, &content_type, order_key.as_ref()) {
            taken.push(task.id);
        }
    }
    Ok(taken)
}

impl SqlStore {
    pub(super) async fn enqueue_all(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        tasks.iter().try_for_each(|task| self.place.takes(task.input.len()))?;
        let tasks = Arc::new(tasks);
        let enqueued = self.writer.run(move |tx| {
            let tasks = tasks.clone();
            Box::pin(async move {
                let before = taken(tx, &tasks).await?;
                if !before.is_empty() {
                    return Ok(before);
                }
                for task in tasks.iter() {
                    insert(tx, task).await?;
                }
                // On a server another node may have been faster meanwhile, and what is stored already must go.
                if !taken(tx, &tasks).await?.is_empty() {
                    let reason = "another task of this id was stored in the same moment";
                    return Err(sqlx::Error::Protocol(reason.to_owned()));
                }
                Ok(Vec::new())
            })
        });
        enqueued.await
    }

    pub(super) async fn read_task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let query = format!("SELECT {COLUMNS}, output FROM tasks WHERE id = ?");
        let query = self.dialect().query(query).bind(id.to_string());
        let row = self.read(async |readers| query.fetch_optional(readers).await).await?;
        let Some(row) = row else { return Ok(None) };
        let mut task = record(&row).map_err(error::reading)?;
        let output: Option<Vec<u8>> = row.try_get("output").map_err(error::reading)?;
        task.output = output.map(Bytes::from);
        Ok(Some(task))
    }

    pub(super) async fn list_tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        let mut query = format!("SELECT {COLUMNS} FROM tasks WHERE 1 = 1");
        let mut values = Vec::new();
        let wanted = [
            ("state", filter.state.map(|state| state.as_str().to_owned())),
            ("function_name", filter.function.as_ref().map(ToString::to_string)),
            ("queue", filter.queue.as_ref().map(ToString::to_string)),
            ("schedule", filter.schedule.as_ref().map(ToString::to_string)),
        ];
        for (column, value) in wanted {
            if let Some(value) = value {
                query.push_str(&format!(" AND {column} = ?"));
                values.push(value);
            }
        }
        // Names hold no blanks.
        if let Some(key) = &filter.order_key {
            query.push_str(&format!(" AND {}", self.dialect().is_exactly("order_key")));
            values.push(key.to_string());
        }
        query.push_str(" ORDER BY created_at DESC, id DESC LIMIT ?");
        // The text holds only our own column names; the values are bound.
        let mut query = self.dialect().query(query);
        for value in values {
            query = query.bind(value);
        }
        let limit = filter.limit.clamp(1, MOST_LISTED);
        let query = query.bind(i64::from(limit));
        let rows = self.read(async |readers| query.fetch_all(readers).await).await?;
        Ok(rows.iter().filter_map(|row| readable(row, record(row))).collect())
    }

    pub(super) async fn cancel_task(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        let cancelled = self.writer.run(move |tx| {
            Box::pin(async move {
                let cancel = tx.dialect.query(format!(
                    "UPDATE tasks SET phase = ?, wake_at = ?, state = 'cancelled', finished_at = ? {LEAVES} \
                     WHERE id = ? AND phase IN (0, 1, 4)"
                ));
                let cancelled = cancel
                    .bind(phase::ENDED)
                    .bind(tx.now.0)
                    .bind(tx.now.0)
                    .bind(id.to_string())
                    .execute(&mut *tx.connection)
                    .await?;
                if cancelled.rows_affected() > 0 {
                    tx.touched.ended(id.to_string());
                }
                state_of(tx, id).await
            })
        });
        cancelled.await
    }

    pub(super) async fn retry_task(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        let retried = self.writer.run(move |tx| {
            Box::pin(async move {
                // A fresh start for its counters, but not for its attempts: an old attempt stays stale.
                let again = tx.dialect.query(format!(
                    "UPDATE tasks SET phase = {}, wake_at = ?, ready_at = ?, state = 'ready', failures = 0, \
                     lost_leases = 0, expires_at = NULL, finished_at = NULL, error = NULL \
                     WHERE id = ? AND state IN ('failed', 'dead', 'cancelled', 'expired')",
                    lines::phase_of_ready()
                ));
                let again = again
                    .bind(tx.now.0)
                    .bind(tx.now.0)
                    .bind(id.to_string())
                    .execute(&mut *tx.connection)
                    .await?;
                if again.rows_affected() > 0 {
                    join(tx, &[id.to_string()]).await?;
                }
                state_of(tx, id).await
            })
        });
        retried.await
    }
}

/// Those of these tasks that have just become ready and have an order key go to the end of their lines, in this order.
pub(super) async fn join(tx: &mut Tx<'_>, ids: &[String]) -> sqlx::Result<()> {
    let list = filled(ids.iter().map(String::as_str));
    let query = format!(
        "SELECT id, function_name, order_key FROM tasks WHERE id IN ({}) AND phase = ? AND order_line IS NULL",
        marks(list.len())
    );
    let query = list.iter().fold(tx.dialect.query(query), |query, id| query.bind(*id));
    let rows = query.bind(phase::BEHIND).fetch_all(&mut *tx.connection).await?;
    let mut places = BTreeMap::new();
    for row in &rows {
        if let Some(line) = lines::line(row) {
            places.insert(row.try_get::<String, _>("id")?, line);
        }
    }
    for id in ids {
        if let Some(line) = places.remove(id) {
            tx.touched.joins(line, id.clone());
        }
    }
    Ok(())
}

pub(super) async fn state_of(tx: &mut Tx<'_>, id: TaskId) -> sqlx::Result<Option<TaskState>> {
    let query = tx.dialect.query("SELECT state FROM tasks WHERE id = ?").bind(id.to_string());
    let row = query.fetch_optional(&mut *tx.connection).await?;
    row.as_ref().map(|row| parsed(row, "state")).transpose()
}

fn record(row: &AnyRow) -> sqlx::Result<TaskRecord> {
    let urgency: i64 = row.try_get("urgency")?;
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(UnixMs));
    let error: Option<String> = row.try_get("error")?;
    Ok(TaskRecord {
        id: parsed(row, "id")?,
        function: parsed(row, "function_name")?,
        queue: parsed(row, "queue")?,
        state: parsed(row, "state")?,
        priority: i16::try_from(urgency.saturating_neg()).unwrap_or(0),
        attempts: number(row, "attempt")?,
        failures: number(row, "failures")?,
        lost_leases: number(row, "lost_leases")?,
        retries: number(row, "retries")?,
        order_key: order_key(row)?,
        waits_for_order: number::<i64>(row, "phase")? == phase::BEHIND,
        node: row.try_get("node")?,
        origin: json(row, "origin")?,
        created_at: UnixMs(row.try_get("created_at")?),
        ready_at: UnixMs(row.try_get("ready_at")?),
        expires_at: time("expires_at")?,
        started_at: time("started_at")?,
        finished_at: time("finished_at")?,
        output: None,
        output_type: row.try_get("output_type")?,
        error: error.and_then(|text| serde_json::from_str(&text).ok()),
        log_tail: row.try_get("log_tail")?,
    })
}

pub(super) fn order_key(row: &AnyRow) -> sqlx::Result<Option<OrderKey>> {
    let key: Option<String> = row.try_get("order_key")?;
    let parsed = key.map(|key| key.parse::<OrderKey>()).transpose();
    parsed.map_err(|error| sqlx::Error::Decode(format!("order_key: {error}").into()))
}

/// The column `id` of rows.
pub(super) fn ids(rows: &[AnyRow]) -> sqlx::Result<Vec<String>> {
    rows.iter().map(|row| row.try_get("id")).collect()
}

/// Values in one list.
pub(super) const LONGEST_LIST: usize = 128;

/// Placeholders for a list of `n` values; lists of ours are short.
pub(super) fn marks(n: usize) -> String {
    vec!["?"; n].join(", ")
}

/// Ends tasks that nobody began in time, a bounded number at a time.
pub(super) async fn expire(tx: &mut Tx<'_>) -> sqlx::Result<u64> {
    let query = format!(
        "SELECT id FROM {} WHERE expires_at <= ? AND phase IN (0, 1, 4) ORDER BY expires_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_expire"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(tx.now.0).bind(AT_ONCE);
    let ids = ids(&query.fetch_all(&mut *tx.connection).await?)?;
    for ids in ids.chunks(LONGEST_LIST) {
        let expire = "UPDATE tasks SET phase = ?, wake_at = ?, state = 'expired', finished_at = ?";
        let expire = tx.dialect.query(format!("{expire} {LEAVES} WHERE id IN ({})", marks(ids.len())));
        let expire = expire.bind(phase::ENDED).bind(tx.now.0).bind(tx.now.0);
        ids.iter().fold(expire, |expire, id| expire.bind(id.clone())).execute(&mut *tx.connection).await?;
    }
    let expired = ids.len() as u64;
    ids.into_iter().for_each(|id| tx.touched.ended(id));
    Ok(expired)
}

/// Forgets what ended before `before`, a bounded number at a time. Answers whether there may be more.
pub(super) async fn forget(tx: &mut Tx<'_>, before: UnixMs) -> sqlx::Result<bool> {
    let query = format!(
        "SELECT id FROM {} WHERE phase = ? AND wake_at < ? ORDER BY wake_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_wake"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(phase::ENDED).bind(before.0).bind(AT_ONCE);
    let ids = ids(&query.fetch_all(&mut *tx.connection).await?)?;
    for ids in ids.chunks(LONGEST_LIST) {
        let delete = tx.dialect.query(format!("DELETE FROM tasks WHERE id IN ({})", marks(ids.len())));
        ids.iter().fold(delete, |delete, id| delete.bind(id.clone())).execute(&mut *tx.connection).await?;
    }
    Ok(ids.len() == AT_ONCE as usize)
}

/// The most rows that one transaction of the sweep changes of a kind: others wait for it.
pub(super) const AT_ONCE: i64 = 500;
