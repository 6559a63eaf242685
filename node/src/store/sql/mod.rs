//! Catalogue, node table and queue in one SQL database, through sqlx's `Any` driver: an SQLite file for one
//! machine, PostgreSQL, MySQL or MariaDB for many.
//!
//! The statements are the same for all; the words that differ stand in `dialect`, the way in and what is agreed
//! with each kind in `sqlite` and `server`.
//!
//! Every change is one transaction, and no two nodes decide from the same reading: on SQLite a transaction takes
//! the write lock first (`BEGIN IMMEDIATE`), on a server it locks the rows that it decides from
//! (docs/decisions/0009). Readers use connections of their own and never wait for writers.

mod catalogue;
mod claim;
mod dialect;
mod error;
mod file;
mod guards;
mod lease;
mod lines;
mod moved;
mod nodes;
mod open;
mod queues;
mod retention;
mod scan;
#[cfg(feature = "conformance")]
pub mod scratch;
mod server;
mod snapshot;
mod sqlite;
mod tasks;
#[cfg(test)]
mod teeth;
mod ticks;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Env, UnixMs};
use parking_lot::Mutex;
use sqlx::AnyPool;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::queue::StoreError;
use dialect::Dialect;
pub use error::OpenError;
use guards::Guards;
use lines::Touched;
use open::Place;
use retention::Surplus;
use writer::Writer;

/// How long finished things are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Finished tasks with their results.
    pub tasks: Duration,
    /// And no more of them than this; the oldest go first.
    pub most_tasks: u32,
    /// Lines of the ledger.
    pub ticks: Duration,
}

/// Where the fences of schedules are, that is, the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fences {
    /// In this database: an edit changes them within its own transaction.
    Here,
    /// In another store. Fences here would grow stale, and fire what has long been fired when the queue
    /// comes back one day.
    Elsewhere,
}

/// One SQL database.
pub struct SqlStore {
    id: String,
    place: Place,
    readers: AnyPool,
    writer: Writer,
    /// The queue after which the next claim from all queues begins.
    turn: Arc<Mutex<String>>,
    /// The line of an order key after which the next sweep goes on.
    looked_over: Arc<Mutex<String>>,
    retention: Retention,
    surplus: Mutex<Surplus>,
    fences: Fences,
}

impl SqlStore {
    /// Opens the database, creates or migrates its tables, reads its id.
    ///
    /// # Errors
    /// [`OpenError`] names the database, never its password.
    pub async fn open(env: &Env, url: &str, retention: Retention) -> Result<Self, OpenError> {
        Self::open_guarded(env, url, retention, Guards::default()).await
    }

    async fn open_guarded(
        env: &Env,
        url: &str,
        retention: Retention,
        guards: Guards,
    ) -> Result<Self, OpenError> {
        let opened = open::open(env, url).await?;
        let (id, place, readers) = (opened.store_id.clone(), opened.place.clone(), opened.readers.clone());
        let writer = Writer::start(env, opened, guards);
        Ok(Self {
            id,
            place,
            readers,
            writer,
            turn: Arc::default(),
            looked_over: Arc::default(),
            retention,
            surplus: Mutex::default(),
            fences: Fences::Here,
        })
    }

    /// The same database for the catalogue and the node table only: the queue is elsewhere.
    #[must_use]
    pub fn without_queue(self) -> Self {
        Self { fences: Fences::Elsewhere, ..self }
    }

    /// Waits for the last changes and closes all connections.
    pub async fn close(&self) {
        let closing = async {
            self.writer.close().await;
            self.readers.close().await;
        };
        match &self.place {
            Place::File(_) => closing.await,
            // A server that hangs keeps nobody from leaving: what it has not answered is unknown as it is.
            Place::Server(_) => drop(tokio::time::timeout(server::CLOSE, closing).await),
        }
    }

    /// The store's clock.
    async fn store_now(&self) -> Result<UnixMs, StoreError> {
        let clock = self.dialect().query(format!("SELECT {}", self.dialect().clock()));
        let row = self.read(async |readers| clock.fetch_one(readers).await).await?;
        Ok(UnixMs(row.try_get(0).map_err(error::reading)?))
    }

    fn dialect(&self) -> Dialect {
        self.place.dialect()
    }

    /// Reads, on one of the connections for it. On a server that hangs this has an end.
    async fn read<T>(&self, reading: impl AsyncFnOnce(&AnyPool) -> sqlx::Result<T>) -> Result<T, StoreError> {
        self.place.check()?;
        let reading = reading(&self.readers);
        let outcome = match &self.place {
            Place::File(_) => reading.await,
            Place::Server(_) => server::in_time(server::READ, reading).await,
        };
        outcome.map_err(error::reading)
    }
}

/// A change in progress: inside a transaction, which on SQLite holds the write lock.
struct Tx<'c> {
    connection: &'c mut AnyConnection,
    dialect: Dialect,
    /// The store's clock when the transaction began.
    now: UnixMs,
    /// What is checked.
    guards: Guards,
    /// Whether tasks whose time has come were made ready in this transaction: once is enough.
    promoted: bool,
    /// What its changes have done to lines of order keys, which are settled at its end.
    touched: Touched,
}

/// A column that must hold a number of the given type.
fn number<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let value: i64 = row.try_get(column)?;
    T::try_from(value).map_err(|_| sqlx::Error::Decode(format!("{column} holds {value}").into()))
}

/// A column whose text must parse.
fn parsed<T: std::str::FromStr>(row: &AnyRow, column: &str) -> sqlx::Result<T>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| sqlx::Error::Decode(format!("{column}: {error}").into()))
}

/// A column of JSON.
fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(format!("{column}: {error}").into()))
}

/// A number for a BIGINT column; ours all fit by far.
fn big(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
