//! Tasks: enqueue, list, cancel, retry.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_node::catalogue::name::{QueueName, ScheduleName};
use beatmesh_node::queue::task::{NewTask, Origin, TaskId, TaskRecord, TaskState};
use beatmesh_node::queue::{Claimant, QueueCounts, TaskFilter};

use super::state::{Phase, Row, StoreState};
use crate::history::Event;

impl StoreState {
    /// All or none; answers the ids under which other tasks are there.
    pub(super) fn enqueue(&mut self, tasks: Vec<NewTask>) -> Vec<TaskId> {
        let is_taken = |task: &&NewTask| {
            let same = |row: &Row| {
                let (function, order_key) = (&row.record.function, row.record.order_key.as_ref());
                task.same_content(function, &row.input, &row.content_type, order_key)
            };
            self.tasks.get(&task.id).is_some_and(|row| !same(row))
        };
        let taken: Vec<_> = tasks.iter().filter(is_taken).map(|task| task.id).collect();
        if taken.is_empty() {
            tasks.into_iter().for_each(|task| self.insert(task));
        }
        taken
    }

    /// The same id again is the same request again: it changes nothing.
    pub(super) fn insert(&mut self, task: NewTask) {
        if self.tasks.contains_key(&task.id) {
            return;
        }
        self.history.record(Event::Stored { task: task.id });
        let ready_at = self.now.plus(task.delay);
        let (phase, state) = if task.delay.is_zero() {
            (Phase::Ready, TaskState::Ready)
        } else {
            (Phase::Waiting, TaskState::Scheduled)
        };
        let record = TaskRecord {
            id: task.id,
            function: task.function,
            queue: task.queue,
            state,
            priority: task.priority,
            attempts: 0,
            failures: 0,
            lost_leases: 0,
            retries: task.retries,
            order_key: task.order.as_ref().map(|order| order.key.clone()),
            waits_for_order: false,
            node: None,
            origin: task.origin,
            created_at: self.now,
            ready_at,
            expires_at: task.expires.map(|span| self.now.plus(span)),
            started_at: None,
            finished_at: None,
            output: None,
            output_type: None,
            error: None,
            log_tail: None,
        };
        let (input, content_type, reply_to, order) =
            (task.input, task.content_type, task.reply_to, task.order);
        let (wake_at, place) = (ready_at, None);
        let row = Row { record, phase, wake_at, input, content_type, reply_to, order, place };
        self.tasks.insert(task.id, row);
        self.join(task.id);
    }

    pub(super) fn list(&self, filter: &TaskFilter) -> Vec<TaskRecord> {
        let wanted = |task: &&TaskRecord| {
            filter.state.is_none_or(|state| state == task.state)
                && filter.function.as_ref().is_none_or(|function| *function == task.function)
                && filter.queue.as_ref().is_none_or(|queue| *queue == task.queue)
                && filter.schedule.as_ref().is_none_or(|schedule| schedule_of(task) == Some(schedule))
                && (filter.order_key.is_none() || filter.order_key == task.order_key)
        };
        let mut found: Vec<_> = self.all_tasks().filter(wanted).cloned().collect();
        found.sort_by_key(|task| std::cmp::Reverse((task.created_at, task.id)));
        found.truncate(filter.limit as usize);
        found.iter_mut().for_each(|task| task.output = None);
        found
    }

    pub(super) fn cancel(&mut self, id: TaskId) -> Option<TaskState> {
        let row = self.tasks.get_mut(&id)?;
        if matches!(row.phase, Phase::Waiting | Phase::Ready | Phase::Behind) {
            (row.phase, row.wake_at, row.record.state) = (Phase::Ended, self.now, TaskState::Cancelled);
            row.record.finished_at = Some(self.now);
            self.history.record(Event::TakenOut { task: id, state: TaskState::Cancelled });
            self.leave(id);
        }
        Some(self.tasks.get(&id)?.record.state)
    }

    pub(super) fn retry(&mut self, id: TaskId) -> Option<TaskState> {
        let row = self.tasks.get_mut(&id)?;
        let again = [TaskState::Failed, TaskState::Dead, TaskState::Cancelled, TaskState::Expired];
        if again.contains(&row.record.state) {
            (row.phase, row.wake_at) = (Phase::Ready, self.now);
            let task = &mut row.record;
            (task.state, task.ready_at) = (TaskState::Ready, self.now);
            // A fresh start for its counters, but not for its attempts: an old attempt stays stale.
            (task.failures, task.lost_leases) = (0, 0);
            (task.expires_at, task.finished_at, task.error) = (None, None, None);
            self.join(id);
        }
        Some(self.tasks.get(&id)?.record.state)
    }

    pub(super) fn next_ready(&self, who: &Claimant) -> Option<Duration> {
        let who = who.clone().beside(&self.running());
        let waits = |row: &&Row| {
            matches!(row.phase, Phase::Waiting | Phase::Ready)
                && (who.queues.is_empty() || who.queues.contains(&row.record.queue))
                && !who.full_queues().any(|queue| *queue == row.record.queue)
                && !who.left_out().any(|function| *function == row.record.function)
                && (who.takes_suspect || !who.suspects(row.record.lost_leases))
                && row.record.expires_at.is_none_or(|expires| expires > self.now)
        };
        self.tasks.values().filter(waits).map(|row| self.now.until(row.wake_at)).min()
    }

    pub(super) fn queue_counts(&self) -> BTreeMap<QueueName, QueueCounts> {
        let mut counts: BTreeMap<QueueName, QueueCounts> = BTreeMap::new();
        for row in self.tasks.values() {
            let of = counts.entry(row.record.queue.clone()).or_default();
            *of.tasks.entry(row.record.state).or_default() += 1;
            let since = (row.phase == Phase::Ready).then_some(row.wake_at);
            of.oldest_ready = of.oldest_ready.into_iter().chain(since).min();
        }
        counts
    }

    /// Ends tasks that nobody began in time; answers how many.
    pub(super) fn expire(&mut self) -> u64 {
        let now = self.now;
        let late = |row: &&mut Row| {
            matches!(row.phase, Phase::Waiting | Phase::Ready | Phase::Behind)
                && row.record.expires_at.is_some_and(|expires| expires <= now)
        };
        let mut expired = Vec::new();
        for row in self.tasks.values_mut().filter(late) {
            (row.phase, row.wake_at, row.record.state) = (Phase::Ended, now, TaskState::Expired);
            row.record.finished_at = Some(now);
            expired.push(row.record.id);
        }
        for id in &expired {
            self.history.record(Event::TakenOut { task: *id, state: TaskState::Expired });
            self.leave(*id);
        }
        expired.len() as u64
    }
}

/// The schedule that a task came from.
pub(super) fn schedule_of(task: &TaskRecord) -> Option<&ScheduleName> {
    match &task.origin {
        Origin::Schedule { schedule, .. } | Origin::Trigger { schedule } => Some(schedule),
        Origin::Api | Origin::Call => None,
    }
}
