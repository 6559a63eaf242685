//! What a database error means for the caller: nothing changed, or nobody knows.
//!
//! Errors are told apart by their codes, never by their words. SQLite's codes for now.

use crate::queue::StoreError;

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
        sqlx::Error::Database(_) if !may_pass(code(&error)) => StoreError::Refused(plain(&error)),
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
    matches!(code(error), Some(sqlite::BUSY | sqlite::LOCKED | sqlite::PROTOCOL))
}

/// Whether the same statement may succeed later, although nobody changes it: locks are released, disks
/// get room, file systems come back. A statement that breaks a constraint, or that names a table which
/// is not there, fails every time.
fn may_pass(code: Option<i64>) -> bool {
    !matches!(
        code,
        Some(
            sqlite::ERROR
                | sqlite::CORRUPT
                | sqlite::TOO_BIG
                | sqlite::CONSTRAINT
                | sqlite::MISMATCH
                | sqlite::RANGE
                | sqlite::NOT_A_DATABASE
        )
    )
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

/// The primary code: an extended one carries it in its lowest byte.
fn code(error: &sqlx::Error) -> Option<i64> {
    let code: i64 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// The database's own words, without the wrapping of the library.
pub(super) fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
        sqlx::Error::PoolClosed => "it is closed".to_owned(),
        sqlx::Error::WorkerCrashed => "its thread is gone".to_owned(),
        other => other.to_string(),
    }
}

/// [`plain`] for somebody who has just tried to start a node, with what to look at.
pub(super) fn with_advice(error: &sqlx::Error) -> String {
    let said = plain(error);
    match code(error) {
        Some(sqlite::CANNOT_OPEN) => {
            format!("{said}; is its directory there, and may this user write into it?")
        }
        Some(sqlite::READ_ONLY) => {
            format!("{said}; may this user write to the file and into its directory?")
        }
        Some(sqlite::NOT_A_DATABASE) => format!("{said}; the file holds something else"),
        _ => said,
    }
}
