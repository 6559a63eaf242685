//! One transaction: how it begins, runs changes, and commits, and what it means when one of that fails.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use beatmesh_mesh::env::{Clock, UnixMs};
use futures_util::FutureExt;
use sqlx::{AnyConnection, Row};
use tokio::time::sleep;

use super::Job;
use crate::queue::StoreError;
use crate::store::sql::dialect::Dialect;
use crate::store::sql::guards::Guards;
use crate::store::sql::lines::{Touched, settle};
use crate::store::sql::{Tx, error};

/// No further change joins a transaction that is older: other nodes wait for the lock.
const LONGEST_TRANSACTION: Duration = Duration::from_millis(50);

/// How long a transaction waits for another process's write lock. Less than what an HTTP client waits, so
/// that a locked file becomes a clear answer.
const LOCKED: Duration = Duration::from_secs(2);

/// How often it looks whether the lock is free. One look costs some microseconds.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where a transaction failed.
pub(super) enum Failed {
    /// Before any change ran: nothing happened.
    Begin(StoreError),
    /// In the change at this place: nothing happened, for all is rolled back.
    Change(usize, StoreError),
    /// Another node's change was in the way, and the server has let that one pass: nothing happened.
    Deadlock(StoreError),
    /// After so many changes had run: nobody knows.
    Commit(usize, StoreError),
}

/// Runs changes until the transaction is long enough, commits. On any error the connection is in a state that
/// nobody knows.
pub(super) async fn commit_on(
    connection: &mut AnyConnection,
    dialect: Dialect,
    clock: &dyn Clock,
    guards: Guards,
    jobs: &mut [Box<dyn Job>],
) -> Result<usize, Failed> {
    let begin = |error| Failed::Begin(error::before_commit(error));
    let began = clock.now();
    let asked = dialect.query(format!("SELECT {}", dialect.clock()));
    let row = dialect.step(asked.fetch_one(&mut *connection)).await.map_err(begin)?;
    let now = UnixMs(row.try_get(0).map_err(begin)?);
    let mut tx = Tx {
        connection: &mut *connection,
        dialect,
        now,
        guards,
        promoted: false,
        touched: Touched::default(),
    };
    let mut ran = 0;
    for job in jobs {
        // A fault in one change must not end the writer, and with it the node.
        match AssertUnwindSafe(dialect.step(job.run(&mut tx))).catch_unwind().await {
            Ok(Ok(())) => ran += 1,
            Ok(Err(error)) => return Err(failed_change(ran, error)),
            Err(_) => {
                let reason = "a fault of this program, please report it".to_owned();
                return Err(Failed::Change(ran, StoreError::Refused(reason)));
            }
        }
        if clock.now().duration_since(began) > LONGEST_TRANSACTION {
            break;
        }
    }
    dialect.step(settle(&mut tx)).await.map_err(failed_end)?;
    match dialect.step(sqlx::raw_sql("COMMIT").execute(connection)).await {
        Ok(_) => Ok(ran),
        Err(error) => Err(Failed::Commit(ran, error::at_commit(&error))),
    }
}

/// What concerns all changes: nothing happened.
fn failed_end(error: sqlx::Error) -> Failed {
    if error::is_deadlock(&error) {
        return Failed::Deadlock(error::before_commit(error));
    }
    Failed::Begin(error::before_commit(error))
}

fn failed_change(at: usize, error: sqlx::Error) -> Failed {
    if error::is_deadlock(&error) {
        return Failed::Deadlock(error::before_commit(error));
    }
    // The connection is gone: that is nobody's fault, and with a new one for each change all would wait for long.
    if error::is_unreachable(&error) {
        return Failed::Begin(error::before_commit(error));
    }
    Failed::Change(at, error::before_commit(error))
}

/// Begins a transaction; on SQLite it takes the write lock. SQLite's own way of waiting looks more and more seldom,
/// so that one busy node keeps all others out (measured: for more than two seconds). Answers whether it had to wait.
pub(super) async fn begin(
    connection: &mut AnyConnection,
    dialect: Dialect,
    clock: &dyn Clock,
) -> sqlx::Result<bool> {
    let asked = clock.now();
    let mut waited = false;
    loop {
        match dialect.step(sqlx::raw_sql(dialect.begin()).execute(&mut *connection)).await {
            Ok(_) => return Ok(waited),
            Err(error) if error::is_locked(&error) && clock.now().duration_since(asked) < LOCKED => {
                waited = true;
                sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}
