//! Takes tasks from the queue and runs them.
//!
//! Claims no more than there are free slots on the node and of each function, no more input than there is
//! memory for, and no second task that may be what takes nodes down; sleeps until there is work (a notice
//! from another node, the next task's time, a slot of a function that was full, the end of a suspect, or a
//! slow poll); records each end exactly once under its attempt's token.
//!
//! A claimed task never waits for a slot: it would keep a lease, a slot of the node and its place in memory
//! from tasks that could run.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Env, OnExit};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Worker;
use super::answer::Running;
use super::inputs::{InputMemory, InputRoom};
use super::runtime::Execution;
use super::slots::Slot;
use super::supervisor::Supervisor;
use super::suspects::{SuspectInHand, SuspectPlace};
use crate::catalogue::entry::FunctionEntry;
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::queue::fair::Shares;
use crate::queue::task::{Claimed, Completion, TaskId, TaskOutcome, TaskState};
use crate::queue::{Claimant, StoreError, TaskQueue};

/// The longest sleep without looking: the net below the notices, which may get lost. Five nodes that
/// look this often cost a store five cheap reads a second.
const POLL: Duration = Duration::from_secs(1);

/// After an error of the store, growing to [`POLL`].
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// How many tasks one claim takes at most: the rest is for other nodes.
const MOST_AT_ONCE: u32 = 32;

/// Something was ready, and others took it first, or it had expired: look again soon, but not at once.
const TAKEN_BY_OTHERS: Duration = Duration::from_millis(50);

/// Ends that may wait for the store to record them, besides the tasks that run: each holds its answer in
/// memory, and a store that hands out tasks but takes no answers must not fill it up.
const MOST_UNRECORDED: usize = 256;

/// After the budget of a stop: enough to give tasks back to a store that answers.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// The right to run a task: a slot while it runs, a place in memory until its end is recorded.
struct Room {
    slot: OwnedSemaphorePermit,
    in_hand: OwnedSemaphorePermit,
}

/// What a task that was just claimed runs, and in which slot.
enum Place {
    /// It can begin.
    Ready(FunctionEntry, Slot),
    /// Others were faster: it goes back.
    Full,
    /// This node does not know its function yet.
    Unknown(OwnedSemaphorePermit),
}

/// What a claim brought.
enum Claims {
    /// Tasks have begun; there may be more.
    Begun,
    /// Nothing to do before this has passed, unless the bell rings.
    Nothing { next_in: Duration },
}

/// What tells the rest of the node, and other nodes, that a task has ended.
pub trait Ends: Send + Sync + 'static {
    /// The task is most likely in a final state; the node `reply_to` may be waiting for it, and looks.
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
    in_hand: Arc<Semaphore>,
    suspect: Arc<SuspectPlace>,
    inputs: InputMemory,
    /// How the queues were served.
    shares: Mutex<Shares>,
    running: TaskTracker,
    /// Cancelled when running tasks have to end now.
    abort: CancellationToken,
    /// Cancelled when not even their ends can be waited for.
    give_up: CancellationToken,
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
    /// The longest input, in bytes.
    pub input_limit: u64,
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
        let in_hand = Arc::new(Semaphore::new(parts.worker.slots.size() + MOST_UNRECORDED));
        Arc::new(Self {
            env: parts.env,
            worker: parts.worker,
            queue: parts.queue,
            supervisor: parts.supervisor,
            claimant: parts.claimant,
            result_limit: parts.result_limit,
            ends: parts.ends,
            suspect: SuspectPlace::new(parts.bell.clone()),
            bell: parts.bell,
            dice,
            in_hand,
            inputs: InputMemory::new(parts.input_limit),
            shares: Mutex::default(),
            running: TaskTracker::new(),
            abort: CancellationToken::new(),
            give_up: CancellationToken::new(),
        })
    }

    /// Claims and runs until the worker stops taking.
    pub async fn run(self: Arc<Self>) {
        // A claim that is on its way at a stop brings tasks: whoever waits for the end waits for it too.
        let _claiming = self.running.token();
        let mut pause = AFTER_ERROR;
        while let Some((room, inputs)) = self.room().await {
            match self.claim(room, inputs).await {
                Ok(Claims::Begun) => pause = AFTER_ERROR,
                Ok(Claims::Nothing { next_in }) => {
                    pause = AFTER_ERROR;
                    // Spread, so that nodes do not all look in the same instant.
                    let spread = POLL.mul_f64(self.dice.lock().random_range(0.8..1.2));
                    let bell = async {
                        tokio::select! {
                            () = self.bell.notified() => {}
                            () = self.worker.slots.freed() => {}
                        }
                    };
                    self.rest(next_in.min(spread), bell).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "no tasks can be claimed");
                    let dice = self.dice.lock().random_range(0.5..1.0);
                    self.rest(pause.mul_f64(dice), std::future::pending()).await;
                    pause = (pause * 2).min(POLL);
                }
            }
        }
    }

    /// Sleeps until something happens, and no longer than the worker takes tasks at all.
    async fn rest(&self, longest: Duration, bell: impl Future<Output = ()>) {
        tokio::select! {
            () = self.worker.slots.closed() => {}
            () = bell => {}
            () = tokio::time::sleep(longest) => {}
        }
    }

    /// Room for one task and its input, waiting for it; `None` when the node is stopping.
    async fn room(&self) -> Option<(Room, InputRoom)> {
        let room = async {
            let in_hand = self.in_hand.clone().acquire_owned().await.ok()?;
            let inputs = self.inputs.for_one().await;
            Some((Room { slot: self.worker.slots.for_task().await?, in_hand }, inputs))
        };
        tokio::select! {
            biased;
            () = self.worker.slots.closed() => None,
            room = room => room,
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
            let _ = tokio::time::timeout(LAST_RECORDS, self.running.wait()).await;
            self.give_up.cancel();
        }
    }

    /// Claims as many tasks as there is room for and starts them.
    async fn claim(self: &Arc<Self>, room: Room, mut inputs: InputRoom) -> Result<Claims, StoreError> {
        let known = self.worker.catalogue.current();
        let mut who = self.claimant.clone();
        who.takes_suspect = self.suspect.is_free();
        who.at_most = self.worker.slots.room_for_tasks(known.functions.values(), MOST_AT_ONCE);
        who.limits = known.limits();
        who.passes = self.shares.lock().passes(&known.weights());
        // A cheap reading first: taking the write lock to find nothing would disturb the others.
        let Some(next_in) = self.queue.next_ready(&who).await? else {
            return Ok(Claims::Nothing { next_in: POLL });
        };
        if !next_in.is_zero() {
            return Ok(Claims::Nothing { next_in });
        }
        self.inputs.extend(&mut inputs);
        who.input_bytes = inputs.bytes();
        let more = self.worker.slots.more_for_tasks(MOST_AT_ONCE as usize - 1);
        let more = more.into_iter().map_while(|slot| {
            let in_hand = self.in_hand.clone().try_acquire_owned().ok()?;
            Some(Room { slot, in_hand })
        });
        let rooms: Vec<_> = std::iter::once(room).chain(more).collect();
        let asked = self.env.clock.now();
        let most = u32::try_from(rooms.len()).expect("at most MOST_AT_ONCE");
        let claimed = self.queue.claim(&who, most, self.supervisor.lease()).await?;
        if claimed.is_empty() {
            return Ok(Claims::Nothing { next_in: TAKEN_BY_OTHERS });
        }
        self.shares.lock().served(who.passes.clone(), claimed.iter().map(|task| &task.queue));
        let known = self.worker.catalogue.current();
        for (mut task, Room { slot, in_hand }) in claimed.into_iter().zip(rooms) {
            let lost = self.supervisor.hold(task.id, task.attempt, asked);
            task.input = inputs.hold(task.input);
            let suspect = if who.suspects(task.lost_leases) { self.suspect.take() } else { None };
            // Taken here, so that the next claim sees it taken.
            let place = match known.functions.get(&task.function) {
                Some(function) => self.place(slot, function.clone()),
                None => Place::Unknown(slot),
            };
            let running =
                self.running.track_future(self.clone().run_one(task, place, (in_hand, suspect), lost));
            self.env.spawner.spawn("task", OnExit::Fine, Box::pin(running));
        }
        Ok(Claims::Begun)
    }

    fn place(&self, slot: OwnedSemaphorePermit, function: FunctionEntry) -> Place {
        match self.worker.slots.of_claimed(slot, &function) {
            Some(slot) => Place::Ready(function, slot),
            None => Place::Full,
        }
    }

    async fn run_one(
        self: Arc<Self>,
        mut task: Claimed,
        place: Place,
        _in_hand: (OwnedSemaphorePermit, Option<SuspectInHand>),
        lost: CancellationToken,
    ) {
        let (id, attempt) = (task.id, task.attempt);
        let ended = tokio::select! {
            biased;
            () = lost.cancelled() => None,
            () = self.abort.cancelled() => Some((TaskOutcome::HandBack, String::new())),
            ended = self.execute(&mut task, place) => Some(ended),
        };
        if let Some((outcome, log_tail)) = ended {
            // While its place is not free in the store, nobody takes the next one of a limited function or queue, nor
            // of its order key.
            let limits = self.worker.catalogue.current().limits();
            let frees_a_place = task.order_key.is_some()
                || limits.functions.contains_key(&task.function)
                || limits.queues.contains_key(&task.queue);
            task.input = Bytes::new();
            self.supervisor.ending(id, attempt);
            tokio::select! {
                () = self.record(&task, outcome, log_tail) => {}
                () = self.give_up.cancelled() => tracing::warn!(task = %id, "the end of a task could not be recorded before this node stops; it will run again"),
            }
            if frees_a_place {
                self.bell.notify_one();
            }
        }
        self.supervisor.release(id, attempt);
    }

    async fn execute(&self, task: &mut Claimed, place: Place) -> (TaskOutcome, String) {
        let place = match place {
            Place::Unknown(slot) => match self.find(&task.function).await {
                Some(function) => self.place(slot, function),
                None => {
                    let error = to_value(&Problem::no_function(&task.function));
                    return (TaskOutcome::Failed { error, retry_in: None }, String::new());
                }
            },
            known => known,
        };
        let Place::Ready(function, slot) = place else { return (TaskOutcome::HandBack, String::new()) };
        if self.worker.slots.is_closed() {
            // The node began to stop while the claim or the lookup was on its way: nothing has run yet.
            return (TaskOutcome::HandBack, String::new());
        }
        let definition = function.definition;
        let execution = Execution {
            task: task.id,
            attempt: task.attempt,
            function: task.function.clone(),
            timeout: definition.timeout.0,
            definition: definition.clone(),
            // Moved, not copied: whoever runs it drops it as soon as the function has it.
            input: std::mem::take(&mut task.input),
            content_type: task.content_type.clone(),
            origin: task.origin.clone(),
            output_limit: self.result_limit.min(self.worker.output_limit),
        };
        let (result, log_tail) =
            Running::start(self.worker.functions.clone(), execution, slot).to_end().await;
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

    /// A task's function, once the store can tell: that it is away is no reason to fail a task.
    async fn find(&self, name: &FunctionName) -> Option<FunctionEntry> {
        let mut pause = AFTER_ERROR;
        loop {
            match self.worker.catalogue.function(name, 0).await {
                Ok(found) => return found,
                Err(error) => {
                    tracing::warn!(function = %name, %error, "a task waits because its function cannot be looked up");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(POLL);
                }
            }
        }
    }

    /// Records an end until the store has said yes or no, even past the lease: if nobody has taken the
    /// task meanwhile, it need not run again. An unknown outcome is repeated: the attempt's token makes
    /// the second try harmless.
    async fn record(&self, task: &Claimed, mut outcome: TaskOutcome, mut log_tail: String) {
        let (mut pause, mut may_be_recorded) = (AFTER_ERROR, false);
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
                // The try whose outcome was unknown has been recorded, most likely: whoever waits is told.
                Ok(Completion::Stale) if may_be_recorded => return self.ends.on_end(task.id, &task.reply_to),
                Ok(Completion::Stale) => {
                    tracing::warn!(task = %task.id, attempt = task.attempt.0, "an end was not recorded: the task has ended already, or another worker has it");
                    return;
                }
                // To repeat what is refused is of no use; what is wrong with it can still be told.
                Err(StoreError::Refused(reason)) if matches!(outcome, TaskOutcome::Done { .. }) => {
                    tracing::error!(task = %task.id, %reason, "the store refuses the result of a task; the task has failed");
                    let problem = Problem::from(StoreError::Refused(reason));
                    outcome = TaskOutcome::Failed { error: to_value(&problem), retry_in: None };
                    log_tail = String::new();
                }
                Err(StoreError::Refused(reason)) => {
                    tracing::error!(task = %task.id, %reason, "the store refuses the end of a task; it will run again when its lease is over");
                    return;
                }
                Err(error) => {
                    tracing::warn!(task = %task.id, %error, "an end could not be recorded; trying again");
                    may_be_recorded |= matches!(error, StoreError::Unknown(_));
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

#[cfg(test)]
mod tests;
