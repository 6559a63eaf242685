//! Tasks, standings and lines of the ledger as Redis keeps them.
//!
//! A task is one line of words, with `-` for what there is not:
//!
//! `PLAIN LENGTH STATE ATTEMPT NODE STARTED FINISHED QUEUE FUNCTION FAILURES LOST CREATED READY EXPIRES BEHIND SCHEDULE
//! URGENCY PRINT JSON`
//!
//! The last word is read here alone, the others by scripts too. With an order key the print is `PRINT/AT_ONCE/LINE`, and
//! `BEHIND` is 1 while the task waits in its line. `PLAIN` is 1 when there is no expiry, schedule and order key; `LENGTH` is
//! that of the input.

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use redis::Value;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::schedule::Times;
use crate::queue::order::{Line, Order, OrderKey};
use crate::queue::task::{NewTask, Origin, TaskId, TaskRecord, TaskState};
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

/// What of a task never changes, as scripts get it: `LENGTH QUEUE FUNCTION URGENCY PRINT JSON`.
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
    format!("{length} {} {} {urgency:04x} {print:016x}{place} {rest}", task.queue, task.function)
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

/// A task as its value tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTask {
    pub(super) queue: QueueName,
    pub(super) function: FunctionName,
    pub(super) state: TaskState,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    pub(super) lost: u32,
    pub(super) retries: u32,
    pub(super) origin: Origin,
    pub(super) content_type: String,
    pub(super) reply_to: String,
    pub(super) order_key: Option<OrderKey>,
    priority: i16,
    created: UnixMs,
    ready: UnixMs,
    expires: Option<UnixMs>,
    started: Option<UnixMs>,
    finished: Option<UnixMs>,
    is_behind: bool,
    node: Option<String>,
}

/// Words of a task's value.
const WORDS: usize = 19;

/// Reads a task's value; `None` when it is none, or one of a later version.
pub(super) fn read_task(value: &[u8]) -> Option<StoredTask> {
    let mut split = std::str::from_utf8(value).ok()?.splitn(WORDS, ' ');
    let mut words = [""; WORDS];
    for word in &mut words {
        *word = split.next()?;
    }
    let [
        _plain,
        _length,
        state,
        attempt,
        node,
        started,
        finished,
        queue,
        function,
        failures,
        lost,
        created,
        ready,
        expires,
        behind,
        _schedule,
        urgency,
        _print,
        rest,
    ] = words;
    let time = |word: &str| word.parse().ok().map(UnixMs);
    let urgency = u16::from_str_radix(urgency, 16).ok()?;
    let Rest { retries, origin, content_type, reply_to, order_key } = serde_json::from_str(rest).ok()?;
    Some(StoredTask {
        queue: queue.parse().ok()?,
        function: function.parse().ok()?,
        state: state.parse().ok()?,
        attempt: attempt.parse().ok()?,
        failures: failures.parse().ok()?,
        lost: lost.parse().ok()?,
        retries,
        origin,
        content_type,
        reply_to,
        order_key,
        priority: i16::try_from(i32::from(i16::MAX) - i32::from(urgency)).ok()?,
        created: time(created)?,
        ready: time(ready)?,
        expires: time(expires),
        started: time(started),
        finished: time(finished),
        is_behind: behind == "1",
        node: Some(node).filter(|node| *node != "-").map(ToOwned::to_owned),
    })
}

/// What stands beside a task's value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside<'a> {
    pub(super) error: Option<&'a [u8]>,
    pub(super) log: Option<&'a [u8]>,
    /// Its media type and a line feed, then its bytes if those were asked for.
    pub(super) output: Option<&'a [u8]>,
    pub(super) with_output: bool,
}

/// A task's record; `None` when there is none that this version can read.
pub(super) fn record(id: TaskId, value: &[u8], beside: Beside<'_>) -> Option<TaskRecord> {
    let task = read_task(value)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_done = task.state == TaskState::Done;
    // An empty output without a type is not stored.
    let output = beside.output.or(is_done.then_some(&b"\n"[..]));
    let end = |output: &[u8]| output.iter().position(|byte| *byte == b'\n').unwrap_or(output.len());
    Some(TaskRecord {
        id,
        function: task.function,
        queue: task.queue,
        state: task.state,
        priority: task.priority,
        attempts: task.attempt,
        failures: task.failures,
        lost_leases: task.lost,
        retries: task.retries,
        order_key: task.order_key,
        waits_for_order: task.is_behind,
        node: task.node,
        origin: task.origin,
        created_at: task.created,
        ready_at: task.ready,
        expires_at: task.expires,
        started_at: task.started,
        finished_at: task.finished,
        output: output
            .filter(|_| beside.with_output)
            .map(|output| Bytes::copy_from_slice(output.get(end(output) + 1..).unwrap_or_default())),
        output_type: output.map(|output| text(&output[..end(output)])),
        error: beside.error.and_then(|error| serde_json::from_slice(error).ok()),
        log_tail: beside.log.map(text),
    })
}

/// An output as it is stored; empty when there is nothing to store.
pub(super) fn output(content_type: &str, output: &Bytes) -> Bytes {
    if output.is_empty() && content_type.is_empty() {
        return Bytes::new();
    }
    // No media type has a line feed: it would end a header.
    [content_type.replace('\n', " ").as_bytes(), b"\n", output].concat().into()
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
    fn a_task_reads_back() {
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
            let line = Line::of(&task.function, task.order_key().unwrap());
            let def = definition(&task);
            assert!(
                def.starts_with("5 default f ") && def.contains(&format!("/3/{} {{", line.as_str())),
                "{def}"
            );
            // As `add` in `tasks.lua` makes a value of it.
            let (_, tail) = def.split_once(" f ").unwrap();
            let value = format!("0 5 retry 4 n 7 - default f 2 1 3 8 - 1 s {tail}");
            let read = read_task(value.as_bytes()).expect("our own");
            assert_eq!((read.priority, read.retries, read.origin), (priority, 3, task.origin.clone()));
            assert_eq!((read.state, read.attempt, read.failures, read.lost), (TaskState::Retry, 4, 2, 1));
            assert_eq!((read.created, read.ready, read.expires), (UnixMs(3), UnixMs(8), None));
            assert_eq!(
                (read.started, read.finished, read.node.as_deref()),
                (Some(UnixMs(7)), None, Some("n"))
            );
            assert!(read.is_behind);
            assert_eq!(read.content_type, task.content_type);
            assert_eq!(read.order_key.as_ref(), task.order_key());
            for odd in
                [value.replace("retry", "retired"), value.replace("{", "{}"), value.replace(" 7 ", " ")]
            {
                assert_eq!(read_task(odd.as_bytes()), None, "{odd}");
            }
            let without = NewTask { order: None, ..task.clone() };
            assert_ne!(print(&task), print(&without), "another line is another content");
        }
        assert!(urgency(5) < urgency(0) && urgency(0) < urgency(-5), "urgent ones first");
        for odd in ["", "0", "0 5 retry 4 n 7 - default f 2 1 3 8 - 1 s 7fff 0 {}"] {
            assert_eq!(read_task(odd.as_bytes()), None, "{odd}");
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
