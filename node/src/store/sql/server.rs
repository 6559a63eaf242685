//! A store on a database server: how it is reached, and what each connection agrees with it.
//!
//! A server can be down, can hang, and can be left alone with locks by a client that was stopped. So everything
//! here has a time limit: the server ends transactions that stand still, and this side waits for no answer for
//! longer than `Dialect::step` allows.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection, Row};

use super::dialect::Dialect;
use super::error::OpenError;
use crate::config::redact;
use crate::queue::StoreError;

/// From the first packet to a connection that may be used.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long a transaction may stand still before the server takes its locks away: a node that was stopped in its
/// middle must not hold up the others for longer than they wait for a lock. A node that works is done in
/// milliseconds.
const STANDS_STILL: Duration = Duration::from_secs(2);

/// MySQL has no limit for transactions alone, so there it ends every connection that says nothing for so long. A new
/// one is made when it is needed again, which a quiet node notices least.
const SILENT: Duration = Duration::from_secs(8);

/// How long a statement waits for a row that another transaction has in hand.
const LOCK: Duration = Duration::from_secs(2);

/// How long a statement may take.
const STATEMENT: Duration = Duration::from_secs(5);

/// How long a read may take, together with getting a connection.
pub(super) const READ: Duration = Duration::from_secs(5);
const _: () = assert!(STATEMENT.as_secs() <= READ.as_secs());

/// How long a stopping node waits for the end of its changes and connections. What runs takes milliseconds; with the
/// 8 s of `limits.shutdown` before it, this ends before the 10 s that container runtimes give.
pub(super) const CLOSE: Duration = Duration::from_secs(1);

/// Connections for reading; fewer than for most applications, because a mesh has many nodes and a server has
/// a hundred connections in its default settings.
const READERS: u32 = 4;

/// Connections that nobody has used for so long are closed, as firewalls would do without a word.
const IDLE: Duration = Duration::from_secs(120);

/// A connection that was used so lately is not asked whether it lives: that would double every query.
const TRUSTED: Duration = Duration::from_secs(1);

/// What a packet holds beside the longest value: the statement, and other values of the row. Generous.
const BESIDE: u64 = 96 << 10;

/// A database on a server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) dialect: Dialect,
    options: AnyConnectOptions,
    /// Its URL without the password.
    shown: String,
    /// The most bytes that it takes at once, if it has such a limit: it cuts the connection of whoever sends more,
    /// and with it all that waits there.
    longest_packet: Option<u64>,
}

impl Server {
    /// `None` when the URL is not that of a server.
    pub(super) fn of(url: &str) -> Option<sqlx::Result<Self>> {
        let dialect = match url.split_once(':')?.0 {
            "postgres" | "postgresql" => Dialect::Postgres,
            "mysql" | "mariadb" => Dialect::MySql,
            _ => return None,
        };
        let options = AnyConnectOptions::from_str(url);
        Some(options.map(|options| Self { dialect, options, shown: redact(url), longest_packet: None }))
    }

    /// The first connection, to a server that is new enough.
    pub(super) async fn connect_first(&mut self) -> Result<sqlx::Result<AnyConnection>, OpenError> {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        let dialect = self.dialect;
        let asking = async {
            Ok((version(dialect, &mut connection).await?, longest(dialect, &mut connection).await?))
        };
        let (version, longest) = match in_time(CONNECT_WITHIN, asking).await {
            Ok(answers) => answers,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(needed) = too_old(dialect, &version) {
            return Err(OpenError::TooOld { url: self.shown.clone(), found: version, needed });
        }
        self.longest_packet = longest;
        Ok(Ok(connection))
    }

    /// Whether so many bytes of one value can be sent.
    pub(super) fn takes(&self, bytes: usize) -> Result<(), StoreError> {
        match self.longest_packet {
            Some(longest) if bytes as u64 + BESIDE > longest => Err(StoreError::Refused(format!(
                "{bytes} bytes are more than the database server takes at once: its max_allowed_packet is {longest}"
            ))),
            _ => Ok(()),
        }
    }

    /// A connection for changes.
    pub(super) async fn connect(&self) -> sqlx::Result<AnyConnection> {
        let connecting = async {
            let mut connection = AnyConnection::connect_with(&self.options).await?;
            agree(self.dialect, &mut connection).await?;
            Ok(connection)
        };
        in_time(CONNECT_WITHIN, connecting).await
    }

    /// Connections to read from.
    pub(super) fn readers(&self) -> AnyPool {
        let dialect = self.dialect;
        AnyPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(CONNECT_WITHIN)
            .idle_timeout(IDLE)
            .test_before_acquire(false)
            .after_connect(move |connection, _| Box::pin(agree(dialect, connection)))
            .before_acquire(move |connection, about| {
                let is_trusted = about.idle_for < TRUSTED;
                Box::pin(async move { Ok(is_trusted || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(self.options.clone())
    }
}

/// An answer that does not come in time is a connection that is lost.
pub(super) async fn in_time<T>(
    limit: Duration,
    asking: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {limit:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)))
    })
}

/// What a connection agrees with its server. Each statement sees what was committed before it (`READ COMMITTED`),
/// on which the locks of rows in this store rest.
async fn agree(dialect: Dialect, connection: &mut AnyConnection) -> sqlx::Result<()> {
    let settings = match dialect {
        Dialect::Sqlite => return Ok(()),
        // A commit that an administrator has made weaker for others is durable here, and one that was made
        // stronger stays so.
        Dialect::Postgres => format!(
            "SET client_min_messages = warning; \
             SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
             SET idle_in_transaction_session_timeout = {}; SET lock_timeout = {}; SET statement_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write'); \
             SELECT set_config('application_name', 'beatmesh', false) \
             WHERE current_setting('application_name') = ''",
            STANDS_STILL.as_millis(),
            LOCK.as_millis(),
            STATEMENT.as_millis(),
        ),
        Dialect::MySql => {
            let locks = LOCK.as_secs();
            let mut settings = format!(
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION TRANSACTION READ WRITE; \
                 SET SESSION innodb_lock_wait_timeout = {locks}, lock_wait_timeout = {locks}, \
                 sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"
            );
            settings.push_str(&if is_mariadb(&version(dialect, connection).await?) {
                let (still, statement) = (STANDS_STILL.as_secs(), STATEMENT.as_secs());
                format!(", idle_transaction_timeout = {still}, max_statement_time = {statement}")
            } else {
                format!(", wait_timeout = {}", SILENT.as_secs())
            });
            settings
        }
    };
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(connection).await?;
    Ok(())
}

/// What the server says that it is: `15.6` or `10.11.6-MariaDB-0+deb12u1`.
async fn version(dialect: Dialect, connection: &mut AnyConnection) -> sqlx::Result<String> {
    let query = match dialect {
        Dialect::Sqlite => "SELECT sqlite_version()",
        Dialect::Postgres => "SELECT current_setting('server_version')",
        Dialect::MySql => "SELECT VERSION()",
    };
    sqlx::raw_sql(query).fetch_one(connection).await?.try_get(0)
}

/// The most bytes of one packet, where there is such a limit.
async fn longest(dialect: Dialect, connection: &mut AnyConnection) -> sqlx::Result<Option<u64>> {
    if dialect != Dialect::MySql {
        return Ok(None);
    }
    let query = "SELECT CAST(@@max_allowed_packet AS SIGNED)";
    let longest: i64 = sqlx::raw_sql(query).fetch_one(connection).await?.try_get(0)?;
    Ok(u64::try_from(longest).ok())
}

fn is_mariadb(version: &str) -> bool {
    version.to_ascii_lowercase().contains("mariadb")
}

/// The least version that is needed, if this one is older. `SKIP LOCKED` is what they must know, and PostgreSQL
/// before 12 is not maintained.
fn too_old(dialect: Dialect, version: &str) -> Option<&'static str> {
    let (least, name) = match dialect {
        Dialect::Sqlite => return None,
        Dialect::Postgres => ((12, 0), "PostgreSQL 12"),
        Dialect::MySql if is_mariadb(version) => ((10, 6), "MariaDB 10.6"),
        Dialect::MySql => ((8, 0), "MySQL 8.0"),
    };
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    let found: (u32, u32) = (numbers.next()?, numbers.next().unwrap_or(0));
    (found < least).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_from_files() {
        for (url, dialect) in [
            ("postgres://u:p@h/d", Dialect::Postgres),
            ("postgresql://h/d", Dialect::Postgres),
            ("mysql://h/d", Dialect::MySql),
            ("mariadb://h:3306/d", Dialect::MySql),
        ] {
            let server = Server::of(url).expect("a server").expect("an URL");
            assert_eq!(server.dialect, dialect, "{url}");
            assert!(!server.shown.contains(":p@"), "{}", server.shown);
        }
        assert!(Server::of("sqlite://mesh.db").is_none());
    }

    #[test]
    fn versions_are_told_apart() {
        for (dialect, version) in [
            (Dialect::Postgres, "11.22 (Debian 11.22-1)"),
            (Dialect::Postgres, "9.6.24"),
            (Dialect::MySql, "5.7.44-log"),
            (Dialect::MySql, "10.5.23-MariaDB"),
        ] {
            assert!(too_old(dialect, version).is_some(), "{version}");
        }
        for (dialect, version) in [
            (Dialect::Postgres, "12.0"),
            (Dialect::Postgres, "15.6 (Debian 15.6-0+deb12u1)"),
            (Dialect::Postgres, "18beta1"),
            (Dialect::MySql, "8.0.36"),
            (Dialect::MySql, "9.1.0"),
            (Dialect::MySql, "10.6.16-MariaDB"),
            (Dialect::MySql, "11.4.2-MariaDB-ubu2404"),
            // What names itself in another way gets its chance.
            (Dialect::Postgres, "unknown"),
        ] {
            assert_eq!(too_old(dialect, version), None, "{version}");
        }
    }
}
