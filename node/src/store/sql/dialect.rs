//! What differs between the databases: the few words that the statements of this store cannot share.
//!
//! SQLite lets one writer in at a time, for the whole file. The servers let many in at once, so whoever decides
//! from what it reads locks those rows first: [`Dialect::for_update`] where it must wait for them,
//! [`Dialect::skip_locked`] where others' rows are others' work. On SQLite both are empty.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use super::server;

/// Which language a database speaks. MariaDB speaks MySQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

/// A server that says nothing for so long hangs. More than what it is told to take for a statement at most
/// (`server::STATEMENT`), so that it is the one who gives up first, and says why.
const LONGEST_STEP: Duration = Duration::from_secs(6);

impl Dialect {
    /// A query in this language, of a statement with `?` for each value.
    pub(super) fn query<'q>(self, statement: impl Into<Cow<'static, str>>) -> Query<'q, Any, AnyArguments> {
        // The texts are ours, made of constants and marks; values are bound.
        sqlx::query(AssertSqlSafe(self.sql(statement.into())))
    }

    /// PostgreSQL counts its values. Making a new text costs far less than the way to the server.
    fn sql(self, statement: Cow<'static, str>) -> Cow<'static, str> {
        match self {
            Self::Sqlite | Self::MySql => statement,
            Self::Postgres => Cow::Owned(numbered(&statement)),
        }
    }

    /// The store's clock in milliseconds since 1970. SQLite's is the machine's own. The servers' is that of the
    /// statement, not of its transaction, and no time zone has a say in it.
    pub(super) fn clock(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
            Self::MySql => {
                "CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 AS SIGNED)"
            }
        }
    }

    /// What a number is cast to that has become a decimal one, as sums do on servers.
    pub(super) fn integer(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => "BIGINT",
            Self::MySql => "SIGNED",
        }
    }

    /// Begins a change. On SQLite nobody else writes until its end.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
            Self::MySql => "START TRANSACTION",
        }
    }

    /// The end of a SELECT whose rows nobody else may change before this transaction ends.
    pub(super) fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql => "FOR UPDATE",
        }
    }

    /// The end of a SELECT that takes rows which nobody else has in hand, and locks them.
    pub(super) fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres | Self::MySql => "FOR UPDATE SKIP LOCKED",
        }
    }

    /// A table whose rows are locked in the order of this index. MySQL locks every row that it looks at, also those
    /// that it sorts and then leaves out, and its choice of an index depends on what it believes to be in the table.
    pub(super) fn by_index(self, table: &str, index: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => table.to_owned(),
            Self::MySql => format!("{table} FORCE INDEX ({index})"),
        }
    }

    /// The end of an INSERT that leaves a row alone which has this key already.
    pub(super) fn or_leave(self, key: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("ON CONFLICT ({key}) DO NOTHING"),
            // Not INSERT IGNORE, which ignores all other mistakes as well.
            Self::MySql => format!("ON DUPLICATE KEY UPDATE {key} = {key}"),
        }
    }

    /// The same, and from here on nobody else may change or remove that row before this transaction ends.
    pub(super) fn or_lock(self, key: &str) -> String {
        match self {
            // PostgreSQL does not lock what it leaves alone, so it is told to write what stands there.
            Self::Postgres => format!("ON CONFLICT ({key}) DO UPDATE SET {key} = EXCLUDED.{key}"),
            Self::Sqlite | Self::MySql => self.or_leave(key),
        }
    }

    /// Whether a text is this one to the last blank, which MySQL leaves out when it compares.
    pub(super) fn is_exactly(self, column: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("{column} = ?"),
            Self::MySql => format!("CAST({column} AS BINARY) = CAST(? AS BINARY)"),
        }
    }

    /// A text as this database takes it: PostgreSQL has no NUL in texts. Only what programs print may hold one.
    pub(super) fn text(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Postgres if text.contains('\0') => Cow::Owned(text.replace('\0', "")),
            _ => Cow::Borrowed(text),
        }
    }

    /// One step of a change, with an end: a server can hang. A file's disk answers or hangs for everybody, and there
    /// is nobody else to ask.
    pub(super) async fn step<T>(self, step: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        match self {
            Self::Sqlite => step.await,
            Self::Postgres | Self::MySql => server::in_time(LONGEST_STEP, step).await,
        }
    }

    /// Steps that bring the tables to the next version each. What has been released never changes.
    pub(super) fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[
                include_str!("../../../migrations/sqlite/0001_first.sql"),
                include_str!("../../../migrations/sqlite/0002_function_name.sql"),
                include_str!("../../../migrations/sqlite/0003_queues.sql"),
                include_str!("../../../migrations/sqlite/0004_paused_until.sql"),
                include_str!("../../../migrations/sqlite/0005_order_keys.sql"),
            ],
            Self::Postgres => &[
                include_str!("../../../migrations/postgres/0001_first.sql"),
                include_str!("../../../migrations/postgres/0002_queues.sql"),
                include_str!("../../../migrations/postgres/0003_paused_until.sql"),
                include_str!("../../../migrations/postgres/0004_order_keys.sql"),
            ],
            Self::MySql => &[
                include_str!("../../../migrations/mysql/0001_first.sql"),
                include_str!("../../../migrations/mysql/0002_queues.sql"),
                include_str!("../../../migrations/mysql/0003_paused_until.sql"),
                include_str!("../../../migrations/mysql/0004_order_keys.sql"),
            ],
        }
    }

    /// Makes the table of names and values that says which version the other tables have.
    pub(super) fn make_beatmesh(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "CREATE TABLE IF NOT EXISTS beatmesh (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)"
            }
            Self::Postgres => {
                "CREATE TABLE IF NOT EXISTS beatmesh (name TEXT COLLATE \"C\" NOT NULL PRIMARY KEY, value TEXT NOT NULL)"
            }
            Self::MySql => {
                "CREATE TABLE IF NOT EXISTS beatmesh (name VARCHAR(64) NOT NULL PRIMARY KEY, value VARCHAR(255) NOT NULL) \
                 ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
            }
        }
    }
}

/// `?` becomes `$1`, `$2` and so on. No text of ours has a question mark within quotes.
fn numbered(statement: &str) -> String {
    let mut numbered = String::with_capacity(statement.len() + 32);
    for (place, part) in statement.split('?').enumerate() {
        if place > 0 {
            numbered.push('$');
            numbered.push_str(&place.to_string());
        }
        numbered.push_str(part);
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_for_postgresql_and_only_there() {
        let statement = "SELECT a FROM t WHERE a = ? AND b IN (?, ?) LIMIT ?";
        assert_eq!(Dialect::Sqlite.sql(statement.into()), statement);
        assert_eq!(Dialect::MySql.sql(statement.into()), statement);
        let counted = "SELECT a FROM t WHERE a = $1 AND b IN ($2, $3) LIMIT $4";
        assert_eq!(Dialect::Postgres.sql(statement.into()), counted);
        assert_eq!(Dialect::Postgres.sql("COMMIT".into()), "COMMIT");
    }

    #[test]
    fn a_nul_is_left_out_where_it_cannot_be_stored() {
        assert_eq!(Dialect::Postgres.text("a\0b"), "ab");
        assert_eq!(Dialect::Sqlite.text("a\0b"), "a\0b");
        assert!(matches!(Dialect::Postgres.text("ab"), Cow::Borrowed("ab")));
    }
}
