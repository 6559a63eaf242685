//! Takes tasks from the queue and runs them.
//!
//! Claims no more than there are free slots, sleeps until there is work (a notice from another node, the
//! next task's time, or a slow poll), records each end exactly once under its attempt's token.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Env, OnExit};
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Worker;
use super::answer::Running;
use super::runtime::Execution;
use super::supervisor::Supervisor;
use crate::catalogue::entry::FunctionEntry;
use crate::problem::Problem;
use crate::queue::task::{Claimed, Completion, TaskId, TaskOutcome, TaskState};
use crate::queue::{Claimant, StoreError, TaskQueue};

/// The longest sleep without looking: the net below the notices, which may get lost. Five nodes that
/// look this often cost a store five cheap reads a second.
const POLL: Duration = Duration::from_secs(1);

/// After an error of the store, growing to [`POLL`].
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// How many tasks one claim takes at most: the rest is for other nodes.
const MOST_AT_ONCE: usize = 32;

/// Something was ready, and others took it first, or it had expired: look again soon, but not at once.
const TAKEN_BY_OTHERS: Duration = Duration::from_millis(50);

/// What a claim brought.
enum Claims {
    /// Tasks have begun; there may be more.
    Begun,
    /// Nothing to do before this has passed, unless the bell rings.
    Nothing { next_in: Duration },
}

/// What tells the rest of the node, and other nodes, that a task has ended.
pub trait Ends: Send + Sync + 'static {
    /// The task is in a final state; the node `reply_to` may be waiting for it.
    fn on_end(&self, task: TaskId, reply_to: &str);
}

/// The task side of a worker.
pub struct TaskRunner {
    pub(crate) env: Env,
    pub(crate) worker: Arc<Worker>,
    pub(crate) queue: Arc<dyn TaskQueue>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) claimant: Claimant,
    pub(crate) result_limit: u64,
    pub(crate) ends: Arc<dyn Ends>,
    /// Rung when there may be work.
    pub(crate) bell: Arc<Notify>,
    pub(crate) dice: Mutex<StdRng>,
    running: TaskTracker,
    /// Cancelled when running tasks have to end now.
    abort: CancellationToken,
}

/// What a [`TaskRunner`] is made of.
pub struct TaskRunnerParts {
    /// The seams.
    pub env: Env,
    /// Slots and functions.
    pub worker: Arc<Worker>,
    /// Where tasks are.
    pub queue: Arc<dyn TaskQueue>,
    /// Renews leases.
    pub supervisor: Arc<Supervisor>,
    /// Who claims.
    pub claimant: Claimant,
    /// More output than this is not kept.
    pub result_limit: u64,
    /// Who is told of ends.
    pub ends: Arc<dyn Ends>,
    /// Rung when there may be work.
    pub bell: Arc<Notify>,
}

impl TaskRunner {
    /// Runs nothing yet.
    #[must_use]
    pub fn new(parts: TaskRunnerParts) -> Arc<Self> {
        let dice = Mutex::new(parts.env.entropy.rng());
        Arc::new(Self {
            env: parts.env,
            worker: parts.worker,
            queue: parts.queue,
            supervisor: parts.supervisor,
            claimant: parts.claimant,
            result_limit: parts.result_limit,
            ends: parts.ends,
            bell: parts.bell,
            dice,
            running: TaskTracker::new(),
            abort: CancellationToken::new(),
        })
    }

    /// Claims and runs until the worker stops taking.
    pub async fn run(self: Arc<Self>) {
        let mut pause = AFTER_ERROR;
        while let Some(slot) = self.worker.slots.for_task().await {
            match self.claim(slot).await {
                Ok(Claims::Begun) => pause = AFTER_ERROR,
                Ok(Claims::Nothing { next_in }) => {
                    pause = AFTER_ERROR;
                    // Spread, so that nodes do not all look in the same instant.
                    let spread = POLL.mul_f64(self.dice.lock().random_range(0.8..1.2));
                    let _ = tokio::time::timeout(next_in.min(spread), self.bell.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "no tasks can be claimed");
                    let dice = self.dice.lock().random_range(0.5..1.0);
                    tokio::time::sleep(pause.mul_f64(dice)).await;
                    pause = (pause * 2).min(POLL);
                }
            }
        }
    }

    /// Waits until all running tasks have ended; after `budget` the rest is given back to the queue.
    pub async fn finish(&self, budget: Duration) {
        self.running.close();
        if tokio::time::timeout(budget, self.running.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.running.len(),
                "tasks still run at the end of the budget; giving them back"
            );
            self.abort.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(2), self.running.wait()).await;
        }
    }

    /// Claims as many tasks as there are slots and starts them.
    async fn claim(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Result<Claims, StoreError> {
        // A cheap reading first: taking the write lock to find nothing would disturb the others.
        let Some(next_in) = self.queue.next_ready(&self.claimant.queues).await? else {
            return Ok(Claims::Nothing { next_in: POLL });
        };
        if !next_in.is_zero() {
            return Ok(Claims::Nothing { next_in });
        }
        let mut slots = self.worker.slots.more_for_tasks(MOST_AT_ONCE - 1);
        slots.push(slot);
        let asked = self.env.clock.now();
        let most = u32::try_from(slots.len()).expect("at most MOST_AT_ONCE");
        let claimed = self.queue.claim(&self.claimant, most, self.supervisor.lease()).await?;
        if claimed.is_empty() {
            return Ok(Claims::Nothing { next_in: TAKEN_BY_OTHERS });
        }
        for (task, slot) in claimed.into_iter().zip(slots) {
            let lost = self.supervisor.hold(task.id, task.attempt, asked);
            let running = self.running.track_future(self.clone().run_one(task, slot, lost));
            self.env.spawner.spawn("task", OnExit::Fine, Box::pin(running));
        }
        Ok(Claims::Begun)
    }

    async fn run_one(self: Arc<Self>, task: Claimed, slot: OwnedSemaphorePermit, lost: CancellationToken) {
        let (id, attempt) = (task.id, task.attempt);
        let ended = tokio::select! {
            ended = self.execute(&task, slot) => Some(ended),
            () = lost.cancelled() => None,
            () = self.abort.cancelled() => Some((TaskOutcome::HandBack, String::new())),
        };
        if let Some((outcome, log_tail)) = ended {
            tokio::select! {
                () = self.record(&task, outcome, log_tail) => {}
                () = lost.cancelled() => tracing::warn!(task = %id, "a task ended after its lease was lost; it will run again"),
            }
        }
        self.supervisor.release(id, attempt);
    }

    async fn execute(&self, task: &Claimed, slot: OwnedSemaphorePermit) -> (TaskOutcome, String) {
        let Some(function) = self.function_of(task).await else {
            let problem = Problem::no_function(&task.function);
            return (TaskOutcome::Failed { error: to_value(&problem), retry_in: None }, String::new());
        };
        let mut slots = vec![slot];
        slots.extend(self.worker.slots.of_claimed(&function).await);
        let definition = function.definition;
        let execution = Execution {
            task: task.id,
            attempt: task.attempt,
            function: task.function.clone(),
            timeout: definition.timeout.0,
            definition: definition.clone(),
            input: task.input.clone(),
            content_type: task.content_type.clone(),
            origin: task.origin.clone(),
            output_limit: self.result_limit.min(self.worker.output_limit),
        };
        let (result, log_tail) =
            Running::start(self.worker.functions.clone(), execution, slots).to_end().await;
        let outcome = match result {
            Ok((output, content_type)) => TaskOutcome::Done { output, content_type: content_type.to_owned() },
            Err(problem) => {
                let again = task.failures < task.retries;
                let dice = self.dice.lock().random_range(0.0..1.0);
                let retry_in = again.then(|| definition.retries.backoff.pause(task.failures + 1, dice));
                TaskOutcome::Failed { error: to_value(&problem), retry_in }
            }
        };
        (outcome, log_tail)
    }

    /// The task's function, `None` when the store says that there is none. Without the store's word no task
    /// may fail for want of its function: this waits for it, as the recording of an end does.
    async fn function_of(&self, task: &Claimed) -> Option<FunctionEntry> {
        let mut pause = AFTER_ERROR;
        loop {
            match self.worker.catalogue.function(&task.function, 0).await {
                Ok(function) => return function,
                Err(error) => {
                    tracing::warn!(task = %task.id, function = %task.function, %error, "a function could not be looked up; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(POLL);
                }
            }
        }
    }

    /// Records an end until the store has said yes or no. An unknown outcome is repeated: the attempt's
    /// token makes the second try harmless.
    async fn record(&self, task: &Claimed, outcome: TaskOutcome, log_tail: String) {
        let mut pause = AFTER_ERROR;
        loop {
            match self.queue.complete(task.id, task.attempt, outcome.clone(), log_tail.clone()).await {
                Ok(Completion::Recorded(state)) => {
                    if state.is_final() {
                        self.ends.on_end(task.id, &task.reply_to);
                    }
                    if state == TaskState::Failed {
                        tracing::warn!(task = %task.id, function = %task.function, "a task has failed");
                    }
                    return;
                }
                Ok(Completion::Stale) => {
                    tracing::warn!(task = %task.id, attempt = task.attempt.0, "an end was not recorded: the task has ended already, or another worker has it");
                    return;
                }
                Err(error) => {
                    tracing::warn!(task = %task.id, %error, "an end could not be recorded; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(POLL);
                }
            }
        }
    }
}

fn to_value(problem: &Problem) -> serde_json::Value {
    serde_json::to_value(problem).expect("a problem holds only texts, numbers and JSON")
}
