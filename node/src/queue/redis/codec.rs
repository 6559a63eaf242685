//! Tasks, standings and lines of the ledger as Redis keeps them.
//!
//! A task is a hash. `def` is what never changes: `QUEUE FUNCTION URGENCY LENGTH PRINT JSON`, of which scripts read the
//! first five words and this module all. With an order key the fifth word is `PRINT/AT_ONCE/LINE`. The other fields are what happens to the task; one that is missing has
//! not happened yet.

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use redis::Value;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::schedule::Times;
use crate::queue::order::{Line, Order, OrderKey};
use crate::queue::task::{NewTask, Origin, TaskId, TaskRecord};
use crate::queue::tick::{ScheduleState, TickRecord};

/// What of a task the scripts do not look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rest {
    retries: u32,
    origin: Origin,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    content_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reply_to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_key: Option<OrderKey>,
}

/// What of a task never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) queue: QueueName,
    pub(super) function: FunctionName,
    pub(super) priority: i16,
    pub(super) retries: u32,
    pub(super) origin: Origin,
    pub(super) content_type: String,
    pub(super) reply_to: String,
    pub(super) order_key: Option<OrderKey>,
}

/// A task's `def`.
pub(super) fn definition(task: &NewTask) -> String {
    let rest = Rest {
        retries: task.retries,
        origin: task.origin.clone(),
        content_type: task.content_type.clone(),
        reply_to: task.reply_to.clone(),
        order_key: task.order_key().cloned(),
    };
    let rest = serde_json::to_string(&rest).expect("a task's words hold only texts and numbers");
    let (urgency, length) = (urgency(task.priority), task.input.len());
    let print = print(task);
    let place = task.order.as_ref().map_or_else(String::new, |Order { key, at_once }| {
        format!("/{at_once}/{}", Line::of(&task.function, key).as_str())
    });
    format!("{} {} {urgency:04x} {length} {print:016x}{place} {rest}", task.queue, task.function)
}

/// Tells contents apart: two tasks of one id and one print are one request. The input itself goes when a task is done.
fn print(task: &NewTask) -> u64 {
    let mut hash = Xxh3::new();
    let order_key = task.order_key().map(|key| key.as_str().as_bytes());
    let parts = [task.function.as_str().as_bytes(), task.content_type.as_bytes(), &task.input];
    for part in parts.into_iter().chain(order_key) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest()
}

/// Ascending order is the order of claims.
fn urgency(priority: i16) -> u16 {
    u16::try_from(i32::from(i16::MAX) - i32::from(priority)).expect("the span of an i16 fits into a u16")
}

/// The schedule whose task it is, for the policy on overlaps.
pub(super) fn schedule_of(task: &NewTask) -> &str {
    match &task.origin {
        Origin::Schedule { schedule, .. } | Origin::Trigger { schedule } => schedule.as_str(),
        Origin::Api | Origin::Call => "",
    }
}

/// Reads a `def`; `None` when it is none, or one of a later version.
pub(super) fn read_definition(def: &[u8]) -> Option<Definition> {
    let mut words = std::str::from_utf8(def).ok()?.splitn(6, ' ');
    let (queue, function) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let urgency = u16::from_str_radix(words.next()?, 16).ok()?;
    let priority = i16::try_from(i32::from(i16::MAX) - i32::from(urgency)).ok()?;
    let rest: Rest = serde_json::from_str(words.nth(2)?).ok()?;
    let Rest { retries, origin, content_type, reply_to, order_key } = rest;
    Some(Definition { queue, function, priority, retries, origin, content_type, reply_to, order_key })
}

/// The fields of a task's hash that make its record, in the order in which [`record`] takes them.
pub(super) const FIELDS: [&str; 16] = [
    "def", "state", "created", "ready", "expires", "attempt", "failures", "lost", "node", "started",
    "finished", "type", "error", "log", "behind", "output",
];

/// A task from [`FIELDS`], or from all but the last one; `None` when there is no task, or none that this version can
/// read.
pub(super) fn record(id: TaskId, fields: &[Value]) -> Option<TaskRecord> {
    let bytes = |at: usize| fields.get(at).and_then(bytes);
    let text = |at: usize| bytes(at).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let number = |at: usize| text(at)?.parse::<i64>().ok();
    let count = |at: usize| number(at).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let Definition { queue, function, priority, retries, origin, order_key, .. } =
        read_definition(bytes(0)?)?;
    Some(TaskRecord {
        id,
        function,
        queue,
        state: text(1)?.parse().ok()?,
        priority,
        attempts: count(5),
        failures: count(6),
        lost_leases: count(7),
        retries,
        order_key,
        waits_for_order: bytes(14).is_some(),
        node: text(8),
        origin,
        created_at: UnixMs(number(2)?),
        ready_at: UnixMs(number(3)?),
        expires_at: number(4).map(UnixMs),
        started_at: number(9).map(UnixMs),
        finished_at: number(10).map(UnixMs),
        output: bytes(15).map(|output| Bytes::from(output.to_vec())),
        output_type: text(11),
        error: text(12).and_then(|error| serde_json::from_str(&error).ok()),
        log_tail: text(13),
    })
}

/// Where a schedule stands, and the times that run there, so that the next edit can say what it gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: ScheduleState,
    /// The times at which it is due; `None` while it is paused or deleted.
    pub(super) owes: Option<Times>,
}

/// A value of the hash `schedules`: `REVISION ENABLED CURSOR ZONE CRON`. Enabled is 0 or 1, or 2 while an edit holds
/// the schedule still.
pub(super) fn standing(state: &ScheduleState, times: Option<&Times>) -> String {
    let times = times.map(|times| format!("{} {}", times.timezone, times.cron)).unwrap_or_default();
    format!("{} {} {} {times}", state.revision, u8::from(state.enabled), state.cursor.0)
}

/// Reads a value of the hash `schedules`.
pub(super) fn read_standing(schedule: ScheduleName, text: &[u8]) -> Option<Standing> {
    let mut words = std::str::from_utf8(text).ok()?.splitn(5, ' ');
    let revision = words.next()?.parse().ok()?;
    let enabled = words.next()?;
    let cursor = UnixMs(words.next()?.parse().ok()?);
    let times = words.next().zip(words.next());
    let owes = times
        .filter(|_| enabled != "0")
        .map(|(timezone, cron)| Times { cron: cron.to_owned(), timezone: timezone.to_owned() });
    Some(Standing { state: ScheduleState { schedule, revision, enabled: enabled == "1", cursor }, owes })
}

/// A line of the ledger: `DUE FROM COUNT REVISION SKIPPED TASK COMMITTED NODE`, with `-` for what there is not.
pub(super) fn line(tick: &TickRecord) -> String {
    let skipped = tick.skipped.as_deref().unwrap_or("-");
    let task = tick.task.map_or_else(|| "-".to_owned(), |task| task.to_string());
    let TickRecord { due, from, count, revision, committed_at, node, .. } = tick;
    format!("{} {} {count} {revision} {skipped} {task} {} {node}", due.0, from.0, committed_at.0)
}

/// Reads a line of the ledger.
pub(super) fn read_line(text: &[u8]) -> Option<TickRecord> {
    let mut words = std::str::from_utf8(text).ok()?.splitn(8, ' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (due, from) = (UnixMs(number()?), UnixMs(number()?));
    let count = u32::try_from(number()?).ok()?;
    let revision = u64::try_from(number()?).ok()?;
    let skipped = words.next().filter(|word| *word != "-").map(ToOwned::to_owned);
    let task = words.next().and_then(|word| word.parse().ok());
    let committed_at = UnixMs(words.next()?.parse().ok()?);
    let node = words.next()?.to_owned();
    Some(TickRecord { due, from, count, revision, skipped, task, committed_at, node })
}

/// The bytes of a text.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// A text.
pub(super) fn text(value: &Value) -> Option<&str> {
    std::str::from_utf8(bytes(value)?).ok()
}

/// A number, or a text that is one.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

/// The items of a list.
pub(super) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_reads_back() {
        for priority in [i16::MIN, -1, 0, 1, i16::MAX] {
            let id = TaskId::of_key(&"f".parse().unwrap(), b"1");
            let schedule: ScheduleName = "s".parse().unwrap();
            let task = NewTask {
                priority,
                retries: 3,
                origin: Origin::Schedule { schedule, due: UnixMs(-5) },
                content_type: "text/plain; charset=utf-8".to_owned(),
                input: Bytes::from_static(b"12345"),
                order: Some(Order::new("key of {mine}/\"1\"".parse().unwrap(), 3)),
                ..NewTask::new(id, "f".parse().unwrap())
            };
            let def = definition(&task);
            assert!(def.starts_with("default f ") && def.contains(" 5 "), "{def}");
            let read = read_definition(def.as_bytes()).expect("our own");
            assert_eq!((read.priority, read.retries, read.origin), (priority, 3, task.origin.clone()));
            assert_eq!(read.content_type, task.content_type);
            assert_eq!(read.order_key.as_ref(), task.order_key());
            let line = Line::of(&task.function, task.order_key().unwrap());
            assert!(def.contains(&format!("/3/{} {{", line.as_str())), "{def}");
            let without = NewTask { order: None, ..task.clone() };
            assert_ne!(print(&task), print(&without), "another line is another content");
        }
        assert!(urgency(5) < urgency(0) && urgency(0) < urgency(-5), "urgent ones first");
        for odd in ["", "default", "default f 0000 0 0 ", "default f 0000 0 0 {}", "default f zzzz 0 0 {}"] {
            assert_eq!(read_definition(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_standing_and_a_line_read_back() {
        let schedule: ScheduleName = "s".parse().unwrap();
        let state =
            ScheduleState { schedule: schedule.clone(), revision: 7, enabled: true, cursor: UnixMs(-3) };
        let times = Times { cron: "0 */2 * * *".to_owned(), timezone: "Europe/Berlin".to_owned() };
        for owes in [None, Some(times.clone())] {
            let text = standing(&state, owes.as_ref());
            assert_eq!(
                read_standing(schedule.clone(), text.as_bytes()),
                Some(Standing { state: state.clone(), owes })
            );
        }
        let paused = ScheduleState { enabled: false, ..state };
        let text = standing(&paused, Some(&times));
        let read = |text: &str| read_standing(schedule.clone(), text.as_bytes());
        assert_eq!(read(&text), Some(Standing { state: paused.clone(), owes: None }));
        let held = text.replacen(" 0 ", " 2 ", 1);
        let expected = Standing { state: paused, owes: Some(times) };
        assert_eq!(read(&held), Some(expected), "held still by an edit");
        for (skipped, node) in [(None, "eu-1"), (Some("paused".to_owned()), "")] {
            let task = skipped.is_none().then(|| TaskId::of_key(&"f".parse().unwrap(), b"1"));
            let (due, from, committed_at) = (UnixMs(20), UnixMs(10), UnixMs(30));
            let node = node.to_owned();
            let tick = TickRecord { due, from, count: 2, revision: 9, skipped, task, committed_at, node };
            assert_eq!(read_line(line(&tick).as_bytes()), Some(tick));
        }
    }
}
