//! Tasks on their way: enqueued, claimed, kept, ended, swept. Each is one script; what they change is said there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::RedisQueue;
use super::batch::Carry;
use super::codec::{self, bytes, list, number, text};
use super::error::odd;
use super::link::Link;
use super::scripts::{self, Script};
use crate::queue::task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskState};
use crate::queue::{Claimant, Found, StoreError, Swept};

/// The most tasks that one script of the sweep changes of a kind: others wait for it.
const AT_ONCE: u32 = 500;

/// Scripts of one sweep that only forget; each leaves room for others in between.
const MOST_FORGETTING: usize = 20;

/// How one attempt ended.
pub(super) struct Ending {
    id: TaskId,
    attempt: Attempt,
    outcome: TaskOutcome,
    log_tail: String,
}

/// Arguments of a script, collected as bytes that they own or share.
#[derive(Default)]
pub(super) struct Args(Vec<Bytes>);

impl Args {
    pub(super) fn add(&mut self, value: impl Into<Bytes>) {
        self.0.push(value.into());
    }

    pub(super) fn number(&mut self, value: impl std::fmt::Display) {
        self.0.push(value.to_string().into());
    }

    /// A span in milliseconds, rounded up: nothing happens before it has passed.
    fn millis(&mut self, span: Duration) {
        self.number(span.as_nanos().div_ceil(1_000_000).min(LONGEST_MS));
    }

    pub(super) fn slices(&self) -> Vec<&[u8]> {
        self.0.iter().map(AsRef::as_ref).collect()
    }

    fn each(&mut self, numbers: &BTreeMap<impl std::fmt::Display, u32>) {
        self.number(numbers.len());
        for (name, number) in numbers {
            self.add(name.to_string());
            self.number(number);
        }
    }

    /// The claimant, as scripts read it.
    fn claimant(&mut self, who: &Claimant) {
        self.number(u8::from(who.takes_suspect));
        self.number(who.suspect_from);
        self.number(who.queues.len());
        for queue in &who.queues {
            self.add(queue.to_string());
        }
        self.number(who.passes.of.len());
        for (queue, share) in &who.passes.of {
            self.add(queue.to_string());
            self.number(share.pass);
            self.number(share.cost);
        }
        self.each(&who.at_most);
        self.each(&who.limits.functions);
        self.each(&who.limits.queues);
    }
}

/// A thousand years; a number of Lua holds the sum with any clock exactly.
const LONGEST_MS: u128 = 1_000 * 365 * 86_400_000;

pub(super) fn carry_enqueues(link: Arc<Link>) -> Carry<Vec<NewTask>, Vec<TaskId>> {
    Box::new(move |batches| {
        let link = link.clone();
        Box::pin(async move {
            let mut args = Args::default();
            let tasks = batches.iter().flat_map(|batch| {
                let sizes = std::iter::once(batch.len()).chain(std::iter::repeat(0));
                batch.iter().zip(sizes)
            });
            for (task, begins) in tasks {
                if begins > 0 {
                    args.number(begins);
                }
                args.add(task.id.to_string());
                args.add(codec::definition(task));
                args.millis(task.delay);
                match task.expires {
                    Some(span) => args.millis(span),
                    None => args.number(-1),
                }
                args.add(codec::schedule_of(task).to_owned());
                args.add(task.input.clone());
            }
            let answer = link.run(&scripts::ENQUEUE, &args.slices(), true).await?;
            let taken = list(&answer).ok_or_else(|| odd("enqueue"))?;
            taken.iter().map(|taken| ids(taken).ok_or_else(|| odd("enqueue"))).collect()
        })
    })
}

pub(super) fn carry_completions(link: Arc<Link>) -> Carry<Ending, Completion> {
    Box::new(move |endings| {
        let link = link.clone();
        Box::pin(async move {
            let mut args = Args::default();
            for ending in &endings {
                ending.put(&mut args);
            }
            let answer = link.run(&scripts::COMPLETE, &args.slices(), true).await?;
            let states = list(&answer).ok_or_else(|| odd("complete"))?;
            let read = |state: &Value| match text(state) {
                Some("stale") => Some(Completion::Stale),
                state => Some(Completion::Recorded(state?.parse().ok()?)),
            };
            states.iter().map(|state| read(state).ok_or_else(|| odd("complete"))).collect()
        })
    })
}

impl Ending {
    fn bytes(&self) -> usize {
        let output = match &self.outcome {
            TaskOutcome::Done { output, .. } => output.len(),
            _ => 0,
        };
        output + self.log_tail.len()
    }

    fn put(&self, args: &mut Args) {
        args.add(self.id.to_string());
        args.number(self.attempt.0);
        let (how, pause) = match &self.outcome {
            TaskOutcome::Done { .. } => ("done", Duration::ZERO),
            TaskOutcome::Failed { retry_in: None, .. } => ("failed", Duration::ZERO),
            TaskOutcome::Failed { retry_in: Some(pause), .. } => ("retry", *pause),
            TaskOutcome::HandBack => ("back", Duration::ZERO),
        };
        args.add(how);
        args.millis(pause);
        match &self.outcome {
            TaskOutcome::Done { output, content_type } => {
                args.add(codec::output(content_type, output));
                args.add("");
            }
            TaskOutcome::Failed { error, .. } => {
                args.add("");
                args.add(error.to_string());
            }
            TaskOutcome::HandBack => (0..2).for_each(|_| args.add("")),
        }
        args.add(self.log_tail.clone());
    }
}

impl RedisQueue {
    pub(super) async fn enqueue_all(&self, tasks: Vec<NewTask>) -> Result<Vec<TaskId>, StoreError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = tasks.iter().map(|task| task.input.len() + 256).sum();
        self.enqueues.run(tasks, bytes).await
    }

    pub(super) async fn record_end(
        &self,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
        log_tail: String,
    ) -> Result<Completion, StoreError> {
        let ending = Ending { id, attempt, outcome, log_tail };
        let bytes = ending.bytes();
        self.completions.run(ending, bytes).await
    }

    pub(super) async fn claim_tasks(
        &self,
        who: &Claimant,
        most: u32,
        lease: Duration,
    ) -> Result<Found, StoreError> {
        let mut args = Args::default();
        args.add(who.node.clone());
        args.number(most);
        args.millis(lease);
        // Lua counts in doubles: beyond 2^53 it is no limit anyway.
        args.number(who.input_bytes.min(1 << 53));
        args.add(self.turn.lock().clone());
        args.claimant(who);
        let answer = self.quick.run(&scripts::CLAIM, &args.slices(), false).await?;
        let items = list(&answer).ok_or_else(|| odd("claim"))?;
        let (turn, tasks) = items.split_first().ok_or_else(|| odd("claim"))?;
        if who.queues.is_empty() {
            *self.turn.lock() = text(turn).ok_or_else(|| odd("claim"))?.to_owned();
        }
        if let [Value::Int(next_in)] = tasks {
            return Ok(Found::Nothing { next_in: u64::try_from(*next_in).ok().map(Duration::from_millis) });
        }
        // Empty when all of them are of a later version: then there may be others at once.
        Ok(Found::Tasks(tasks.chunks(3).filter_map(claimed).collect()))
    }

    pub(super) async fn renew_leases(
        &self,
        leases: &[(TaskId, Attempt)],
        lease: Duration,
    ) -> Result<Vec<TaskId>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = Args::default();
        args.millis(lease);
        for (id, attempt) in leases {
            args.add(id.to_string());
            args.number(attempt.0);
        }
        let answer = self.quick.run(&scripts::RENEW, &args.slices(), false).await?;
        ids(&answer).ok_or_else(|| odd("renew"))
    }

    pub(super) async fn peek(&self, who: &Claimant) -> Result<Option<Duration>, StoreError> {
        let mut args = Args::default();
        args.claimant(who);
        let answer = self.quick.run(&scripts::PEEK, &args.slices(), false).await?;
        let wait = number(&answer).ok_or_else(|| odd("peek"))?;
        Ok(u64::try_from(wait).ok().map(Duration::from_millis))
    }

    pub(super) async fn sweep_tasks(&self, most_lost: u32) -> Result<Swept, StoreError> {
        let mut args = Args::default();
        args.number(most_lost);
        args.number(AT_ONCE);
        let answer = self.durable.run(&scripts::SWEEP, &args.slices(), true).await?;
        let swept = swept(&answer).ok_or_else(|| odd("sweep"))?;
        self.forget().await;
        Ok(swept)
    }

    /// `left`: a lease that was renewed lately runs longer than this.
    pub(super) async fn reclaim_leases(
        &self,
        workers: &[String],
        left: Duration,
        most_lost: u32,
    ) -> Result<Swept, StoreError> {
        let mut args = Args::default();
        args.number(most_lost);
        args.number(AT_ONCE);
        args.millis(left);
        for worker in workers {
            args.add(worker.clone());
        }
        let answer = self.quick.run(&scripts::RECLAIM, &args.slices(), false).await?;
        swept(&answer).ok_or_else(|| odd("reclaim"))
    }

    /// Forgets what is old. That it fails is no failure of the sweep: the next one goes on with it.
    async fn forget(&self) {
        let mut args = Args::default();
        args.millis(self.keep_tasks);
        args.millis(self.keep_ticks);
        args.number(AT_ONCE);
        args.number(self.max_kept_tasks);
        for _ in 0..MOST_FORGETTING {
            match self.quick.run(&scripts::FORGET, &args.slices(), false).await {
                Ok(Value::Int(1)) => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(%error, "old tasks and ticks were not forgotten"),
            }
        }
    }

    /// Cancels or retries.
    pub(super) async fn change_state(
        &self,
        script: &Script,
        id: TaskId,
    ) -> Result<Option<TaskState>, StoreError> {
        let id = id.to_string();
        match self.durable.run(script, &[id.as_bytes()], true).await? {
            Value::Nil => Ok(None),
            state => {
                text(&state).and_then(|state| state.parse().ok()).map(Some).ok_or_else(|| odd(script.name))
            }
        }
    }
}

/// What a claim brought. A task that this version cannot read, one of a later version perhaps, stops nobody else's:
/// leased all the same, it ends with the dead ones.
fn claimed(of_task: &[Value]) -> Option<Claimed> {
    let [id, value, input] = of_task else { return None };
    let read = || {
        let task = codec::read_task(bytes(value)?)?;
        Some(Claimed {
            id: text(id)?.parse().ok()?,
            attempt: Attempt(task.attempt),
            function: task.function,
            queue: task.queue,
            failures: task.failures,
            lost_leases: task.lost,
            retries: task.retries,
            input: Bytes::from(bytes(input)?.to_vec()),
            content_type: task.content_type,
            origin: task.origin,
            reply_to: task.reply_to,
            order_key: task.order_key,
        })
    };
    let claimed = read();
    if claimed.is_none() {
        tracing::error!(
            task = text(id).unwrap_or("?"),
            "a task in the store cannot be read and is left aside"
        );
    }
    claimed
}

fn swept(answer: &Value) -> Option<Swept> {
    let [returned, dead, expired] = list(answer)? else { return None };
    let expired = u64::try_from(number(expired)?).ok()?;
    Some(Swept { returned: ids(returned)?, dead: ids(dead)?, expired })
}

fn ids(value: &Value) -> Option<Vec<TaskId>> {
    list(value)?.iter().map(|id| text(id)?.parse().ok()).collect()
}
