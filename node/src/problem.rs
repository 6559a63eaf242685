//! Problem objects (RFC 9457): what every error of the API looks like, and what travels between nodes
//! and is kept with failed tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::queue::StoreError;
use crate::worker::runtime::Failure;

/// An error as clients read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable and short; scripts compare it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Further members, by kind of problem.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem of this status and kind.
    #[must_use]
    pub fn new(status: u16, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// With a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// There is no function of this name.
    #[must_use]
    pub fn no_function(name: impl std::fmt::Display) -> Self {
        Self::new(
            404,
            "function_not_found",
            "no such function",
            format!("there is no function named `{name}`"),
        )
    }

    /// A worker accepted the call, then its answer was lost.
    #[must_use]
    pub fn answer_lost(node: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        let detail = format!(
            "node {node} had accepted the call when it was lost ({reason}); the function may or may not have run"
        );
        Self::new(502, "answer_lost", "the worker's answer was lost", detail).with("outcome", "unknown")
    }

    /// All workers are busy or gone.
    #[must_use]
    pub fn no_worker(detail: impl Into<String>) -> Self {
        Self::new(503, "no_worker", "no worker could take the call", detail).with("retry_after_s", 1)
    }

    /// A request that cannot be read.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", "the request cannot be read", detail)
    }

    /// A definition that cannot work.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, "invalid_definition", "the definition cannot work", detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Unavailable(_) => {
                Self::new(503, "store_unavailable", "the store cannot be used now", detail)
                    .with("retry_after_s", 1)
            }
            StoreError::Unknown(_) => {
                Self::new(503, "outcome_unknown", "the store did not say whether it was done", detail)
                    .with("outcome", "unknown")
                    .with("retry_after_s", 1)
            }
            StoreError::Refused(_) => Self::new(500, "store_refused", "the store refused", detail),
        }
    }
}

impl Problem {
    /// Why a function did not answer, with the end of what it wrote to stderr.
    #[must_use]
    pub fn of_failure(function: impl std::fmt::Display, failure: &Failure, stderr_tail: &str) -> Self {
        let detail = format!("function `{function}`: {failure}");
        let problem = match failure {
            Failure::TimedOut(after) => {
                Self::new(504, "function_timeout", "the function ran too long", detail)
                    .with("timeout_ms", u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
            Failure::NotStarted(_) => {
                Self::new(500, "function_not_started", "the function could not be started", detail)
            }
            Failure::OutputTooLarge(limit) => {
                Self::new(500, "output_too_large", "the function's output is too large", detail)
                    .with("limit", *limit)
            }
            Failure::Exit(code) => {
                Self::new(500, "function_failed", "the function failed", detail).with("exit", *code)
            }
            Failure::Signal(signal) => {
                Self::new(500, "function_failed", "the function failed", detail).with("signal", *signal)
            }
            Failure::Lost(_) => Self::new(500, "function_failed", "the function failed", detail),
        };
        if stderr_tail.is_empty() { problem } else { problem.with("stderr_tail", stderr_tail) }
    }
}
