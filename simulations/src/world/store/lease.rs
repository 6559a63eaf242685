//! Leases: who may run a task, until when, and what their completion is worth.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_node::catalogue::name::{FunctionName, QueueName};
use beatmesh_node::queue::taking::{Candidate, Running, take};
use beatmesh_node::queue::task::{Attempt, Claimed, Completion, TaskId, TaskOutcome, TaskState};
use beatmesh_node::queue::{Claimant, Swept};

use super::guards::Guard;
use super::state::{Phase, Row, StoreState};
use crate::history::Event;

/// A row that may be claimed.
struct Ready<'r>(&'r Row);

impl Candidate for Ready<'_> {
    fn function(&self) -> &FunctionName {
        &self.0.record.function
    }

    fn input_bytes(&self) -> u64 {
        self.0.input.len() as u64
    }

    fn lost_leases(&self) -> u32 {
        self.0.record.lost_leases
    }
}

impl StoreState {
    pub(super) fn claim(&mut self, who: &Claimant, most: u32, lease: Duration) -> Vec<Claimed> {
        let now = self.now;
        let mut who = who.clone();
        if !self.guards.has(Guard::SuspectsApart) {
            who.suspect_from = u32::MAX;
        }
        let mut due = Vec::new();
        for row in self.tasks.values_mut() {
            if row.phase == Phase::Waiting && row.wake_at <= now {
                (row.phase, row.record.state) = (Phase::Ready, TaskState::Ready);
                due.push((row.wake_at, row.record.id));
            }
        }
        due.sort_unstable();
        due.into_iter().for_each(|(_, id)| self.join(id));
        let who = who.clone().beside(&self.running());
        let mut ready: Vec<&Row> = self
            .tasks
            .values()
            .filter(|row| {
                row.phase == Phase::Ready && (who.queues.is_empty() || who.queues.contains(&row.record.queue))
            })
            .filter(|row| row.record.expires_at.is_none_or(|expires| expires > now))
            .collect();
        ready.sort_by_key(|row| (std::cmp::Reverse(row.record.priority), row.wake_at, row.record.id));
        let mut queues: BTreeMap<QueueName, Vec<Ready<'_>>> = BTreeMap::new();
        for row in ready {
            queues.entry(row.record.queue.clone()).or_default().push(Ready(row));
        }
        let taken: Vec<TaskId> = take(&who, most, queues).iter().map(|ready| ready.0.record.id).collect();
        let claim = taken.iter().map(|id| {
            let row = self.tasks.get_mut(id).expect("it was found there");
            (row.phase, row.wake_at) = (Phase::Leased, now.plus(lease));
            let task = &mut row.record;
            task.state = TaskState::Leased;
            task.attempts += 1;
            task.node = Some(who.node.clone());
            task.started_at = Some(now);
            let (attempt, node) = (task.attempts, who.node.clone());
            self.history.record(Event::Claimed { task: task.id, attempt, node });
            Claimed {
                id: task.id,
                attempt: Attempt(task.attempts),
                function: task.function.clone(),
                queue: task.queue.clone(),
                failures: task.failures,
                lost_leases: task.lost_leases,
                retries: task.retries,
                input: row.input.clone(),
                content_type: row.content_type.clone(),
                origin: task.origin.clone(),
                reply_to: row.reply_to.clone(),
                order_key: task.order_key.clone(),
            }
        });
        let claimed = claim.collect();
        taken.into_iter().for_each(|id| self.begin(id));
        claimed
    }

    /// What is leased now.
    pub(super) fn running(&self) -> Running {
        let mut running = Running::default();
        for row in self.tasks.values().filter(|row| row.phase == Phase::Leased) {
            *running.functions.entry(row.record.function.clone()).or_default() += 1;
            *running.queues.entry(row.record.queue.clone()).or_default() += 1;
        }
        running
    }

    pub(super) fn renew(&mut self, leases: &[(TaskId, Attempt)], lease: Duration) -> Vec<TaskId> {
        let until = self.now.plus(lease);
        let mut lost = Vec::new();
        for (id, attempt) in leases {
            let row = self.tasks.get_mut(id);
            match row.filter(|row| row.phase == Phase::Leased && row.record.attempts == attempt.0) {
                Some(row) => row.wake_at = until,
                None => lost.push(*id),
            }
        }
        lost
    }

    /// The attempt is the token: whoever lost the lease changes nothing.
    pub(super) fn complete(
        &mut self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Completion {
        let now = self.now;
        let row = self.tasks.get_mut(&id);
        let holds = |row: &&mut Row| row.phase == Phase::Leased && row.record.attempts == attempt.0;
        let current = row.filter(|row| holds(row) || !self.guards.has(Guard::AttemptToken));
        let Some(row) = current else { return Completion::Stale };
        let task = &mut row.record;
        (task.output, task.output_type, task.error) = (None, None, None);
        task.log_tail = (!log_tail.is_empty()).then_some(log_tail);
        (row.phase, row.wake_at, task.state, task.finished_at) = match outcome {
            TaskOutcome::Done { output, content_type } => {
                (task.output, task.output_type) = (Some(output), Some(content_type));
                (Phase::Ended, now, TaskState::Done, Some(now))
            }
            TaskOutcome::Failed { error, retry_in } => {
                task.error = Some(error);
                task.failures += 1;
                match retry_in {
                    None => (Phase::Ended, now, TaskState::Failed, Some(now)),
                    Some(pause) => {
                        task.ready_at = now.plus(pause);
                        (Phase::Waiting, task.ready_at, TaskState::Retry, None)
                    }
                }
            }
            // Back to its place in the queue: it has waited since then.
            TaskOutcome::HandBack => (Phase::Ready, task.ready_at, TaskState::Ready, None),
        };
        let state = task.state;
        self.history.record(Event::Completed { task: id, attempt: attempt.0, state });
        if state.is_final() {
            self.leave(id);
        }
        Completion::Recorded(state)
    }

    pub(super) fn sweep(&mut self, most_lost: u32) -> Swept {
        let now = self.now;
        let mut swept = self.lose(|row| row.wake_at < now, most_lost);
        swept.expired = self.expire();
        let before = now.minus(self.keep);
        self.tasks.retain(|_, row| row.phase != Phase::Ended || row.wake_at >= before);
        self.ticks.retain(|(_, tick)| tick.committed_at >= before);
        swept
    }

    /// Leases of these workers that run no longer than `left`: nobody has renewed them lately.
    pub(super) fn reclaim(&mut self, workers: &[String], left: Duration, most_lost: u32) -> Swept {
        let until = self.now.plus(left);
        let is_theirs = |row: &Row| row.record.node.as_ref().is_some_and(|node| workers.contains(node));
        self.lose(|row| row.wake_at < until && is_theirs(row), most_lost)
    }

    fn lose(&mut self, is_lost: impl Fn(&Row) -> bool, most_lost: u32) -> Swept {
        let now = self.now;
        let mut swept = Swept::default();
        for (id, row) in &mut self.tasks {
            if row.phase != Phase::Leased || !is_lost(row) {
                continue;
            }
            row.record.lost_leases += 1;
            let dead = row.record.lost_leases > most_lost;
            if dead {
                (row.phase, row.wake_at, row.record.state) = (Phase::Ended, now, TaskState::Dead);
                row.record.finished_at = Some(now);
            } else {
                // Back to its place in the queue, not to its end: it has waited since then.
                (row.phase, row.wake_at, row.record.state) =
                    (Phase::Ready, row.record.ready_at, TaskState::Ready);
            }
            self.history.record(Event::LeaseLost { task: *id, dead });
            if dead { &mut swept.dead } else { &mut swept.returned }.push(*id);
        }
        swept.dead.iter().for_each(|id| self.leave(*id));
        swept
    }
}
