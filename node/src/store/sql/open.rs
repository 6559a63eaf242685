//! Opens the database, creates its tables, reads the id that makes it one store.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Entropy, Env};
use sqlx::AnyPool;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, Connection, Row};

use super::error::{before_commit, is_locked, with_advice};
use super::file::{self, FileId, Home};
use crate::queue::StoreError;

/// Why the database cannot be used. Passwords never appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not reachable, or not a database.
    #[error("the database {url} cannot be opened: {reason}")]
    Open {
        /// Without its password.
        url: String,
        /// What the database says.
        reason: String,
    },
    /// A later version of the program has changed the tables.
    #[error(
        "the database {url} has tables of version {found}, this program knows up to {known}: start a newer beatmesh"
    )]
    Newer {
        /// Without its password.
        url: String,
        /// What the database holds.
        found: i64,
        /// What this program knows.
        known: i64,
    },
}

pub(super) struct Opened {
    pub(super) store_id: String,
    pub(super) home: Arc<Home>,
    /// One connection: changes come one after the other anyway.
    pub(super) writer: AnyConnection,
    /// How to replace it.
    pub(super) options: AnyConnectOptions,
    pub(super) readers: AnyPool,
}

/// Each step brings the tables to the next version. Steps that have been released never change.
const STEPS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_first.sql")];

/// How long opening and reading wait for a lock of another process; `writer` waits in a way of its own.
const BUSY: Duration = Duration::from_secs(2);

/// Reads are short: a few connections serve many requests.
const READERS: u32 = 4;

/// Several nodes start on one new file at once, and SQLite refuses some of what they do then instead of
/// waiting; they try again for this long.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Why an attempt to open failed.
enum Failed {
    /// Another process holds a lock; it is worth trying again.
    Locked,
    Finally(OpenError),
}

pub(super) async fn open(env: &Env, url: &str) -> Result<Opened, OpenError> {
    static DRIVERS: std::sync::Once = std::sync::Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);

    let trying = async {
        loop {
            match try_open(env, url).await {
                Ok(opened) => return Ok(opened),
                Err(Failed::Locked) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(Failed::Finally(error)) => return Err(error),
            }
        }
    };
    tokio::time::timeout(OPEN_WITHIN, trying).await.unwrap_or_else(|_| {
        Err(OpenError::Open { url: url.to_owned(), reason: "another process keeps it locked".to_owned() })
    })
}

async fn try_open(env: &Env, url: &str) -> Result<Opened, Failed> {
    let failed = |error: sqlx::Error| as_failed(url, &error);
    let path = file::path(url).map_err(failed)?;
    file::make(&path);
    let options = |mode| {
        let separator = if url.contains('?') { '&' } else { '?' };
        AnyConnectOptions::from_str(&format!("{url}{separator}mode={mode}")).map_err(failed)
    };
    let before = FileId::at(&path);
    let mut writer = connect(&options("rwc")?).await.map_err(failed)?;
    let store_id = migrate(&mut writer, url, &*env.entropy).await?;
    // Replaced meanwhile: nobody knows which file is open. Try again.
    let file = FileId::at(&path).filter(|after| before == Some(*after)).ok_or(Failed::Locked)?;
    let home = Arc::new(Home::new(path, file, env.clock.clone()));
    let home_of_readers = home.clone();
    // From here on a missing file is an error: a new and empty one must not pass for this store.
    let options = options("rw")?;
    let readers = AnyPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY * 2)
        // A connection that fails is replaced; asking it first would double every query.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(prepare_reader(connection)))
        .before_acquire(move |_, about| {
            let holds = home_of_readers.holds(about.age);
            Box::pin(async move { Ok(holds) })
        })
        .connect_lazy_with(options.clone());
    Ok(Opened { store_id, home, writer, options, readers })
}

fn as_failed(url: &str, error: &sqlx::Error) -> Failed {
    if is_locked(error) {
        return Failed::Locked;
    }
    Failed::Finally(OpenError::Open { url: url.to_owned(), reason: with_advice(error) })
}

/// A connection for changes. Not from a pool: a pool answers "timed out" whatever the reason was.
async fn connect(options: &AnyConnectOptions) -> sqlx::Result<AnyConnection> {
    let mut connection = AnyConnection::connect_with(options).await?;
    // FULL: an acknowledged change survives a power cut. Group commit in `writer` pays for it.
    let pragmas = format!(
        "PRAGMA busy_timeout = {}; PRAGMA synchronous = FULL; PRAGMA cache_size = -2000; \
         PRAGMA journal_size_limit = 16777216;",
        BUSY.as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas)).execute(&mut connection).await?;
    let row = sqlx::raw_sql("PRAGMA journal_mode = WAL").fetch_one(&mut connection).await?;
    let mode: String = row.try_get(0)?;
    if mode != "wal" {
        // Without it readers and writers would stop each other, and it says so in no other way.
        let reason = "it cannot keep a write-ahead log; is it on a network file system, or in memory?";
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut connection).await?;
    Ok(connection)
}

/// A connection for changes in place of one that failed. It must be the same store, though the file may be
/// another: a copy that was put back.
pub(super) async fn reconnect(
    options: &AnyConnectOptions,
    home: &Home,
    store_id: &str,
) -> Result<AnyConnection, StoreError> {
    let file = FileId::at(home.path()).ok_or_else(Home::unavailable)?;
    let mut connection = connect(options).await.map_err(before_commit)?;
    match value(&mut connection, "store_id").await.map_err(before_commit)? {
        Some(id) if id == store_id => {
            // The transaction that follows looks whether this is still the file there.
            home.move_to(file);
            Ok(connection)
        }
        _ => Err(StoreError::Unavailable("another database has taken its place".to_owned())),
    }
}

/// Settings that live in the connection, not in the file.
async fn prepare_reader(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let pragmas = format!(
        "PRAGMA busy_timeout = {}; PRAGMA cache_size = -2000; PRAGMA query_only = 1;",
        BUSY.as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas)).execute(connection).await?;
    Ok(())
}

/// Brings the tables to the newest version, in one transaction. Answers the store's id.
async fn migrate(connection: &mut AnyConnection, url: &str, entropy: &dyn Entropy) -> Result<String, Failed> {
    let failed = |error: sqlx::Error| as_failed(url, &error);
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS beatmesh (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    )
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    let known = i64::try_from(STEPS.len()).expect("a handful of steps");
    let found = match value(&mut tx, "schema").await.map_err(failed)? {
        None => 0,
        Some(text) => text.parse::<u32>().map(i64::from).map_err(|_| {
            let reason = format!("its table `beatmesh` says schema `{text}`, which is not a version");
            Failed::Finally(OpenError::Open { url: url.to_owned(), reason })
        })?,
    };
    if found > known {
        return Err(Failed::Finally(OpenError::Newer { url: url.to_owned(), found, known }));
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *tx).await.map_err(failed)?;
    }
    if found < known {
        set_value(&mut tx, "schema", &known.to_string()).await.map_err(failed)?;
    }
    let store_id = match value(&mut tx, "store_id").await.map_err(failed)? {
        Some(id) => id,
        None => {
            let id = format!("{:016x}", entropy.u64());
            set_value(&mut tx, "store_id", &id).await.map_err(failed)?;
            id
        }
    };
    tx.commit().await.map_err(failed)?;
    Ok(store_id)
}

/// A value of the table `beatmesh`.
pub(super) async fn value(connection: &mut AnyConnection, name: &str) -> sqlx::Result<Option<String>> {
    let row = sqlx::query("SELECT value FROM beatmesh WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Sets a value of the table `beatmesh`.
pub(super) async fn set_value(connection: &mut AnyConnection, name: &str, value: &str) -> sqlx::Result<()> {
    let changed = sqlx::query("UPDATE beatmesh SET value = ? WHERE name = ?")
        .bind(value)
        .bind(name)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    if changed == 0 {
        sqlx::query("INSERT INTO beatmesh (name, value) VALUES (?, ?)")
            .bind(name)
            .bind(value)
            .execute(connection)
            .await?;
    }
    Ok(())
}
