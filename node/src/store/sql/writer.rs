//! Group commit: changes that wait together are committed together.
//!
//! One task owns the writing connection. It takes whatever waits, up to [`MOST`] changes, runs all in
//! one transaction, and answers all after the commit: the cost of making a commit durable is shared,
//! and nobody is told "done" before it is. When one change fails, the others are not harmed: the
//! transaction is rolled back and each runs again in one of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::{Clock, Env, OnExit, UnixMs};
use futures_util::future::BoxFuture;
use sqlx::AnyPool;
use sqlx::{AnyConnection, Connection, Row};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CLOCK, Tx, error};
use crate::queue::StoreError;

/// Changes in one transaction: enough to share a commit among all requests that wait, few enough that
/// other nodes get their turn within milliseconds.
const MOST: usize = 256;

/// Changes that may wait; more are refused with "unavailable".
const WAITING: usize = 4_096;

/// A change that has waited longer is refused: its caller has a deadline of its own.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Runs changes, one transaction at a time.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
    ended: watch::Receiver<bool>,
    pool: AnyPool,
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
    pub(super) fn start(env: &Env, pool: AnyPool) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (tell, ended) = watch::channel(false);
        let (clock, closing) = (env.clock.clone(), CancellationToken::new());
        let writing = write_all(pool.clone(), waiting, clock.clone(), closing.clone(), tell);
        env.spawner.spawn("sql writer", OnExit::StopNode, Box::pin(writing));
        Self { jobs, clock, closing, ended, pool }
    }

    /// Runs one change. It may run more than once, but only one run is committed.
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
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the writer ended".to_owned())))
    }

    /// Waits until nothing is left to write, then closes the connection.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let mut ended = self.ended.clone();
        let _ = tokio::time::timeout(LONGEST_WAIT, ended.wait_for(|ended| *ended)).await;
        self.pool.close().await;
    }
}

/// A change that waits for its transaction.
#[async_trait]
trait Job: Send {
    fn since(&self) -> Instant;
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

async fn write_all(
    pool: AnyPool,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    clock: Arc<dyn Clock>,
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
        let now = clock.now();
        let (fresh, stale): (Vec<_>, Vec<_>) =
            jobs.drain(..).partition(|job| now.duration_since(job.since()) <= LONGEST_WAIT);
        for job in stale {
            job.answer(Err(StoreError::Unavailable("it did not get to this change in time".to_owned())));
        }
        commit_together(&pool, fresh).await;
    }
    ended.send_replace(true);
}

/// Runs the changes in one transaction; when one of them fails, each in its own.
async fn commit_together(pool: &AnyPool, mut jobs: Vec<Box<dyn Job>>) {
    if jobs.is_empty() {
        return;
    }
    let committed = commit(pool, &mut jobs).await;
    if jobs.len() == 1 || !matches!(committed, Err(Failed::Change(_))) {
        let outcome = committed.map_err(Failed::into_store_error);
        return jobs.into_iter().for_each(|job| job.answer(outcome.clone()));
    }
    for job in jobs {
        let mut alone = vec![job];
        let outcome = commit(pool, &mut alone).await.map_err(Failed::into_store_error);
        alone.into_iter().for_each(|job| job.answer(outcome.clone()));
    }
}

/// Where a transaction failed.
enum Failed {
    /// Before any change ran, or in a change: nothing happened.
    Begin(StoreError),
    Change(StoreError),
    /// Nobody knows.
    Commit(StoreError),
}

impl Failed {
    fn into_store_error(self) -> StoreError {
        match self {
            Self::Begin(error) | Self::Change(error) | Self::Commit(error) => error,
        }
    }
}

async fn commit(pool: &AnyPool, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
    let begin = |error| Failed::Begin(error::before_commit(error));
    let mut connection = pool.acquire().await.map_err(begin)?;
    let outcome = commit_on(&mut connection, jobs).await;
    if outcome.is_err() {
        // Whatever state it is in, the next change gets a fresh one.
        connection.close_on_drop();
    }
    outcome
}

async fn commit_on(connection: &mut AnyConnection, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
    let begin = |error| Failed::Begin(error::before_commit(error));
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(begin)?;
    let row = sqlx::query(CLOCK).fetch_one(&mut *transaction).await.map_err(begin)?;
    let now = UnixMs(row.try_get(0).map_err(begin)?);
    let mut tx = Tx { connection: &mut transaction, now };
    for job in jobs {
        job.run(&mut tx).await.map_err(|error| Failed::Change(error::before_commit(error)))?;
    }
    transaction.commit().await.map_err(|error| Failed::Commit(error::at_commit(&error)))
}
