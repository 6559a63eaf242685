//! What a Redis holds, read back as the tables that properties look at. Written down here once more, and not taken from
//! the product, so that the product cannot misread what it miswrote.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::queue::order::OrderKey;
use beatmesh_node::queue::task::{Origin, TaskRecord, TaskState};
use beatmesh_node::queue::tick::{ScheduleState, TickRecord};
use bytes::Bytes;
use serde::Deserialize;

use super::data::{Data, SortedSet};
use crate::world::store::state::StoreState;

/// Everything under the keys of one mesh.
pub(super) fn tables(data: &Data, prefix: &str) -> StoreState {
    let hash = |key: &str| data.read::<BTreeMap<Vec<u8>, Vec<u8>>>(key.as_bytes()).ok().flatten();
    let of_kind = |kind: &'static str| {
        data.keys().filter_map(move |key| {
            let key = std::str::from_utf8(key).ok()?;
            Some((key, key.strip_prefix(prefix)?.strip_prefix(kind)?))
        })
    };
    let schedules = hash(&format!("{prefix}schedules")).into_iter().flatten().filter_map(|(name, stands)| {
        let schedule = std::str::from_utf8(name).ok()?.parse().ok()?;
        let Standing { revision, enabled, cursor, .. } = Standing::read(stands)?;
        Some(ScheduleState { schedule, revision, enabled: enabled == "1", cursor })
    });
    let ticks = of_kind("ticks:").flat_map(|(key, schedule)| {
        let lines = data.read::<SortedSet>(key.as_bytes()).ok().flatten();
        let lines = lines.into_iter().flat_map(SortedSet::iter);
        lines.filter_map(move |(member, _)| Some((schedule.parse().ok()?, line(member)?)))
    });
    let tasks = of_kind("task:").filter_map(|(key, id)| {
        let beside = |kind: &str| data.text(format!("{prefix}{kind}:{id}").as_bytes());
        let output = beside("output").map_or(&[][..], Vec::as_slice);
        record(id, data.text(key.as_bytes())?, output, beside("error"), beside("log"))
    });
    StoreState::holding(schedules.collect(), ticks.collect(), tasks.collect())
}

/// Where a schedule stands: `REVISION ENABLED CURSOR [ZONE CRON]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) revision: u64,
    pub(super) enabled: String,
    pub(super) cursor: UnixMs,
    pub(super) cron: Option<String>,
}

impl Standing {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.splitn(5, ' ');
        let revision = words.next()?.parse().ok()?;
        let (enabled, cursor) = (words.next()?.to_owned(), UnixMs(words.next()?.parse().ok()?));
        let cron = words.nth(1).map(ToOwned::to_owned);
        Some(Self { revision, enabled, cursor, cron })
    }
}

/// A line of the ledger: `DUE FROM COUNT REVISION SKIPPED TASK COMMITTED NODE`.
pub(super) fn line(text: &[u8]) -> Option<TickRecord> {
    let words: Vec<_> = std::str::from_utf8(text).ok()?.splitn(8, ' ').collect();
    let [due, from, count, revision, skipped, task, committed_at, node] = words.as_slice() else {
        return None;
    };
    let at = |text: &str| text.parse().ok().map(UnixMs);
    Some(TickRecord {
        due: at(due)?,
        from: at(from)?,
        count: count.parse().ok()?,
        revision: revision.parse().ok()?,
        skipped: Some(*skipped).filter(|word| *word != "-").map(ToOwned::to_owned),
        task: task.parse().ok(),
        committed_at: at(committed_at)?,
        node: (*node).to_owned(),
    })
}

/// The last word of a task's value.
#[derive(Deserialize)]
struct Rest {
    retries: u32,
    origin: Origin,
    order_key: Option<OrderKey>,
}

/// What a task's value says of what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) state: TaskState,
    pub(super) attempt: u32,
    pub(super) lost: u32,
    pub(super) node: Option<String>,
}

/// The words of a task's value: `PLAIN LENGTH STATE ATTEMPT NODE STARTED FINISHED QUEUE FUNCTION FAILURES LOST CREATED READY
/// EXPIRES BEHIND SCHEDULE URGENCY PRINT JSON`.
fn words(value: &[u8]) -> Option<[&str; 19]> {
    let words: Vec<_> = std::str::from_utf8(value).ok()?.splitn(19, ' ').collect();
    words.try_into().ok()
}

pub(super) fn life(value: &[u8]) -> Option<Life> {
    let words = words(value)?;
    Some(Life {
        state: words[2].parse().ok()?,
        attempt: words[3].parse().ok()?,
        lost: words[10].parse().ok()?,
        node: Some(words[4]).filter(|node| *node != "-").map(ToOwned::to_owned),
    })
}

fn record(
    id: &str,
    value: &[u8],
    output: &[u8],
    error: Option<&Vec<u8>>,
    log: Option<&Vec<u8>>,
) -> Option<TaskRecord> {
    let Life { state, attempt, lost, node } = life(value)?;
    let words = words(value)?;
    let time = |at: usize| words[at].parse().ok().map(UnixMs);
    let urgency = i32::from_str_radix(words[16], 16).ok()?;
    let Rest { retries, origin, order_key } = serde_json::from_str(words[18]).ok()?;
    let mut of_output = output.splitn(2, |byte| *byte == b'\n');
    let mut part = || of_output.next().map(<[u8]>::to_vec).filter(|_| state == TaskState::Done);
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok();
    let output_type = part().as_ref().and_then(text);
    Some(TaskRecord {
        id: id.parse().ok()?,
        function: words[8].parse().ok()?,
        queue: words[7].parse().ok()?,
        state,
        priority: i16::try_from(i32::from(i16::MAX) - urgency).ok()?,
        attempts: attempt,
        failures: words[9].parse().ok()?,
        lost_leases: lost,
        retries,
        order_key,
        waits_for_order: words[14] == "1",
        node,
        origin,
        created_at: time(11)?,
        ready_at: time(12)?,
        expires_at: time(13),
        started_at: time(5),
        finished_at: time(6),
        output: part().map(Bytes::from),
        output_type,
        error: error.and_then(|error| serde_json::from_slice(error).ok()),
        log_tail: log.and_then(text),
    })
}
