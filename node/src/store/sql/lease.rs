//! Leases: who may run a task, until when, and what their completion is worth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;

use super::claim::claim;
use super::guards::Guard;
use super::lines::{self, LEAVES};
use super::tasks::{self, AT_ONCE, phase};
use super::{SqlStore, Tx, number, parsed, ticks};
use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::queue::scan::{ScanCursor, Scanned};
use crate::queue::task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome, TickRecord};
use crate::queue::{Claimant, QueueCounts, StoreError, Swept, TaskFilter, TaskQueue};

#[async_trait]
impl TaskQueue for SqlStore {
    async fn now(&self) -> Result<UnixMs, StoreError> {
        self.store_now().await
    }

    async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        self.enqueue_all(tasks).await
    }

    async fn claim(&self, who: &Claimant, most: u32, lease: Duration) -> Result<Vec<Claimed>, StoreError> {
        let who = Arc::new(who.clone());
        let claim = || {
            let (who, turn) = (who.clone(), self.turn.clone());
            self.writer.run(move |tx| {
                let (who, turn) = (who.clone(), turn.clone());
                Box::pin(async move {
                    // Only the writer's one task claims; a turn that is lost with its transaction is no loss.
                    let mut after = turn.lock().clone();
                    let claimed = claim(tx, &who, most, lease, &mut after).await?;
                    *turn.lock() = after;
                    Ok((claimed, tx.touched.has_joining()))
                })
            })
        };
        match claim().await? {
            // What this claim found due is let in at the end of its transaction.
            (claimed, true) if claimed.is_empty() => claim().await.map(|(claimed, _)| claimed),
            (claimed, _) => Ok(claimed),
        }
    }

    async fn renew(&self, leases: &[(TaskId, Attempt)], lease: Duration) -> Result<Vec<TaskId>, StoreError> {
        let leases = Arc::new(leases.to_vec());
        let renewed = self.writer.run(move |tx| {
            let leases = leases.clone();
            Box::pin(async move {
                let mut lost = Vec::new();
                for (id, attempt) in leases.iter() {
                    let renewal = tx
                        .dialect
                        .query("UPDATE tasks SET wake_at = ? WHERE id = ? AND attempt = ? AND phase = ?");
                    let kept = renewal
                        .bind(tx.now.plus(lease).0)
                        .bind(id.to_string())
                        .bind(i64::from(attempt.0))
                        .bind(phase::LEASED)
                        .execute(&mut *tx.connection)
                        .await?;
                    if kept.rows_affected() == 0 {
                        lost.push(*id);
                    }
                }
                Ok(lost)
            })
        });
        renewed.await
    }

    async fn complete(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        if let TaskOutcome::Done { output, .. } = &outcome {
            self.place.takes(output.len())?;
        }
        let ending = Arc::new((outcome, log_tail));
        let completed = self.writer.run(move |tx| {
            let ending = ending.clone();
            Box::pin(async move { complete(tx, id, attempt, &ending.0, &ending.1).await })
        });
        completed.await
    }

    async fn sweep(&self, most_lost: u32) -> Result<Swept, StoreError> {
        let looked_over = self.looked_over.clone();
        let swept = self.writer.run(move |tx| {
            let looked_over = looked_over.clone();
            Box::pin(async move {
                let mut swept = return_lost(tx, None, tx.now, most_lost).await?;
                swept.expired = tasks::expire(tx).await?;
                let mut after = looked_over.lock().clone();
                lines::look_over(tx, &mut after).await?;
                *looked_over.lock() = after;
                Ok(swept)
            })
        });
        let swept = swept.await?;
        self.forget().await;
        Ok(swept)
    }

    async fn reclaim(
        &self,
        workers: &[String],
        lease: Duration,
        silent: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        let (workers, left) = (Arc::new(workers.to_vec()), lease.saturating_sub(silent));
        let reclaimed = self.writer.run(move |tx| {
            let workers = workers.clone();
            Box::pin(async move {
                let is_checked = tx.guards.has(Guard::RenewalWitness);
                let until = if is_checked { tx.now.plus(left) } else { UnixMs(i64::MAX) };
                return_lost(tx, Some(&workers), until, most_lost).await
            })
        });
        reclaimed.await
    }

    async fn scan(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        self.scan_rows(from).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.read_task(id).await
    }

    async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        self.list_tasks(filter).await
    }

    async fn cancel(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.cancel_task(id).await
    }

    async fn retry(&self, id: TaskId) -> Result<Option<TaskState>, StoreError> {
        self.retry_task(id).await
    }

    async fn next_ready(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        self.read_next_ready(who).await
    }

    async fn queue_counts(&self) -> Result<BTreeMap<QueueName, QueueCounts>, StoreError> {
        self.read_queue_counts().await
    }

    async fn schedule_states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.read_schedule_states().await
    }

    async fn schedule_state(&self, schedule: &ScheduleName) -> Result<Option<ScheduleState>, StoreError> {
        self.read_schedule_state(schedule).await
    }

    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        self.write_fence(schedule, revision, after).await
    }

    async fn commit_tick(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        commit.check()?;
        let commit = Arc::new(commit);
        let outcome = self.writer.run(move |tx| {
            let commit = commit.clone();
            Box::pin(async move { ticks::commit(tx, &commit).await })
        });
        outcome.await
    }

    async fn ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        self.read_ticks(schedule, since, until, limit).await
    }
}

async fn complete(
    tx: &mut Tx<'_>,
    id: TaskId,
    attempt: Attempt,
    outcome: &TaskOutcome,
    log_tail: &str,
) -> sqlx::Result<Completion> {
    let ended = (phase::ENDED, Some(tx.now.0), None);
    let (state, (phase, wake_at, ready_at), failed) = match outcome {
        TaskOutcome::Done { .. } => (TaskState::Done, ended, 0),
        TaskOutcome::Failed { retry_in: None, .. } => (TaskState::Failed, ended, 1),
        TaskOutcome::Failed { retry_in: Some(pause), .. } => {
            let again = Some(tx.now.plus(*pause).0);
            (TaskState::Retry, (phase::WAITING, again, again), 1)
        }
        // Back to its place in the queue: it has waited since then.
        TaskOutcome::HandBack => (TaskState::Ready, (phase::READY, None, None), 0),
    };
    let (output, output_type) = match outcome {
        TaskOutcome::Done { output, content_type } => (Some(output.to_vec()), Some(content_type.as_str())),
        _ => (None, None),
    };
    let error = match outcome {
        TaskOutcome::Failed { error, .. } => Some(error.to_string()),
        _ => None,
    };
    // The attempt is the token: whoever lost the lease changes nothing.
    if !tx.guards.has(Guard::AttemptToken) {
        pretend_to_hold(tx, id, attempt).await?;
    }
    let leaves = if phase == phase::ENDED { LEAVES } else { "" };
    let ending = tx.dialect.query(format!(
        "UPDATE tasks SET state = ?, phase = ?, wake_at = COALESCE(?, ready_at), \
         ready_at = COALESCE(?, ready_at), finished_at = ?, failures = failures + ?, output = ?, \
         output_type = ?, error = ?, log_tail = ? {leaves} WHERE id = ? AND attempt = ? AND phase = ?"
    ));
    let recorded = ending
        .bind(state.as_str())
        .bind(phase)
        .bind(wake_at)
        .bind(ready_at)
        .bind((phase == phase::ENDED).then_some(tx.now.0))
        .bind(failed)
        .bind(output)
        .bind(output_type)
        .bind(error)
        .bind((!log_tail.is_empty()).then(|| tx.dialect.text(log_tail).into_owned()))
        .bind(id.to_string())
        .bind(i64::from(attempt.0))
        .bind(phase::LEASED)
        .execute(&mut *tx.connection)
        .await?;
    if recorded.rows_affected() != 1 {
        return Ok(Completion::Stale);
    }
    if phase == phase::ENDED {
        tx.touched.ended(id.to_string());
    }
    Ok(Completion::Recorded(state))
}

/// What the attempt's token keeps from happening.
async fn pretend_to_hold(tx: &mut Tx<'_>, id: TaskId, attempt: Attempt) -> sqlx::Result<()> {
    let given = tx.dialect.query("UPDATE tasks SET attempt = ?, phase = ? WHERE id = ?");
    let given = given.bind(i64::from(attempt.0)).bind(phase::LEASED).bind(id.to_string());
    given.execute(&mut *tx.connection).await.map(drop)
}

/// Tasks of these workers, or of all, whose leases run out before `until`.
async fn return_lost(
    tx: &mut Tx<'_>,
    workers: Option<&[String]>,
    until: UnixMs,
    most_lost: u32,
) -> sqlx::Result<Swept> {
    let of_workers = match workers {
        None => String::new(),
        Some([]) => return Ok(Swept::default()),
        Some(workers) => format!("AND node IN ({})", tasks::marks(workers.len())),
    };
    // A task that somebody has in hand right now is being completed or renewed: the next sweep sees what it became.
    let query = format!(
        "SELECT id, lost_leases FROM {} WHERE phase = ? AND wake_at < ? {of_workers} ORDER BY wake_at LIMIT ? {}",
        tx.dialect.by_index("tasks", "tasks_to_wake"),
        tx.dialect.skip_locked()
    );
    let query = tx.dialect.query(query).bind(phase::LEASED).bind(until.0);
    let workers = workers.unwrap_or_default().iter();
    let query = workers.fold(query, |query, worker| query.bind(worker.clone())).bind(AT_ONCE);
    let rows = query.fetch_all(&mut *tx.connection).await?;
    let mut swept = Swept::default();
    for row in &rows {
        let id: TaskId = parsed(row, "id")?;
        let lost = number::<u32>(row, "lost_leases")?.saturating_add(1);
        let dead = lost > most_lost;
        let (phase, state) =
            if dead { (phase::ENDED, TaskState::Dead) } else { (phase::READY, TaskState::Ready) };
        // Back to its place in the queue, not to its end: it has waited since then.
        let leaves = if dead { LEAVES } else { "" };
        let back = tx.dialect.query(format!(
            "UPDATE tasks SET phase = ?, state = ?, wake_at = COALESCE(?, ready_at), lost_leases = ?, \
             finished_at = ? {leaves} WHERE id = ?"
        ));
        back.bind(phase)
            .bind(state.as_str())
            .bind(dead.then_some(tx.now.0))
            .bind(i64::from(lost))
            .bind(dead.then_some(tx.now.0))
            .bind(id.to_string())
            .execute(&mut *tx.connection)
            .await?;
        if dead {
            tx.touched.ended(id.to_string());
        }
        if dead { &mut swept.dead } else { &mut swept.returned }.push(id);
    }
    Ok(swept)
}
