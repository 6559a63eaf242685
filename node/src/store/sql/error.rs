//! What a database error means for the caller: nothing changed, or nobody knows.

use crate::queue::StoreError;

/// A read failed: nothing changed.
pub(super) fn reading(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Decode(reason) => StoreError::Refused(format!("a row cannot be read: {reason}")),
        sqlx::Error::ColumnDecode { index, source } => {
            StoreError::Refused(format!("a row cannot be read: column {index}: {source}"))
        }
        other => StoreError::Unavailable(plain(&other)),
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
