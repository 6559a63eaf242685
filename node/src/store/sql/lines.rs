//! Order keys: which task of a line may start. The rule is that of [`crate::queue::order`].
//!
//! Changes of one transaction note down which tasks they end, begin and make ready; before the commit all lines that
//! this concerns are settled at once. On servers whoever settles a line holds its lock until the commit. The locks are
//! taken in ascending order, and whoever has one waits for nothing but further ones: so no deadlock comes from here. A
//! task that is next and that somebody else has in hand is left alone; it is being cancelled or has expired, and that
//! change settles the line itself. Should it fail instead, the sweep finds a line in which all wait.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use sqlx::any::AnyRow;

use super::claim::filled;
use super::guards::Guard;
use super::tasks::{LONGEST_LIST, marks, phase};
use super::{Tx, number, parsed};
use crate::queue::order::{BEGUN, LET_IN, Line};

/// Rows of the table `order_locks`; lines share them. Enough that two nodes seldom want the same one.
const SLOTS: u16 = 512;

/// Lines that one sweep looks at; the next one goes on behind them.
const MOST_LOOKED_AT: usize = 64;

/// What one transaction has done to lines so far.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Tasks that have ended, with an order key or not.
    ended: Vec<String>,
    /// Tasks that go to the end of their lines, in this order.
    joining: Vec<(Line, String)>,
    /// Lines of which somebody may be next.
    moved: BTreeSet<Line>,
}

impl Touched {
    /// A task has ended: whoever waits behind it may be next.
    pub(super) fn ended(&mut self, id: String) {
        self.ended.push(id);
    }

    /// A task has become ready and stands in phase 4.
    pub(super) fn joins(&mut self, line: Line, id: String) {
        self.joining.push((line, id));
    }

    /// Whether some have become ready that no claim of this transaction sees.
    pub(super) fn has_joining(&self) -> bool {
        !self.joining.is_empty()
    }

    /// A task of this line has begun.
    pub(super) fn begun(&mut self, line: Line) {
        self.moved.insert(line);
    }
}

/// Gives those that join their places, and lets in who is next.
pub(super) async fn settle(tx: &mut Tx<'_>) -> sqlx::Result<()> {
    let Touched { ended, joining, moved: mut lines } = std::mem::take(&mut tx.touched);
    lines.extend(lines_of(tx, &ended).await?);
    lines.extend(joining.iter().map(|(line, _)| line.clone()));
    lock(tx, &lines).await?;
    let mut last: BTreeMap<Line, i64> = BTreeMap::new();
    for (line, id) in joining {
        let place = match last.get(&line) {
            Some(place) => *place,
            None => last_place(tx, &line).await?,
        };
        take_place(tx, &line, &id, place + 1).await?;
        last.insert(line, place + 1);
    }
    for line in &lines {
        let_in(tx, line).await?;
    }
    Ok(())
}

/// The lines that these tasks stood in.
async fn lines_of(tx: &mut Tx<'_>, ended: &[String]) -> sqlx::Result<BTreeSet<Line>> {
    let mut lines = BTreeSet::new();
    for ids in ended.chunks(LONGEST_LIST) {
        let ids = filled(ids.iter().map(String::as_str));
        let query = format!(
            "SELECT function_name, order_key FROM tasks WHERE id IN ({}) AND order_key IS NOT NULL",
            marks(ids.len())
        );
        let query = tx.dialect.query(query);
        let query = ids.into_iter().fold(query, |query, id| query.bind(id.to_owned()));
        for row in query.fetch_all(&mut *tx.connection).await? {
            lines.extend(line(&row));
        }
    }
    Ok(lines)
}

/// The line of a task with an order key. A row that this version cannot read has none, and stops nobody else's.
pub(super) fn line(row: &AnyRow) -> Option<Line> {
    Some(Line::of(&parsed(row, "function_name").ok()?, &parsed(row, "order_key").ok()?))
}

async fn lock(tx: &mut Tx<'_>, lines: &BTreeSet<Line>) -> sqlx::Result<()> {
    if tx.dialect.for_update().is_empty() {
        return Ok(());
    }
    let slots: BTreeSet<u16> = lines.iter().map(|line| line.slot(SLOTS)).collect();
    for slots in slots.into_iter().collect::<Vec<_>>().chunks(LONGEST_LIST) {
        let slots = filled(slots.iter().copied());
        let query = format!(
            "SELECT slot FROM {} WHERE slot IN ({}) ORDER BY slot {}",
            tx.dialect.by_index("order_locks", "PRIMARY"),
            marks(slots.len()),
            tx.dialect.for_update()
        );
        let query = slots.iter().fold(tx.dialect.query(query), |query, slot| query.bind(i64::from(*slot)));
        query.fetch_all(&mut *tx.connection).await?;
    }
    Ok(())
}

/// The last place that is taken; 0 when nobody waits.
async fn last_place(tx: &mut Tx<'_>, line: &Line) -> sqlx::Result<i64> {
    let query = tx.dialect.query(
        "SELECT line_place FROM tasks WHERE order_line = ? AND line_place > ? ORDER BY line_place DESC LIMIT 1",
    );
    let query = query.bind(line.as_str().to_owned()).bind(LET_IN);
    let row = query.fetch_optional(&mut *tx.connection).await?;
    row.map_or(Ok(LET_IN), |row| row.try_get("line_place"))
}

async fn take_place(tx: &mut Tx<'_>, line: &Line, id: &str, place: i64) -> sqlx::Result<()> {
    let join = tx.dialect.query(
        "UPDATE tasks SET order_line = ?, line_place = ? WHERE id = ? AND phase = ? AND order_line IS NULL",
    );
    let join = join.bind(line.as_str().to_owned()).bind(place).bind(id.to_owned()).bind(phase::BEHIND);
    join.execute(&mut *tx.connection).await.map(drop)
}

/// Lets in who is next, when it may. After one that was let in nobody is, before that one has begun.
async fn let_in(tx: &mut Tx<'_>, line: &Line) -> sqlx::Result<()> {
    loop {
        let next = tx.dialect.query(
            "SELECT id, order_at_once FROM tasks WHERE order_line = ? AND line_place > ? ORDER BY line_place LIMIT 1",
        );
        let next = next.bind(line.as_str().to_owned()).bind(LET_IN);
        let Some(next) = next.fetch_optional(&mut *tx.connection).await? else { return Ok(()) };
        let (id, at_once): (String, u32) = (next.try_get("id")?, number(&next, "order_at_once")?);
        if is_full(tx, line, at_once).await? && tx.guards.has(Guard::OneOfAKey) {
            return Ok(());
        }
        if !take_in_hand(tx, &id).await? {
            return Ok(());
        }
        let update = tx.dialect.query("UPDATE tasks SET phase = ?, line_place = ? WHERE id = ?");
        let update = update.bind(phase::READY).bind(LET_IN).bind(id);
        update.execute(&mut *tx.connection).await?;
    }
}

/// Whether nobody may be let in who starts with fewer than so many before it.
async fn is_full(tx: &mut Tx<'_>, line: &Line, at_once: u32) -> sqlx::Result<bool> {
    let inside = tx.dialect.query(
        "SELECT line_place FROM tasks WHERE order_line = ? AND line_place <= ? ORDER BY line_place DESC LIMIT ?",
    );
    let inside = inside.bind(line.as_str().to_owned()).bind(LET_IN).bind(i64::from(at_once));
    let inside = inside.fetch_all(&mut *tx.connection).await?;
    let Some(first) = inside.first() else { return Ok(false) };
    Ok(inside.len() >= at_once as usize || first.try_get::<i64, _>("line_place")? > BEGUN)
}

/// Whether a task that waits is this transaction's now; it is not when somebody else is changing it.
async fn take_in_hand(tx: &mut Tx<'_>, id: &str) -> sqlx::Result<bool> {
    if tx.dialect.skip_locked().is_empty() {
        return Ok(true);
    }
    let query = format!("SELECT id FROM tasks WHERE id = ? AND phase = ? {}", tx.dialect.skip_locked());
    let query = tx.dialect.query(query).bind(id.to_owned()).bind(phase::BEHIND);
    Ok(query.fetch_optional(&mut *tx.connection).await?.is_some())
}

/// Looks for lines in which all wait, a bounded number at a time. `after` is where the last look has ended, and then
/// where this one has.
pub(super) async fn look_over(tx: &mut Tx<'_>, after: &mut String) -> sqlx::Result<()> {
    for _ in 0..MOST_LOOKED_AT {
        let query = tx.dialect.query(
            "SELECT order_line, line_place, function_name, order_key FROM tasks WHERE order_line > ? \
             ORDER BY order_line, line_place LIMIT 1",
        );
        let row = query.bind(after.clone()).fetch_optional(&mut *tx.connection).await?;
        let Some(row) = row else {
            after.clear();
            return Ok(());
        };
        *after = row.try_get("order_line")?;
        if row.try_get::<i64, _>("line_place")? > LET_IN {
            tx.touched.moved.extend(line(&row));
        }
    }
    Ok(())
}

/// The end of an UPDATE's list of columns for a task that ends: it leaves its line.
pub(super) const LEAVES: &str = ", order_line = NULL, line_place = NULL";

/// The phase of a task that becomes ready: with an order key it joins its line, unless it has its place there.
pub(super) fn phase_of_ready() -> String {
    format!(
        "CASE WHEN order_key IS NOT NULL AND order_line IS NULL THEN {} ELSE {} END",
        phase::BEHIND,
        phase::READY
    )
}
