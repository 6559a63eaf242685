//! What a function is: how it is run, how long it may take, what happens when it fails.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name::QueueName;
use crate::queue::order::MOST_AT_ONCE;
use crate::units::{Span, serde_as_text};

/// A function's definition, as written in a manifest or sent to the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// What runs it.
    pub runtime: RuntimeKind,
    /// `process`: the program and its arguments, never interpreted by a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// `process`: variables set for the program, besides `PATH`, `HOME`, `LANG` and `BEATMESH_*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// `process`: the directory it starts in; the node's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// `builtin`: which one, `noop` or `echo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The longest one execution may take; then its processes are killed.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How many executions one node runs at the same time; the node's slots are the limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many of its tasks run at the same time in the whole mesh; no limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How many of its tasks with the same order key run at once; beyond 1 only their starts are in order.
    // Left out when it is usual, so that nodes of an earlier version read the definition.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub per_order_key: u32,
    /// What a task does after a failed attempt. Synchronous calls are never repeated after a failure.
    #[serde(default)]
    pub retries: Retries,
    /// The queue of its tasks when the caller names none.
    #[serde(default)]
    pub queue: QueueName,
}

/// What runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// One process per execution: input on stdin, output from stdout.
    Process,
    /// Inside the node: for trying and for measuring.
    Builtin,
}

/// Built into the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Answers nothing.
    Noop,
    /// Answers its input.
    Echo,
}

/// Attempts after the first, and the pause before each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// How often a failed task is tried again; 0 is the default, so that nothing runs twice unasked.
    pub max: u32,
    /// From the first pause to the longest one; each doubles the one before.
    #[serde(default)]
    pub backoff: Backoff,
}

/// `"1s..10m"`: the first pause and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Span,
    /// Never longer than this.
    pub longest: Span,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Span(Duration::from_secs(1)), longest: Span(Duration::from_secs(600)) }
    }
}

impl Backoff {
    /// The pause after `attempt` attempts (1 is the first), with `dice` in 0..=1 taking up to a fifth
    /// away, so that tasks which failed together do not come back together.
    #[must_use]
    pub fn pause(&self, attempt: u32, dice: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let full = self.first.0.saturating_mul(1 << doublings).min(self.longest.0);
        full.mul_f64(1.0 - 0.2 * dice.clamp(0.0, 1.0))
    }
}

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, longest) = text.split_once("..").ok_or_else(|| {
            format!(
                "`{text}` is not a back-off; write the first and the longest pause, for example \"1s..10m\""
            )
        })?;
        let first: Span = first.parse().map_err(|e| format!("{e}"))?;
        let longest: Span = longest.parse().map_err(|e| format!("{e}"))?;
        if first > longest {
            return Err(format!("`{text}`: the first pause is longer than the longest"));
        }
        Ok(Self { first, longest })
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.longest)
    }
}

serde_as_text!(Backoff);

fn default_timeout() -> Span {
    Span(Duration::from_secs(30))
}

/// Why a definition cannot work. Each names the field and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// A process without a program.
    #[error(
        "`command` is missing: runtime \"process\" needs a program and its arguments, for example [\"/usr/bin/env\", \"cat\"]"
    )]
    NoCommand,
    /// An argument that no operating system accepts.
    #[error("`command` holds a NUL byte, which no program can receive")]
    NulInCommand,
    /// A variable name that no operating system accepts, or one that the node sets itself.
    #[error("`env.{0}` cannot be set: names are without `=` and NUL, and BEATMESH_* belongs to the node")]
    BadVariable(String),
    /// A builtin that does not exist.
    #[error("`handler` = {0}: runtime \"builtin\" has \"noop\" and \"echo\"")]
    NoSuchBuiltin(String),
    /// A field that belongs to another runtime.
    #[error("`{field}` does not belong to runtime \"{runtime}\"")]
    FieldOfOtherRuntime {
        /// The field at fault.
        field: &'static str,
        /// The runtime chosen.
        runtime: &'static str,
    },
    /// A span or count of zero where one is needed.
    #[error("`{0}` must be greater than zero")]
    Zero(&'static str),
    /// More than anybody means.
    #[error("`{field}` is {value}; the most is {most}")]
    TooMuch {
        /// The field at fault.
        field: &'static str,
        /// What was written.
        value: String,
        /// The limit.
        most: String,
    },
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

/// One day: a function that runs longer is a service.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);

impl Function {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first [`FunctionError`] found.
    pub fn validate(&self) -> Result<(), FunctionError> {
        match self.runtime {
            RuntimeKind::Process => self.validate_process()?,
            RuntimeKind::Builtin => {
                self.builtin()?;
                for (field, used) in [
                    ("command", !self.command.is_empty()),
                    ("env", !self.env.is_empty()),
                    ("dir", self.dir.is_some()),
                ] {
                    if used {
                        return Err(FunctionError::FieldOfOtherRuntime { field, runtime: "builtin" });
                    }
                }
            }
        }
        if self.timeout.0.is_zero() {
            return Err(FunctionError::Zero("timeout"));
        }
        if self.timeout.0 > LONGEST_TIMEOUT {
            return Err(FunctionError::TooMuch {
                field: "timeout",
                value: self.timeout.to_string(),
                most: "24h".into(),
            });
        }
        if self.concurrency == Some(0) {
            return Err(FunctionError::Zero("concurrency"));
        }
        if self.limit == Some(0) {
            return Err(FunctionError::Zero("limit"));
        }
        if self.per_order_key == 0 {
            return Err(FunctionError::Zero("per_order_key"));
        }
        if self.per_order_key > MOST_AT_ONCE {
            return Err(FunctionError::TooMuch {
                field: "per_order_key",
                value: self.per_order_key.to_string(),
                most: MOST_AT_ONCE.to_string(),
            });
        }
        if self.retries.max > 1_000 {
            return Err(FunctionError::TooMuch {
                field: "retries.max",
                value: self.retries.max.to_string(),
                most: "1000".into(),
            });
        }
        Ok(())
    }

    fn validate_process(&self) -> Result<(), FunctionError> {
        if self.handler.is_some() {
            return Err(FunctionError::FieldOfOtherRuntime { field: "handler", runtime: "process" });
        }
        if self.command.first().is_none_or(String::is_empty) {
            return Err(FunctionError::NoCommand);
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            return Err(FunctionError::NulInCommand);
        }
        let bad = |name: &str, value: &str| {
            name.is_empty()
                || name.contains(['=', '\0'])
                || value.contains('\0')
                || name.starts_with("BEATMESH_")
        };
        match self.env.iter().find(|(name, value)| bad(name, value)) {
            Some((name, _)) => Err(FunctionError::BadVariable(name.clone())),
            None => Ok(()),
        }
    }

    /// Which builtin a `builtin` function is.
    ///
    /// # Errors
    /// [`FunctionError::NoSuchBuiltin`] for another name or none.
    pub fn builtin(&self) -> Result<Builtin, FunctionError> {
        match self.handler.as_deref() {
            Some("noop") => Ok(Builtin::Noop),
            Some("echo") => Ok(Builtin::Echo),
            other => Err(FunctionError::NoSuchBuiltin(
                other.map_or("missing".to_owned(), |name| format!("\"{name}\"")),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Function, String> {
        let function: Function = toml::from_str(text).map_err(|e| e.to_string())?;
        function.validate().map_err(|e| e.to_string())?;
        Ok(function)
    }

    #[test]
    fn a_process_needs_only_its_command() {
        let function = parse("runtime = \"process\"\ncommand = [\"cat\"]").unwrap();
        assert_eq!(function.timeout.to_string(), "30s");
        assert_eq!(function.retries.max, 0);
        assert_eq!(function.queue.as_str(), "default");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_field() {
        for (text, part) in [
            ("runtime = \"process\"", "`command`"),
            ("runtime = \"process\"\ncommand = [\"\"]", "`command`"),
            ("runtime = \"process\"\ncommand = [\"a\\u0000\"]", "NUL"),
            ("runtime = \"builtin\"", "`handler`"),
            ("runtime = \"builtin\"\nhandler = \"nop\"", "\"nop\""),
            ("runtime = \"builtin\"\nhandler = \"noop\"\ncommand = [\"a\"]", "`command`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\ntimeout = \"0s\"", "`timeout`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\ntimeout = \"30\"", "`30`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\ntimeuot = \"30s\"", "timeuot"),
            ("runtime = \"process\"\ncommand = [\"a\"]\nconcurrency = 0", "`concurrency`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\nlimit = 0", "`limit`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\nper_order_key = 0", "`per_order_key`"),
            ("runtime = \"process\"\ncommand = [\"a\"]\nper_order_key = 1001", "the most is 1000"),
            (
                "runtime = \"process\"\ncommand = [\"a\"]\nretries = { max = 1, backoff = \"9s..1s\" }",
                "longer",
            ),
            ("runtime = \"process\"\ncommand = [\"a\"]\nenv = { \"BEATMESH_X\" = \"1\" }", "BEATMESH_X"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff: Backoff = "1s..10s".parse().unwrap();
        let pauses: Vec<_> = (1..=6).map(|attempt| backoff.pause(attempt, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.pause(1, 1.0), Duration::from_millis(800));
        assert_eq!(backoff.pause(u32::MAX, 0.0), Duration::from_secs(10));
    }
}
