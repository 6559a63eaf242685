//! What people look at: the clock, one task, many tasks.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use redis::{Pipeline, Value};

use super::RedisQueue;
use super::codec::{self, Beside, bytes, list, number, text};
use super::error::odd;
use super::scripts;
use crate::catalogue::name::QueueName;
use crate::queue::task::{TaskId, TaskRecord, TaskState};
use crate::queue::{MOST_LISTED, QueueCounts, StoreError, TaskFilter};

/// Tasks read in one round trip.
const PIECE: usize = 500;

/// What is read of an output where only its media type is wanted.
const LONGEST_TYPE: usize = 255;

/// Tasks that one listing looks at: a filter that few pass must not read everything. What is beyond is not listed.
const MOST_LOOKED_AT: usize = 50_000;

impl RedisQueue {
    pub(super) async fn read_clock(&self) -> Result<UnixMs, StoreError> {
        let answer = self.quick.read(&redis::cmd("TIME")).await?;
        let parts: Option<Vec<_>> = list(&answer).and_then(|parts| parts.iter().map(number).collect());
        match parts.as_deref() {
            Some([seconds, micros]) => Ok(UnixMs(seconds * 1_000 + micros / 1_000)),
            _ => Err(odd("TIME")),
        }
    }

    pub(super) async fn read_task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        let mut command = redis::cmd("MGET");
        for kind in ["task", "error", "log", "output"] {
            command.arg(self.keys.of_one(kind, id));
        }
        let answer = self.quick.read(&command).await?;
        let Some([value, error, log, output]) = list(&answer) else { return Err(odd("MGET")) };
        let Some(value) = bytes(value) else { return Ok(None) };
        let beside =
            Beside { error: bytes(error), log: bytes(log), output: bytes(output), with_output: true };
        let unreadable = || StoreError::Refused(format!("what is kept of task {id} cannot be read"));
        codec::record(id, value, beside).map(Some).ok_or_else(unreadable)
    }

    /// Newest first. Where one index holds all tasks of the state that is asked for, it is read instead of all tasks;
    /// when it is too long for that, its latest entries count.
    pub(super) async fn list_tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        use TaskState::{Cancelled, Dead, Done, Expired, Failed, Leased, Ready, Retry, Scheduled};
        let limit = filter.limit.clamp(1, MOST_LISTED) as usize;
        let (index, is_by_age) = match filter.state {
            None | Some(Ready) => ("all".to_owned(), true),
            Some(Leased) => ("leases".to_owned(), false),
            Some(Scheduled | Retry) => ("wait".to_owned(), false),
            Some(state @ (Done | Failed | Dead | Cancelled | Expired)) => {
                (format!("ended:{}", state.as_str()), false)
            }
        };
        let key = self.keys.named(&index);
        let mut found = Vec::new();
        for from in (0..MOST_LOOKED_AT).step_by(PIECE) {
            let mut range = redis::cmd("ZREVRANGE");
            range.arg(&key).arg(from).arg(from + PIECE - 1);
            let answer = self.quick.read(&range).await?;
            let ids: Vec<TaskId> = list(&answer)
                .ok_or_else(|| odd("ZREVRANGE"))?
                .iter()
                .filter_map(|id| text(id)?.parse().ok())
                .collect();
            let is_last = ids.len() < PIECE;
            found.extend(self.read_many(&ids).await?.into_iter().filter(|task| passes(filter, task)));
            if is_last || (is_by_age && found.len() >= limit) {
                break;
            }
        }
        found.sort_by_key(|task| std::cmp::Reverse((task.created_at, task.id)));
        // A task may have moved to another piece while the pieces were read.
        found.dedup_by_key(|task| task.id);
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn read_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        let answer = self.quick.run(&scripts::COUNTS, &[], false).await?;
        let Some([fields, oldest, aside]) = list(&answer) else { return Err(odd("counts")) };
        let mut counts: BTreeMap<QueueName, QueueCounts> = BTreeMap::new();
        for pair in list(fields).ok_or_else(|| odd("counts"))?.chunks_exact(2) {
            // Others are of functions.
            let read = || {
                let (queue, state) = text(&pair[0])?.split_once(' ')?;
                let tasks = u64::try_from(number(&pair[1])?).ok().filter(|tasks| *tasks > 0)?;
                Some((queue.parse().ok()?, state.parse().ok()?, tasks))
            };
            if let Some((queue, state, tasks)) = read() {
                counts.entry(queue).or_default().tasks.insert(state, tasks);
            }
        }
        for pair in list(oldest).ok_or_else(|| odd("counts"))?.chunks_exact(2) {
            let read = || Some((text(&pair[0])?.parse().ok()?, UnixMs(number(&pair[1])?)));
            if let Some((queue, since)) = read() {
                let of: &mut QueueCounts = counts.entry(queue).or_default();
                of.oldest_ready = of.oldest_ready.into_iter().chain([since]).min();
            }
        }
        *self.aside.lock() = number(aside).and_then(|aside| u64::try_from(aside).ok());
        Ok(counts)
    }

    /// Without their outputs.
    async fn read_many(&self, ids: &[TaskId]) -> Result<Vec<TaskRecord>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(2 * ids.len());
        for id in ids {
            let mut values = redis::cmd("MGET");
            for kind in ["task", "error", "log"] {
                values.arg(self.keys.of_one(kind, id));
            }
            let mut media_type = redis::cmd("GETRANGE");
            media_type.arg(self.keys.of_one("output", id)).arg(0).arg(LONGEST_TYPE);
            commands.add_command(values).add_command(media_type);
        }
        let answers = self.quick.read_all(&commands).await?;
        let record = |id: &TaskId, answers: &[Value]| {
            let [values, media_type] = answers else { return None };
            let [value, error, log] = list(values)? else { return None };
            let output = bytes(media_type).filter(|output| !output.is_empty());
            let beside = Beside { error: bytes(error), log: bytes(log), output, with_output: false };
            codec::record(*id, bytes(value)?, beside)
        };
        Ok(ids.iter().zip(answers.chunks_exact(2)).filter_map(|(id, answers)| record(id, answers)).collect())
    }
}

fn passes(filter: &TaskFilter, task: &TaskRecord) -> bool {
    use crate::queue::task::Origin;
    let schedule = match &task.origin {
        Origin::Schedule { schedule, .. } | Origin::Trigger { schedule } => Some(schedule),
        Origin::Api | Origin::Call => None,
    };
    filter.state.is_none_or(|state| task.state == state)
        && filter.function.as_ref().is_none_or(|function| task.function == *function)
        && filter.queue.as_ref().is_none_or(|queue| task.queue == *queue)
        && filter.schedule.as_ref().is_none_or(|wanted| schedule == Some(wanted))
        && (filter.order_key.is_none() || filter.order_key == task.order_key)
}
