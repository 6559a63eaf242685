//! Which tasks a claim takes, and how long until there is one to take.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::guards::Guard;
use super::open::LIMITS;
use super::tasks::{LONGEST_LIST, ids, join, marks, order_key, phase};
use super::{SqlStore, Tx, error, json, lines, number, parsed};
use crate::catalogue::name::{FunctionName, QueueName};
use crate::queue::order::{BEGUN, LET_IN};
use crate::queue::taking::{Candidate, Running, take};
use crate::queue::task::{Attempt, Claimed, TaskId};
use crate::queue::{Claimant, Limits, StoreError};

/// Tasks whose time has come that one transaction makes ready. When more come due at once, the order of
/// their priorities holds within each such piece.
const PROMOTED_AT_ONCE: i64 = 1_000;

/// Queues looked at in one claim by a claimant that takes from all. When more hold ready tasks, its next
/// claim goes on where this one ended: anybody may name queues, and none may keep the others from their turn.
const MOST_QUEUES: usize = 256;

/// Leases the best tasks of the claimant's queues to it. `turn` is the name after which it begins to look
/// when it takes from all queues, and then the name after which the next claim begins.
pub(super) async fn claim(
    tx: &mut Tx<'_>,
    who: &Claimant,
    most: u32,
    lease: Duration,
    turn: &mut String,
) -> sqlx::Result<Vec<Claimed>> {
    let unsuspecting;
    let who = if tx.guards.has(Guard::SuspectsApart) {
        who
    } else {
        unsuspecting = Claimant { suspect_from: u32::MAX, ..who.clone() };
        &unsuspecting
    };
    promote(tx).await?;
    let who = &who.clone().beside(&running(tx, &who.limits).await?);
    let all = if who.queues.is_empty() { ready_queues(tx, turn).await? } else { Vec::new() };
    let mut best = Vec::new();
    for queue in who.queues.iter().chain(&all).filter(|queue| !who.full_queues().any(|full| full == *queue)) {
        best.push((queue.clone(), ready(tx, who, queue, most).await?));
    }
    let ids: Vec<_> = take(who, most, best).into_iter().map(|ready| ready.id).collect();
    let mut claimed = Vec::with_capacity(ids.len());
    for ids in ids.chunks(LONGEST_LIST) {
        claimed.extend(lease_all(tx, who, ids, tx.now.plus(lease)).await?);
    }
    Ok(claimed)
}

/// What is leased of those that have a limit. On a server claims that look at limits wait for each other: two of them
/// would both take what is left.
async fn running(tx: &mut Tx<'_>, limits: &Limits) -> sqlx::Result<Running> {
    if limits.is_empty() {
        return Ok(Running::default());
    }
    if !tx.dialect.for_update().is_empty() {
        let lock = format!("SELECT value FROM beatmesh WHERE name = ? {}", tx.dialect.for_update());
        tx.dialect.query(lock).bind(LIMITS).fetch_optional(&mut *tx.connection).await?;
    }
    let rows = tx.dialect.query(LEASED).bind(phase::LEASED).fetch_all(&mut *tx.connection).await?;
    counted(&rows, limits)
}

/// All that is leased: a mesh's slots bound it.
const LEASED: &str = "SELECT queue, function_name, COUNT(*) AS leased FROM tasks WHERE phase = ? \
                      GROUP BY queue, function_name";

fn counted(rows: &[AnyRow], limits: &Limits) -> sqlx::Result<Running> {
    let mut running = Running::default();
    for row in rows {
        let leased: u32 = number(row, "leased")?;
        // A name that is none is not ours, and has no limit.
        if let Ok(function) = parsed::<FunctionName>(row, "function_name")
            && limits.functions.contains_key(&function)
        {
            *running.functions.entry(function).or_default() += leased;
        }
        if let Ok(queue) = parsed::<QueueName>(row, "queue")
            && limits.queues.contains_key(&queue)
        {
            *running.queues.entry(queue).or_default() += leased;
        }
    }
    Ok(running)
}

/// Makes tasks ready whose time has come.
async fn promote(tx: &mut Tx<'_>) -> sqlx::Result<()> {
    if tx.promoted {
        return Ok(());
    }
    let query = format!(
        "SELECT id, order_key FROM {} WHERE phase = ? AND wake_at <= ? ORDER BY wake_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_wake"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(phase::WAITING).bind(tx.now.0).bind(PROMOTED_AT_ONCE);
    let due = query.fetch_all(&mut *tx.connection).await?;
    let has_keys = due.iter().any(|row| !matches!(order_key(row), Ok(None)));
    let due = ids(&due)?;
    for ids in due.chunks(LONGEST_LIST) {
        let update = format!(
            "UPDATE tasks SET phase = {}, state = 'ready' WHERE id IN ({})",
            lines::phase_of_ready(),
            marks(ids.len())
        );
        let update = tx.dialect.query(update);
        ids.iter().fold(update, |update, id| update.bind(id.clone())).execute(&mut *tx.connection).await?;
        if has_keys {
            join(tx, ids).await?;
        }
    }
    tx.promoted = true;
    Ok(())
}

/// The queues that hold ready tasks: one step of the index for each, however long they are. From `turn` on to
/// the last name, then from the first one up to `turn`; all of them, unless there are too many.
async fn ready_queues(tx: &mut Tx<'_>, turn: &mut String) -> sqlx::Result<Vec<QueueName>> {
    let mut queues = Vec::new();
    let (began, mut after, mut has_wrapped) = (turn.clone(), turn.clone(), false);
    while queues.len() < MOST_QUEUES {
        let query = tx.dialect.query("SELECT MIN(queue) AS next FROM tasks WHERE phase = ? AND queue > ?");
        let query = query.bind(phase::READY).bind(after.clone());
        let row = query.fetch_one(&mut *tx.connection).await?;
        let next: Option<String> = row.try_get("next")?;
        match next.filter(|next| !has_wrapped || *next <= began) {
            Some(next) => {
                // A name that is none is not ours: it must not stop the others.
                queues.extend(next.parse().ok());
                after = next;
            }
            // All have been looked at.
            None if has_wrapped || began.is_empty() => return Ok(queues),
            None => (has_wrapped, after) = (true, String::new()),
        }
    }
    *turn = after;
    Ok(queues)
}

/// A task that may be claimed.
struct Ready {
    id: String,
    function: FunctionName,
    input_bytes: u64,
    lost_leases: u32,
}

impl Candidate for Ready {
    fn function(&self) -> &FunctionName {
        &self.function
    }

    fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    fn lost_leases(&self) -> u32 {
        self.lost_leases
    }
}

/// A queue's best tasks. One queue at a time: over several at once no index gives the order, and a long
/// queue would be sorted for each claim. Functions that are left out are passed over within the index;
/// suspects are few. On a server they are this claim's until it ends, and other claims pass them over.
async fn ready(tx: &mut Tx<'_>, who: &Claimant, queue: &QueueName, most: u32) -> sqlx::Result<Vec<Ready>> {
    let left_out = filled(who.left_out().map(FunctionName::as_str));
    let query = format!(
        "SELECT id, function_name, LENGTH(input) AS input_bytes, lost_leases FROM {} \
         WHERE phase = ? AND queue = ? AND (expires_at IS NULL OR expires_at > ?) {} {} \
         ORDER BY urgency, wake_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_claim"),
        not_in(&left_out),
        without_suspects(who),
        tx.dialect.skip_locked(),
    );
    let mut query = tx.dialect.query(query).bind(phase::READY).bind(queue.as_str()).bind(tx.now.0);
    for function in left_out {
        query = query.bind(function);
    }
    let rows = query.bind(i64::from(most)).fetch_all(&mut *tx.connection).await?;
    let candidate = |row: &AnyRow| {
        Ok(Ready {
            id: row.try_get("id")?,
            function: parsed(row, "function_name")?,
            input_bytes: number(row, "input_bytes")?,
            lost_leases: number(row, "lost_leases")?,
        })
    };
    Ok(rows.iter().filter_map(|row| readable(row, candidate(row))).collect())
}

/// A row that this version cannot read, one of a later version perhaps, stops nobody else's task. Leased
/// all the same, it ends with the dead ones.
pub(super) fn readable<T>(row: &AnyRow, read: sqlx::Result<T>) -> Option<T> {
    let told = |error: sqlx::Error| {
        let id = row.try_get::<String, _>("id").unwrap_or_default();
        tracing::error!(task = id, %error, "a task in the store cannot be read and is left aside");
    };
    read.map_err(told).ok()
}

/// A list filled up to a power of two, so that few different statements are prepared: its last item again
/// and again changes nothing in a set.
pub(super) fn filled<T: Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    if let Some(last) = items.last().copied() {
        items.resize(items.len().next_power_of_two(), last);
    }
    items
}

fn not_in(functions: &[&str]) -> String {
    match functions.len() {
        0 => String::new(),
        count => format!("AND function_name NOT IN ({})", marks(count)),
    }
}

/// Suspects that the claimant does not take must not fill up its row of candidates, nor keep it awake.
fn without_suspects(who: &Claimant) -> String {
    if who.takes_suspect { String::new() } else { format!("AND lost_leases < {}", who.suspect_from) }
}

/// Leases these tasks, all of them ready, and reads what their workers need, in the order given.
async fn lease_all(
    tx: &mut Tx<'_>,
    who: &Claimant,
    ids: &[String],
    until: UnixMs,
) -> sqlx::Result<Vec<Claimed>> {
    let list = filled(ids.iter().map(String::as_str));
    let marks = marks(list.len());
    let update = format!(
        "UPDATE tasks SET phase = ?, wake_at = ?, state = 'leased', attempt = attempt + 1, node = ?, \
         started_at = ?, line_place = CASE WHEN line_place = {LET_IN} THEN {BEGUN} ELSE line_place END \
         WHERE id IN ({marks})"
    );
    let mut update =
        tx.dialect.query(update).bind(phase::LEASED).bind(until.0).bind(who.node.as_str()).bind(tx.now.0);
    for id in &list {
        update = update.bind(*id);
    }
    update.execute(&mut *tx.connection).await?;
    let select = format!(
        "SELECT id, attempt, failures, lost_leases, retries, queue, function_name, origin, reply_to, content_type, \
         input, order_key, order_at_once FROM tasks WHERE id IN ({marks})"
    );
    let mut select = tx.dialect.query(select);
    for id in &list {
        select = select.bind(*id);
    }
    // Row by row: a row holds its input, and so does the task that is made of it.
    let mut rows = select.fetch(&mut *tx.connection);
    let mut by_id = BTreeMap::new();
    let mut begun = Vec::new();
    while let Some(row) = rows.try_next().await? {
        // Only where more than one may run the next one need not wait for an end.
        if row.try_get::<Option<i64>, _>("order_at_once")?.is_some_and(|at_once| at_once > 1) {
            begun.extend(lines::line(&row));
        }
        if let Some(task) = readable(&row, claimed(&row)) {
            by_id.insert(row.try_get::<String, _>("id")?, task);
        }
    }
    drop(rows);
    begun.into_iter().for_each(|line| tx.touched.begun(line));
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
}

fn claimed(row: &AnyRow) -> sqlx::Result<Claimed> {
    Ok(Claimed {
        id: parsed::<TaskId>(row, "id")?,
        attempt: Attempt(number(row, "attempt")?),
        function: parsed(row, "function_name")?,
        queue: parsed(row, "queue")?,
        failures: number(row, "failures")?,
        lost_leases: number(row, "lost_leases")?,
        retries: number(row, "retries")?,
        input: Bytes::from(row.try_get::<Vec<u8>, _>("input")?),
        content_type: row.try_get("content_type")?,
        origin: json(row, "origin")?,
        reply_to: row.try_get("reply_to")?,
        order_key: order_key(row)?,
    })
}

impl SqlStore {
    async fn read_running(&self, limits: &Limits) -> Result<Running, StoreError> {
        let query = self.dialect().query(LEASED).bind(phase::LEASED);
        let rows = self.read(async |readers| query.fetch_all(readers).await).await?;
        counted(&rows, limits).map_err(error::reading)
    }

    /// One read: whether a task is ready, else when the first one will be, and the clock it is seen by.
    pub(super) async fn read_next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        let beside;
        let who = if who.limits.is_empty() {
            who
        } else {
            beside = who.clone().beside(&self.read_running(&who.limits).await?);
            &beside
        };
        let full = filled(who.full_queues().map(QueueName::as_str));
        let mut of_queues = match who.queues.len() {
            0 => String::new(),
            count => format!("AND queue IN ({})", marks(count)),
        };
        if !full.is_empty() {
            of_queues.push_str(&format!(" AND queue NOT IN ({})", marks(full.len())));
        }
        let left_out = filled(who.left_out().map(FunctionName::as_str));
        let wanted = format!("{of_queues} {} {}", not_in(&left_out), without_suspects(who));
        // Each part ends at the first row that it finds in its index.
        let query = format!(
            "SELECT clock.now AS now, CASE WHEN EXISTS (SELECT 1 FROM tasks WHERE phase = {} \
             {wanted} AND (expires_at IS NULL OR expires_at > clock.now)) THEN clock.now \
             ELSE (SELECT wake_at FROM tasks WHERE phase = {} {wanted} AND (expires_at IS NULL \
             OR (expires_at > wake_at AND expires_at > clock.now)) ORDER BY wake_at LIMIT 1) END AS next \
             FROM (SELECT {} AS now) AS clock",
            phase::READY,
            phase::WAITING,
            self.dialect().clock(),
        );
        let mut query = self.dialect().query(query);
        for _ in 0..2 {
            let queues = who.queues.iter().map(QueueName::as_str);
            for name in queues.chain(full.iter().copied()).chain(left_out.iter().copied()) {
                query = query.bind(name);
            }
        }
        let row = self.read(async |readers| query.fetch_one(readers).await).await?;
        let now: i64 = row.try_get("now").map_err(error::reading)?;
        let next: Option<i64> = row.try_get("next").map_err(error::reading)?;
        Ok(next.map(|next| UnixMs(now).until(UnixMs(next))))
    }
}
