//! What a Redis holds, read back as the tables that properties look at. Written down here once more, and not taken from
//! the product, so that the product cannot misread what it miswrote.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::queue::order::OrderKey;
use beatmesh_node::queue::task::{Origin, TaskRecord};
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
    let tasks = of_kind("task:").filter_map(|(key, id)| task(id, hash(key)?));
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

/// Of a task's `def`, what stands behind its first five words.
#[derive(Deserialize)]
struct Rest {
    retries: u32,
    origin: Origin,
    order_key: Option<OrderKey>,
}

fn task(id: &str, fields: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<TaskRecord> {
    let text =
        |name: &str| fields.get(name.as_bytes()).and_then(|value| String::from_utf8(value.clone()).ok());
    let number = |name: &str| text(name)?.parse::<i64>().ok();
    let count = |name: &str| number(name).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let def = text("def")?;
    let words: Vec<_> = def.splitn(6, ' ').collect();
    let [queue, function, urgency, _, _, rest] = words.as_slice() else { return None };
    let urgency = i32::from_str_radix(urgency, 16).ok()?;
    let Rest { retries, origin, order_key } = serde_json::from_str(rest).ok()?;
    Some(TaskRecord {
        id: id.parse().ok()?,
        function: function.parse().ok()?,
        queue: queue.parse().ok()?,
        state: text("state")?.parse().ok()?,
        priority: i16::try_from(i32::from(i16::MAX) - urgency).ok()?,
        attempts: count("attempt"),
        failures: count("failures"),
        lost_leases: count("lost"),
        retries,
        order_key,
        waits_for_order: text("behind").is_some(),
        node: text("node"),
        origin,
        created_at: UnixMs(number("created")?),
        ready_at: UnixMs(number("ready")?),
        expires_at: number("expires").map(UnixMs),
        started_at: number("started").map(UnixMs),
        finished_at: number("finished").map(UnixMs),
        output: fields.get(&b"output"[..]).map(|output| Bytes::from(output.clone())),
        output_type: text("type"),
        error: text("error").and_then(|error| serde_json::from_str(&error).ok()),
        log_tail: text("log"),
    })
}
