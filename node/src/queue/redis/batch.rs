//! Changes that wait together are sent together: one script, one round trip, one confirmation for all.
//!
//! While one batch is on its way the next one gathers. So a lone change goes out at once, and a flood of them costs
//! the server a fraction of what it would cost one by one.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Clock, Env, OnExit};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::queue::StoreError;

/// Changes in one batch: enough to share the cost of a round trip, few enough that the server is not held up for
/// longer than some milliseconds.
const MOST: usize = 512;

/// Bytes of values in one batch; a larger change goes alone.
const MOST_BYTES: usize = 4 << 20;

/// Changes that may wait; more are refused with "unavailable".
const WAITING: usize = 8_192;

/// A change that has waited longer is refused: its caller has a deadline of its own.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// No batch takes longer, whatever hangs.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
const _: () = assert!(LONGEST_ANSWER.as_secs() >= 2 * LONGEST_WAIT.as_secs());

/// What carries a batch out: one result for each change, in their order, or one error for all.
pub(super) type Carry<I, O> =
    Box<dyn Fn(Vec<I>) -> BoxFuture<'static, Result<Vec<O>, StoreError>> + Send + Sync>;

/// Gathers changes of one kind.
pub(super) struct Batcher<I, O> {
    jobs: mpsc::Sender<Job<I, O>>,
    clock: Arc<dyn Clock>,
}

struct Job<I, O> {
    change: I,
    bytes: usize,
    since: Instant,
    answer: oneshot::Sender<Result<O, StoreError>>,
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    pub(super) fn start(env: &Env, name: &'static str, carry: Carry<I, O>) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let clock = env.clock.clone();
        let gathering = gather(waiting, clock.clone(), carry);
        env.spawner.spawn(name, OnExit::Fine, Box::pin(gathering));
        Self { jobs, clock }
    }

    /// Carries out one change that holds so many bytes of values.
    pub(super) async fn run(&self, change: I, bytes: usize) -> Result<O, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { change, bytes, since: self.clock.now(), answer };
        self.jobs.try_send(job).map_err(|refused| {
            StoreError::Unavailable(match refused {
                mpsc::error::TrySendError::Full(_) => format!("{WAITING} changes are waiting already"),
                mpsc::error::TrySendError::Closed(_) => "it is closed".to_owned(),
            })
        })?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("this node is stopping".to_owned())))
    }
}

async fn gather<I, O>(mut waiting: mpsc::Receiver<Job<I, O>>, clock: Arc<dyn Clock>, carry: Carry<I, O>) {
    let mut jobs = Vec::with_capacity(MOST);
    while !jobs.is_empty() || waiting.recv_many(&mut jobs, MOST).await > 0 {
        while jobs.len() < MOST
            && let Ok(job) = waiting.try_recv()
        {
            jobs.push(job);
        }
        let now = clock.now();
        // Nobody waits for the answer any more: it need not be done at all.
        jobs.retain(|job| !job.answer.is_closed());
        for job in jobs.extract_if(.., |job| now.duration_since(job.since) > LONGEST_WAIT) {
            let late = StoreError::Unavailable("it did not get to this change in time".to_owned());
            let _ = job.answer.send(Err(late));
        }
        let mut bytes = 0_usize;
        let fit = jobs.iter().take_while(|job| {
            bytes = bytes.saturating_add(job.bytes);
            bytes <= MOST_BYTES
        });
        let fit = fit.count().max(1).min(jobs.len());
        let (changes, answers): (Vec<_>, Vec<_>) =
            jobs.drain(..fit).map(|job| (job.change, job.answer)).unzip();
        if changes.is_empty() {
            continue;
        }
        let count = changes.len();
        // One timer for all of them: callers wait for nothing but this, and for their turn.
        let carried = timeout(LONGEST_ANSWER, carry(changes)).await;
        let late = || Err(StoreError::Unknown(format!("no answer within {LONGEST_ANSWER:?}")));
        match carried.unwrap_or_else(|_| late()) {
            Ok(results) if results.len() == count => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // An error means that the caller has gone; the change stands.
                    let _ = answer.send(Ok(result));
                }
            }
            other => {
                let odd = || StoreError::Unknown("it answered for another number of changes".to_owned());
                let error = other.err().unwrap_or_else(odd);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}
