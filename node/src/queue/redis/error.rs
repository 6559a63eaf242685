//! What an error of Redis means for the caller: nothing changed, or nobody knows; and for the connection: go on, or
//! find out anew where the server is.
//!
//! A script that the server refuses before its first write has changed nothing: it is not the master, it is still
//! loading, it has no memory left, too few replicas are connected. An answer that never came may have been yes.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::queue::StoreError;

/// An error, and whether the connection that brought it is still good for something.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// The server may be somewhere else now.
    pub(super) look_again: bool,
}

/// What was asked of the server: what happens when its answer does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing can have changed.
    Read,
    /// It may have changed something.
    Write,
}

/// Errors by which a server says that it did nothing, and that another one, or the same later, might.
const ELSEWHERE: [&str; 8] =
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT", "READONLY", "MASTERDOWN", "LOADING"];

/// Errors by which a server says that it did nothing, for reasons that pass.
const LATER: [&str; 4] = ["OOM", "NOREPLICAS", "BUSY", "MISCONF"];

pub(super) fn failure(error: &RedisError, asked: Asked) -> Failure {
    let said = plain(error);
    let unavailable = |look_again| Failure { error: StoreError::Unavailable(said.clone()), look_again };
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let code = error.code().unwrap_or_default();
            // An error within a script carries the code of the command that failed, somewhere in its text.
            let is = |codes: &[&str]| {
                codes.iter().any(|known| code == *known || said.contains(&format!("-{known} ")))
            };
            if is(&ELSEWHERE) {
                unavailable(true)
            } else if is(&LATER) {
                unavailable(false)
            } else if asked == Asked::Write
                && error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
            {
                // A script may have failed in the middle, and Redis takes nothing back.
                Failure { error: StoreError::Unknown(said), look_again: false }
            } else {
                Failure { error: StoreError::Refused(said), look_again: false }
            }
        }
        ErrorKind::AuthenticationFailed => unavailable(true),
        _ if asked == Asked::Read => unavailable(true),
        // The connection broke, or the time was up, with the question on its way.
        _ => Failure { error: StoreError::Unknown(said), look_again: true },
    }
}

/// An answer of another shape than the script's.
pub(super) fn odd(what: &str) -> StoreError {
    StoreError::Refused(format!("its answer to `{what}` cannot be read: is it a Redis server?"))
}

/// The server's own words, without the wrapping of the library. They never hold a password.
pub(super) fn plain(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.is_timeout() => "it did not answer in time".to_owned(),
        _ => error.to_string(),
    }
}
