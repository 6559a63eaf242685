//! What a database error means for the caller: nothing changed, or nobody knows.
//!
//! Errors are told apart by their codes, never by their words: SQLite's own, the five characters of SQLSTATE that
//! the servers share, and MySQL's numbers where it has no SQLSTATE of its own.

use std::borrow::Cow;
use std::io;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::queue::StoreError;

/// Why the database cannot be used. Passwords never appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Nobody answers there, or not yet: it may help to wait.
    #[error("the database {url} does not answer: {reason}")]
    Unreachable {
        /// Without its password.
        url: String,
        /// What is in the way.
        reason: String,
    },
    /// Not a database, or not one that this node may use.
    #[error("the database {url} cannot be opened: {reason}")]
    Open {
        /// Without its password.
        url: String,
        /// What the database says.
        reason: String,
    },
    /// A server of a version that does not know what this program asks for.
    #[error("the database {url} is of version {found}: {needed} is the oldest that this program works with")]
    TooOld {
        /// Without its password.
        url: String,
        /// What the server calls itself.
        found: String,
        /// Name and version.
        needed: &'static str,
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

/// A read failed: nothing changed.
pub(super) fn reading(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Decode(reason) => StoreError::Refused(format!("a row cannot be read: {reason}")),
        sqlx::Error::ColumnDecode { index, source } => {
            StoreError::Refused(format!("a row cannot be read: column {index}: {source}"))
        }
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::AnyDriverError(_) => StoreError::Refused(plain(&error)),
        sqlx::Error::Database(_) if code(&error).is_some_and(|code| !code.may_pass()) => {
            StoreError::Refused(plain(&error))
        }
        _ => StoreError::Unavailable(plain(&error)),
    }
}

/// A change failed before its commit: the transaction is rolled back, so nothing changed.
pub(super) fn before_commit(error: sqlx::Error) -> StoreError {
    reading(error)
}

/// The commit itself failed: it may have happened.
pub(super) fn at_commit(error: &sqlx::Error) -> StoreError {
    StoreError::Unknown(plain(error))
}

/// Another connection holds a lock; waiting helps.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(Code::Sqlite(code)) => matches!(code, sqlite::BUSY | sqlite::LOCKED | sqlite::PROTOCOL),
        Some(Code::Server { state, number }) => {
            state == state::LOCK_NOT_AVAILABLE
                || number == Some(mysql::LOCK_WAIT_TIMEOUT)
                || is_deadlock(error)
        }
        None => false,
    }
}

/// The server has ended this transaction in favour of another one: nothing of it has happened, and the same again
/// has every chance.
pub(super) fn is_deadlock(error: &sqlx::Error) -> bool {
    match code(error) {
        // MySQL's number for a deadlock has the SQLSTATE of a serialization failure.
        Some(Code::Server { state, .. }) => {
            state == state::DEADLOCK_DETECTED || state == state::SERIALIZATION_FAILURE
        }
        _ => false,
    }
}

/// Nobody answers, or somebody who cannot take us now: it concerns the connection, not what was asked.
pub(super) fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        // A certificate that is not accepted comes as invalid data, a socket of others as a lack of rights.
        sqlx::Error::Io(io) => {
            !matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied)
        }
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(_) => match code(error) {
            Some(Code::Server { state, number }) => {
                // Connection exceptions; a server that starts, stops, or has ended this connection; too many.
                state.starts_with("08")
                    || state.starts_with("57P")
                    || state == state::TOO_MANY_CONNECTIONS
                    || state == state::IDLE_IN_TRANSACTION
                    || matches!(
                        number,
                        Some(
                            mysql::TOO_MANY_CONNECTIONS
                                | mysql::SHUTDOWN
                                | mysql::KILLED
                                | mysql::SILENT_FOR_TOO_LONG
                        )
                    )
            }
            _ => false,
        },
        _ => false,
    }
}

/// The connection has ended, and a new one may well not.
pub(super) fn is_cut_off(error: &sqlx::Error) -> bool {
    let is_late = matches!(error, sqlx::Error::Io(io) if io.kind() == io::ErrorKind::TimedOut);
    is_unreachable(error) && !is_late
}

/// What the database calls the error.
enum Code<'e> {
    /// The primary code: an extended one carries it in its lowest byte.
    Sqlite(i64),
    Server {
        state: Cow<'e, str>,
        number: Option<u16>,
    },
}

fn code(error: &sqlx::Error) -> Option<Code<'_>> {
    let error = error.as_database_error()?;
    if error.try_downcast_ref::<SqliteError>().is_some() {
        let code: i64 = error.code()?.parse().ok()?;
        return Some(Code::Sqlite(code & 0xff));
    }
    let number = error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    Some(Code::Server { state: error.code().unwrap_or_default(), number })
}

impl Code<'_> {
    /// Whether the same statement may succeed later, although nobody changes it: locks are released, disks
    /// get room, file systems and servers come back. A statement that breaks a constraint, or that names a table
    /// which is not there, fails every time.
    fn may_pass(&self) -> bool {
        match self {
            Self::Sqlite(code) => !matches!(
                *code,
                sqlite::ERROR
                    | sqlite::CORRUPT
                    | sqlite::TOO_BIG
                    | sqlite::CONSTRAINT
                    | sqlite::MISMATCH
                    | sqlite::RANGE
                    | sqlite::NOT_A_DATABASE
            ),
            Self::Server { number: Some(mysql::PACKET_TOO_LARGE), .. } => false,
            // Cardinality, data, constraints, syntax and names. What this user may not do can be granted.
            Self::Server { state, .. } => {
                let class = state.get(..2).unwrap_or_default();
                !matches!(class, "21" | "22" | "23" | "42" | "0A") || *state == state::INSUFFICIENT_PRIVILEGE
            }
        }
    }
}

/// SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
mod state {
    pub(super) const INVALID_AUTHORIZATION: &str = "28000";
    pub(super) const INVALID_PASSWORD: &str = "28P01";
    pub(super) const NO_SUCH_DATABASE: &str = "3D000";
    pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
    pub(super) const DEADLOCK_DETECTED: &str = "40P01";
    pub(super) const SERIALIZATION_FAILURE: &str = "40001";
    pub(super) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(super) const IDLE_IN_TRANSACTION: &str = "25P03";
}

/// MySQL's numbers, <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>.
mod mysql {
    pub(super) const TOO_MANY_CONNECTIONS: u16 = 1040;
    pub(super) const NO_ACCESS_TO_DATABASE: u16 = 1044;
    pub(super) const NO_ACCESS: u16 = 1045;
    pub(super) const NO_SUCH_DATABASE: u16 = 1049;
    pub(super) const SHUTDOWN: u16 = 1053;
    pub(super) const NO_ACCESS_TO_TABLE: u16 = 1142;
    pub(super) const PACKET_TOO_LARGE: u16 = 1153;
    pub(super) const LOCK_WAIT_TIMEOUT: u16 = 1205;
    pub(super) const NO_PASSWORD: u16 = 1698;
    pub(super) const KILLED: u16 = 1927;
    pub(super) const SILENT_FOR_TOO_LONG: u16 = 4031;
}

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
mod sqlite {
    pub(super) const ERROR: i64 = 1;
    pub(super) const BUSY: i64 = 5;
    pub(super) const LOCKED: i64 = 6;
    pub(super) const READ_ONLY: i64 = 8;
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const CANNOT_OPEN: i64 = 14;
    pub(super) const PROTOCOL: i64 = 15;
    pub(super) const TOO_BIG: i64 = 18;
    pub(super) const CONSTRAINT: i64 = 19;
    pub(super) const MISMATCH: i64 = 20;
    pub(super) const RANGE: i64 = 25;
    pub(super) const NOT_A_DATABASE: i64 = 26;
}

/// The database's own words, without the wrapping of the library.
pub(super) fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Io(io) => io.to_string(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
        sqlx::Error::PoolClosed => "it is closed".to_owned(),
        sqlx::Error::WorkerCrashed => "its thread is gone".to_owned(),
        other => other.to_string(),
    }
}

/// [`plain`] for somebody who has just tried to start a node, with what to look at.
pub(super) fn with_advice(error: &sqlx::Error) -> String {
    let said = plain(error);
    match advice(error) {
        Some(advice) => format!("{said}; {advice}"),
        None => said,
    }
}

fn advice(error: &sqlx::Error) -> Option<&'static str> {
    Some(match code(error)? {
        Code::Sqlite(sqlite::CANNOT_OPEN) => "is its directory there, and may this user write into it?",
        Code::Sqlite(sqlite::READ_ONLY) => "may this user write to the file and into its directory?",
        Code::Sqlite(sqlite::NOT_A_DATABASE) => "the file holds something else",
        Code::Sqlite(_) => return None,
        Code::Server { number: Some(mysql::NO_ACCESS | mysql::NO_PASSWORD), .. } => WRONG_PASSWORD,
        Code::Server { number: Some(mysql::NO_SUCH_DATABASE), .. } => NO_SUCH_DATABASE,
        Code::Server { number: Some(mysql::NO_ACCESS_TO_DATABASE | mysql::NO_ACCESS_TO_TABLE), .. } => {
            NO_RIGHT
        }
        Code::Server { number: Some(_), .. } => return None,
        Code::Server { state, .. } => match &*state {
            state::INVALID_PASSWORD | state::INVALID_AUTHORIZATION => WRONG_PASSWORD,
            state::NO_SUCH_DATABASE => NO_SUCH_DATABASE,
            state::INSUFFICIENT_PRIVILEGE => NO_RIGHT,
            _ => return None,
        },
    })
}

const WRONG_PASSWORD: &str =
    "are the user and the password of the URL right, and may this user come from here?";
const NO_SUCH_DATABASE: &str = "make it first (CREATE DATABASE); beatmesh makes its tables, not the database";
const NO_RIGHT: &str = "this user needs the right to make tables there and to use them";
