//! A store in an SQLite file: how it is opened, and that it is still the file that was opened.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Row};

use super::error::before_commit;
use super::file::{self, FileId, Home};
use crate::queue::StoreError;

/// How long opening and reading wait for a lock of another process; `writer` waits in a way of its own.
const BUSY: Duration = Duration::from_secs(2);

/// Reads are short: a few connections serve many requests.
const READERS: u32 = 4;

/// An SQLite file that is open.
#[derive(Clone)]
pub(super) struct SqliteFile {
    pub(super) home: Arc<Home>,
    options: AnyConnectOptions,
}

/// A file that was there, or was made, when it was asked for.
pub(super) struct Found {
    path: std::path::PathBuf,
    before: Option<FileId>,
    url: String,
}

impl Found {
    /// Makes an empty file if there is none.
    pub(super) fn at(url: &str) -> sqlx::Result<Self> {
        let path = file::path(url)?;
        file::make(&path);
        Ok(Self { before: FileId::at(&path), path, url: url.to_owned() })
    }

    /// The first connection, which may make the database in the file.
    pub(super) async fn connect(&self) -> sqlx::Result<AnyConnection> {
        connect(&self.options("rwc")?).await
    }

    /// The file as a store's home; `None` if it was replaced meanwhile, when nobody knows which file is open.
    pub(super) fn home(self, env: &Env) -> sqlx::Result<Option<SqliteFile>> {
        let Some(file) = FileId::at(&self.path).filter(|after| self.before == Some(*after)) else {
            return Ok(None);
        };
        // From here on a missing file is an error: a new and empty one must not pass for this store.
        let options = self.options("rw")?;
        let home = Arc::new(Home::new(self.path, file, env.clock.clone()));
        Ok(Some(SqliteFile { home, options }))
    }

    fn options(&self, mode: &str) -> sqlx::Result<AnyConnectOptions> {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        AnyConnectOptions::from_str(&format!("{}{separator}mode={mode}", self.url))
    }
}

impl SqliteFile {
    /// A connection for changes in place of one that failed, and the file that it has open. Whether that is the
    /// same store, though the file may be another (a copy that was put back), is for the caller to see.
    pub(super) async fn reconnect(&self) -> Result<(AnyConnection, FileId), StoreError> {
        let file = FileId::at(self.home.path()).ok_or_else(Home::unavailable)?;
        let connection = connect(&self.options).await.map_err(before_commit)?;
        Ok((connection, file))
    }

    /// Connections to read from; they never wait for writers.
    pub(super) fn readers(&self) -> AnyPool {
        let home = self.home.clone();
        AnyPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY * 2)
            // A connection that fails is replaced; asking it first would double every query.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare_reader(connection)))
            .before_acquire(move |_, about| {
                let holds = home.holds(about.age);
                Box::pin(async move { Ok(holds) })
            })
            .connect_lazy_with(self.options.clone())
    }
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

/// Settings that live in the connection, not in the file.
async fn prepare_reader(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let pragmas = format!(
        "PRAGMA busy_timeout = {}; PRAGMA cache_size = -2000; PRAGMA query_only = 1;",
        BUSY.as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(pragmas)).execute(connection).await?;
    Ok(())
}
