//! Group commit: changes that wait together are committed together.
//!
//! One task owns the writing connection. It takes whatever waits, up to [`MOST`] changes, runs all in
//! one transaction, and answers all after the commit: the cost of making a commit durable is shared,
//! and nobody is told "done" before it is. When one change fails, the transaction is rolled back, that
//! change runs again alone for its own answer, and the others run again without it.
//!
//! Nothing is answered as done while the path leads to another file than the open one: such a change would
//! be gone with this process.
//!
//! After any error the connection is replaced: the database may have rolled back by itself, or may not, and
//! the next change must not find out. A server may also end a transaction in favour of another node's, when each
//! waits for a row of the other: then nothing has happened, and the whole batch is tried again.

mod transaction;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::{Clock, Env, OnExit};
use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, Connection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::file::{Home, Sight};
use super::guards::Guards;
use super::open::{Opened, Place};
use super::{Tx, error};
use crate::queue::StoreError;
use transaction::{Failed, LOOK_AGAIN, begin, commit_on};

/// Changes in one transaction: enough to share a commit among all requests that wait, few enough that
/// other nodes get their turn within milliseconds.
const MOST: usize = 256;

/// While processes compete, each leaves the lock alone for so long after a transaction: longer than the
/// others take to look again, timers being up to a millisecond late.
const GAP: Duration = Duration::from_millis(3);
const _: () = assert!(GAP.as_millis() > 2 * LOOK_AGAIN.as_millis());

/// Processes that last met so long ago compete no more.
const CONTENDED_FOR: Duration = Duration::from_millis(500);

/// Changes that may wait; more are refused with "unavailable".
const WAITING: usize = 4_096;

/// A change that has waited longer is refused: its caller has a deadline of its own.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A caller waits no longer, whatever hangs: its turn, a lock of another process, and the disk.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
const _: () = assert!(LONGEST_ANSWER.as_secs() >= 2 * LONGEST_WAIT.as_secs());

/// How often a batch is tried that had to give way to other nodes' changes. Each round some node gets through, so
/// more than a few are a fault. Guess.
const MOST_ROUNDS: u32 = 5;

/// A connection that does not close by then is left to its fate.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Runs changes, one transaction at a time.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
    ended: watch::Receiver<bool>,
}

/// What a change may borrow: the transaction it runs in.
pub(super) trait Change<T>:
    for<'a, 'c> FnMut(&'a mut Tx<'c>) -> BoxFuture<'a, sqlx::Result<T>> + Send + 'static
{
}
impl<T, F> Change<T> for F where
    F: for<'a, 'c> FnMut(&'a mut Tx<'c>) -> BoxFuture<'a, sqlx::Result<T>> + Send + 'static
{
}

impl Writer {
    /// Starts to write on the store's connection, which is replaced as long as its options lead to the same
    /// store.
    pub(super) fn start(env: &Env, opened: Opened, guards: Guards) -> Self {
        let Opened { store_id, place, writer: connection, .. } = opened;
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (tell, ended) = watch::channel(false);
        let (clock, closing) = (env.clock.clone(), CancellationToken::new());
        let (contended, left) = (None, clock.now());
        let (connection, clock_too) = (Some(connection), clock.clone());
        let desk = Desk { connection, place, store_id, guards, clock: clock_too, contended, left };
        let writing = desk.write_all(waiting, closing.clone(), tell);
        env.spawner.spawn("sql writer", OnExit::StopNode, Box::pin(writing));
        Self { jobs, clock, closing, ended }
    }

    /// Runs one change. It may run more than once, but at most one run is committed. When the caller
    /// gives up before its turn, the change is not run at all.
    pub(super) async fn run<T: Send + 'static>(&self, change: impl Change<T>) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Waiting { change, value: None, answer, since: self.clock.now() };
        self.jobs.try_send(Box::new(job)).map_err(|refused| {
            StoreError::Unavailable(match refused {
                mpsc::error::TrySendError::Full(_) => format!("{WAITING} changes are waiting already"),
                mpsc::error::TrySendError::Closed(_) => "it is closed".to_owned(),
            })
        })?;
        // The writer answers everything it takes; silence means that it died with the change in hand.
        match timeout(LONGEST_ANSWER, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(StoreError::Unknown("the writer ended".to_owned()))),
            Err(_) => Err(StoreError::Unknown(format!("no answer within {LONGEST_ANSWER:?}"))),
        }
    }

    /// Takes no further changes, and waits until those that wait are written and the connection is closed.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let mut ended = self.ended.clone();
        let _ = timeout(LONGEST_ANSWER, ended.wait_for(|ended| *ended)).await;
    }
}

/// A change that waits for its transaction.
#[async_trait]
trait Job: Send {
    fn since(&self) -> Instant;
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    async fn run(&mut self, tx: &mut Tx<'_>) -> sqlx::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Waiting<T, C> {
    change: C,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
    since: Instant,
}

#[async_trait]
impl<T: Send + 'static, C: Change<T>> Job for Waiting<T, C> {
    fn since(&self) -> Instant {
        self.since
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    async fn run(&mut self, tx: &mut Tx<'_>) -> sqlx::Result<()> {
        self.value = Some((self.change)(tx).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let value = self.value;
        let outcome = committed.map(|()| value.expect("a committed change has run"));
        // An error means that the caller has gone; the change stands.
        let _ = self.answer.send(outcome);
    }
}

/// Where changes become rows: one connection, and how to replace it.
struct Desk {
    connection: Option<AnyConnection>,
    place: Place,
    store_id: String,
    guards: Guards,
    clock: Arc<dyn Clock>,
    /// When another process last held the lock that this one wanted, if that was lately.
    contended: Option<Instant>,
    /// When this one last let go of the lock.
    left: Instant,
}

impl Desk {
    async fn write_all(
        mut self,
        mut waiting: mpsc::Receiver<Box<dyn Job>>,
        closing: CancellationToken,
        ended: watch::Sender<bool>,
    ) {
        let mut jobs = Vec::with_capacity(MOST);
        loop {
            let taken = tokio::select! {
                biased;
                taken = waiting.recv_many(&mut jobs, MOST) => taken,
                () = closing.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            self.commit_together(&mut jobs).await;
        }
        if let Some(connection) = self.connection.take() {
            let _ = timeout(CLOSE_WITHIN, connection.close()).await;
        }
        ended.send_replace(true);
        if closing.is_cancelled() {
            // It was asked to end: that is no reason to stop the node, as any other end would be.
            std::future::pending::<()>().await;
        }
    }

    /// Runs all changes in as few transactions as possible, and answers each.
    async fn commit_together(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let mut rounds = 0;
        loop {
            self.drop_those_too_late(jobs);
            if jobs.is_empty() {
                return;
            }
            match self.commit(jobs).await {
                Ok(committed) => jobs.drain(..committed).for_each(|job| job.answer(Ok(()))),
                Err(Failed::Deadlock(_)) if rounds < MOST_ROUNDS => rounds += 1,
                // The others were not at fault, and they are not committed.
                Err(Failed::Change(at, _)) if jobs.len() > 1 => self.commit_alone(jobs.remove(at)).await,
                Err(Failed::Begin(error) | Failed::Change(_, error) | Failed::Deadlock(error)) => {
                    jobs.drain(..).for_each(|job| job.answer(Err(error.clone())));
                }
                Err(Failed::Commit(ran, error)) => {
                    jobs.drain(..ran).for_each(|job| job.answer(Err(error.clone())));
                }
            }
        }
    }

    async fn commit_alone(&mut self, job: Box<dyn Job>) {
        let mut alone = [job];
        let mut outcome = self.commit(&mut alone).await;
        for _ in 0..MOST_ROUNDS {
            if !matches!(outcome, Err(Failed::Deadlock(_))) {
                break;
            }
            outcome = self.commit(&mut alone).await;
        }
        let outcome = outcome.map(drop).map_err(|failed| match failed {
            Failed::Begin(error)
            | Failed::Change(_, error)
            | Failed::Deadlock(error)
            | Failed::Commit(_, error) => error,
        });
        let [job] = alone;
        job.answer(outcome);
    }

    /// Before each transaction, so that one slow disk does not make a whole batch late.
    fn drop_those_too_late(&self, jobs: &mut Vec<Box<dyn Job>>) {
        let now = self.clock.now();
        jobs.retain(|job| !job.is_abandoned());
        for job in jobs.extract_if(.., |job| now.duration_since(job.since()) > LONGEST_WAIT) {
            job.answer(Err(StoreError::Unavailable("it did not get to this change in time".to_owned())));
        }
    }

    /// One transaction. Answers how many of the changes, from the first on, it has committed.
    async fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<usize, Failed> {
        if self.contended.is_some() {
            tokio::time::sleep_until(self.left + GAP).await;
        }
        let (mut connection, begun) = self.begin().await.map_err(Failed::Begin)?;
        let outcome = match begun {
            Ok(waited) => {
                self.note_contention(waited);
                let dialect = self.place.dialect();
                let committed = commit_on(&mut connection, dialect, &*self.clock, self.guards, jobs).await;
                committed.and_then(|ran| self.confirm(ran))
            }
            Err(error) => Err(Failed::Begin(error::before_commit(error))),
        };
        if outcome.is_ok() {
            self.connection = Some(connection);
        } else {
            let _ = timeout(CLOSE_WITHIN, connection.close()).await;
        }
        self.left = self.clock.now();
        outcome
    }

    /// A connection on which a transaction has begun, or why it has not. A connection to a server may have ended
    /// while nobody used it: then a new one gets its chance, because nothing was asked of the old one yet. A server
    /// that hangs would only hang again.
    async fn begin(&mut self) -> Result<(AnyConnection, sqlx::Result<bool>), StoreError> {
        let is_kept = self.connection.is_some();
        let mut connection = self.connect().await?;
        let dialect = self.place.dialect();
        let mut begun = begin(&mut connection, dialect, &*self.clock).await;
        if is_kept && begun.as_ref().is_err_and(error::is_cut_off) {
            let _ = timeout(CLOSE_WITHIN, connection.close_hard()).await;
            connection = self.connect().await?;
            begun = begin(&mut connection, dialect, &*self.clock).await;
        }
        Ok((connection, begun))
    }

    /// The connection, if the file that it has open is in its place; else one to the file that is.
    async fn connect(&mut self) -> Result<AnyConnection, StoreError> {
        match self.place.look() {
            Sight::Same => {}
            // It may come back, and then this connection goes on.
            Sight::Gone => return Err(Home::unavailable()),
            // SQLite sees that the file was moved and leaves the log of the one in its place alone.
            Sight::Another => {
                if let Some(connection) = self.connection.take() {
                    let _ = timeout(CLOSE_WITHIN, connection.close()).await;
                }
            }
        }
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.place.reconnect(&self.store_id).await,
        }
    }

    /// What was committed counts if the file is still in its place. Where it went nobody knows: whoever
    /// moved the file away may put it back.
    fn confirm(&self, ran: usize) -> Result<usize, Failed> {
        self.place
            .check()
            .map(|()| ran)
            .map_err(|error| Failed::Commit(ran, StoreError::Unknown(format!("it was written, but {error}"))))
    }

    /// Whoever had to wait for another process knows that the other waits for it in turn.
    fn note_contention(&mut self, waited: bool) {
        let now = self.clock.now();
        if waited {
            self.contended = Some(now);
        } else if self.contended.is_some_and(|last| now.duration_since(last) > CONTENDED_FOR) {
            self.contended = None;
        }
    }
}

#[cfg(test)]
mod tests;
