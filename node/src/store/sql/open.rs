//! Opens the database, creates its tables, reads the id that makes it one store.

use std::time::Duration;

use beatmesh_mesh::env::{Entropy, Env};
use sqlx::{AnyConnection, AnyPool, Row};

use super::dialect::Dialect;
use super::error::{OpenError, before_commit, is_locked, is_unreachable, with_advice};
use super::file::Sight;
use super::server::Server;
use super::sqlite::{Found, SqliteFile};
use crate::config::redact;
use crate::queue::StoreError;

pub(super) struct Opened {
    pub(super) store_id: String,
    pub(super) place: Place,
    /// One connection: changes come one after the other anyway.
    pub(super) writer: AnyConnection,
    pub(super) readers: AnyPool,
}

/// Where an open store is, and the way there.
#[derive(Clone)]
pub(super) enum Place {
    File(SqliteFile),
    Server(Server),
}

/// The name of the counter that every edit takes its revision from, in the table `beatmesh`.
pub(super) const REVISION: &str = "catalogue_revision";

/// The name of the row that claims lock while they look at limits, in the table `beatmesh`.
pub(super) const LIMITS: &str = "limits";

/// Several nodes start on one new database at once: SQLite refuses some of what they do then instead of waiting,
/// and on servers one makes the tables while the others wait. They try again for this long.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// How soon they try again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

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
                Err(Failed::Locked) => tokio::time::sleep(TRY_AGAIN).await,
                Err(Failed::Finally(error)) => return Err(error),
            }
        }
    };
    tokio::time::timeout(OPEN_WITHIN, trying).await.unwrap_or_else(|_| {
        let url = shown(url);
        Err(match Server::of(&url) {
            None => OpenError::Open { url, reason: "another process keeps it locked".to_owned() },
            Some(_) => OpenError::Unreachable {
                url,
                reason: format!("no end within {OPEN_WITHIN:?}; does somebody keep its tables locked?"),
            },
        })
    })
}

async fn try_open(env: &Env, url: &str) -> Result<Opened, Failed> {
    let failed = |error: sqlx::Error| as_failed(url, &error);
    let (writer, store_id, place) = match Server::of(url) {
        Some(server) => {
            let mut server = server.map_err(failed)?;
            let connecting = server.connect_first().await.map_err(Failed::Finally)?;
            let mut writer = connecting.map_err(failed)?;
            let store_id = migrate(&mut writer, server.dialect, url, &*env.entropy).await?;
            (writer, store_id, Place::Server(server))
        }
        None => {
            let found = Found::at(url).map_err(failed)?;
            let mut writer = found.connect().await.map_err(failed)?;
            let store_id = migrate(&mut writer, Dialect::Sqlite, url, &*env.entropy).await?;
            let file = found.home(env).map_err(failed)?.ok_or(Failed::Locked)?;
            (writer, store_id, Place::File(file))
        }
    };
    let readers = match &place {
        Place::File(file) => file.readers(),
        Place::Server(server) => server.readers(),
    };
    Ok(Opened { store_id, place, writer, readers })
}

/// The URL without its password. A file has none, whatever its name looks like.
fn shown(url: &str) -> String {
    if Server::of(url).is_some() { redact(url) } else { url.to_owned() }
}

fn as_failed(url: &str, error: &sqlx::Error) -> Failed {
    if is_locked(error) {
        return Failed::Locked;
    }
    let (url, reason) = (shown(url), with_advice(error));
    Failed::Finally(if is_unreachable(error) {
        OpenError::Unreachable { url, reason }
    } else {
        OpenError::Open { url, reason }
    })
}

impl Place {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::File(_) => Dialect::Sqlite,
            Self::Server(server) => server.dialect,
        }
    }

    /// What stands where the store should. A server is no file that can be moved away under a connection.
    pub(super) fn look(&self) -> Sight {
        match self {
            Self::File(file) => file.home.look(),
            Self::Server(_) => Sight::Same,
        }
    }

    /// Nothing is asked of a file that is not in its place.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::File(file) => file.home.check(),
            Self::Server(_) => Ok(()),
        }
    }

    /// Whether one value may have so many bytes. SQLite and PostgreSQL take a gigabyte, which nobody sends.
    pub(super) fn takes(&self, bytes: usize) -> Result<(), StoreError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Server(server) => server.takes(bytes),
        }
    }

    /// A connection for changes in place of one that failed. It must be the same store.
    pub(super) async fn reconnect(&self, store_id: &str) -> Result<AnyConnection, StoreError> {
        let (mut connection, file) = match self {
            Self::File(file) => file.reconnect().await.map(|(connection, file)| (connection, Some(file)))?,
            Self::Server(server) => (server.connect().await.map_err(before_commit)?, None),
        };
        let reading = value(&mut connection, self.dialect(), "store_id");
        let found = self.dialect().step(reading).await.map_err(before_commit)?;
        if found.as_deref() != Some(store_id) {
            return Err(StoreError::Unavailable("another database has taken its place".to_owned()));
        }
        if let (Self::File(SqliteFile { home, .. }), Some(file)) = (self, file) {
            // The transaction that follows looks whether this is still the file there.
            home.move_to(file);
        }
        Ok(connection)
    }
}

/// Brings the tables to the newest version while nobody else does. Answers the store's id. On any error the
/// connection is given up, and with it the lock.
async fn migrate(
    connection: &mut AnyConnection,
    dialect: Dialect,
    url: &str,
    entropy: &dyn Entropy,
) -> Result<String, Failed> {
    let failed = |error: sqlx::Error| as_failed(url, &error);
    if !lock(connection, dialect).await.map_err(failed)? {
        return Err(Failed::Locked);
    }
    sqlx::raw_sql(dialect.make_beatmesh()).execute(&mut *connection).await.map_err(failed)?;
    let steps = dialect.steps();
    let known = i64::try_from(steps.len()).expect("a handful of steps");
    let found = match value(connection, dialect, "schema").await.map_err(failed)? {
        None => 0,
        Some(text) => text.parse::<u32>().map(i64::from).map_err(|_| {
            let reason = format!("its table `beatmesh` says schema `{text}`, which is not a version");
            Failed::Finally(OpenError::Open { url: shown(url), reason })
        })?,
    };
    if found > known {
        return Err(Failed::Finally(OpenError::Newer { url: shown(url), found, known }));
    }
    for step in steps.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *connection).await.map_err(failed)?;
    }
    if found < known {
        set_value(connection, dialect, "schema", &known.to_string()).await.map_err(failed)?;
    }
    let store_id = match value(connection, dialect, "store_id").await.map_err(failed)? {
        Some(id) => id,
        None => {
            let id = format!("{:016x}", entropy.u64());
            set_value(connection, dialect, "store_id", &id).await.map_err(failed)?;
            id
        }
    };
    // Edits lock the one row and claims the other, so they must be there.
    for name in [REVISION, LIMITS] {
        if value(connection, dialect, name).await.map_err(failed)?.is_none() {
            set_value(connection, dialect, name, "0").await.map_err(failed)?;
        }
    }
    unlock(connection, dialect).await.map_err(failed)?;
    Ok(store_id)
}

/// Any number that no other program is likely to lock on PostgreSQL: the letters `beatmesh`.
const ADVISORY: i64 = i64::from_be_bytes(*b"beatmesh");

/// Keeps other nodes from making the tables meanwhile. `false` when another one is at it. MySQL commits after each
/// statement that makes a table, so there the lock is not one of a transaction.
async fn lock(connection: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<bool> {
    match dialect {
        Dialect::Sqlite => sqlx::raw_sql(dialect.begin()).execute(connection).await.map(|_| true),
        Dialect::Postgres => {
            sqlx::raw_sql(dialect.begin()).execute(&mut *connection).await?;
            let waiting = dialect.query("SELECT 1 FROM (SELECT pg_advisory_xact_lock(?)) AS taken");
            waiting.bind(ADVISORY).execute(connection).await.map(|_| true)
        }
        Dialect::MySql => {
            // The name is one of the whole server, and has a limited length.
            let row = dialect
                .query("SELECT CAST(GET_LOCK(CONCAT('beatmesh/', MD5(DATABASE())), 2) AS SIGNED)")
                .fetch_one(connection)
                .await?;
            Ok(row.try_get::<Option<i64>, _>(0)? == Some(1))
        }
    }
}

async fn unlock(connection: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<()> {
    let statement = match dialect {
        Dialect::Sqlite | Dialect::Postgres => "COMMIT",
        Dialect::MySql => "DO RELEASE_LOCK(CONCAT('beatmesh/', MD5(DATABASE())))",
    };
    sqlx::raw_sql(statement).execute(connection).await.map(drop)
}

/// A value of the table `beatmesh`.
pub(super) async fn value(
    connection: &mut AnyConnection,
    dialect: Dialect,
    name: &str,
) -> sqlx::Result<Option<String>> {
    let query = dialect.query("SELECT value FROM beatmesh WHERE name = ?");
    let row = query.bind(name).fetch_optional(connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Sets a value of the table `beatmesh`.
pub(super) async fn set_value(
    connection: &mut AnyConnection,
    dialect: Dialect,
    name: &str,
    value: &str,
) -> sqlx::Result<()> {
    let update = dialect.query("UPDATE beatmesh SET value = ? WHERE name = ?");
    let changed = update.bind(value).bind(name).execute(&mut *connection).await?.rows_affected();
    if changed == 0 {
        let insert = dialect.query("INSERT INTO beatmesh (name, value) VALUES (?, ?)");
        insert.bind(name).bind(value).execute(connection).await?;
    }
    Ok(())
}
