//! Why a command did not do what it was asked, and the exit code that says so: 1 the operation
//! failed, 2 wrong usage or configuration.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::ConfigError;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// Something that the user typed or configured; nothing was done. One line per mistake.
    Usage(Vec<String>),
    /// The operation failed.
    Failed(String),
    /// A node answered with a problem object; `context` says what was asked of it.
    Problem {
        /// For example `call of hello`.
        context: String,
        /// The object as it came.
        problem: Value,
    },
    /// The reader of stdout has gone, as in `beatmesh members | head -1`. Nobody misses the rest.
    NobodyReads,
}

impl Failure {
    /// A usage error of one line.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(vec![message.into()])
    }

    /// A failed operation.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Says on stderr what is wrong, and gives the exit code.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let text = if json {
            self.as_problem().map(|problem| problem.to_string())
        } else {
            self.lines().map(|lines| lines.join("\n"))
        };
        if let Some(text) = text {
            use std::io::Write;
            // With stderr gone there is nobody left to tell; the exit code still does.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Problem { .. } => ExitCode::from(1),
            Self::NobodyReads => ExitCode::SUCCESS,
        }
    }

    /// The message in one text, for commands that go on in spite of it.
    pub(super) fn text(&self) -> String {
        self.lines().unwrap_or_default().join("\n").trim_start_matches("error: ").to_owned()
    }

    fn lines(&self) -> Option<Vec<String>> {
        match self {
            Self::Usage(lines) => Some(lines.iter().map(|line| format!("error: {line}")).collect()),
            Self::Failed(message) => Some(vec![format!("error: {message}")]),
            Self::Problem { context, problem } => Some(explain(context, problem)),
            Self::NobodyReads => None,
        }
    }

    fn as_problem(&self) -> Option<Value> {
        match self {
            Self::Usage(lines) => Some(
                json!({"type": "usage", "title": "wrong usage or configuration", "detail": lines.join("\n")}),
            ),
            Self::Failed(message) => {
                Some(json!({"type": "failed", "title": "the operation failed", "detail": message}))
            }
            Self::Problem { problem, .. } => Some(problem.clone()),
            Self::NobodyReads => None,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.problems.iter().map(ToString::to_string).collect())
    }
}

/// One line, and the end of the function's stderr when the problem holds one.
fn explain(context: &str, problem: &Value) -> Vec<String> {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut line = format!("error: {context}: ");
    match (text("detail"), text("title")) {
        (Some(detail), _) => line.push_str(detail),
        (None, Some(title)) => line.push_str(title),
        (None, None) => line.push_str(&problem.to_string()),
    }
    if text("outcome") == Some("unknown") {
        line.push_str(" (it may or may not have been done)");
    }
    if problem.get("status").and_then(Value::as_u64) == Some(401) {
        line.push_str("; show a key with --api-key-file or BEATMESH_API_KEY");
    }
    let mut lines = vec![line];
    if let Some(tail) = text("stderr_tail") {
        lines.extend(tail.trim_end().lines().map(|line| format!("  | {line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_one_line_and_the_stderr_of_the_function() {
        let problem = json!({
            "type": "function_failed", "title": "the function failed", "status": 500,
            "detail": "it exited with code 3", "exit": 3, "stderr_tail": "one\ntwo\n",
        });
        let failure = Failure::Problem { context: "call of hello".into(), problem };
        insta::assert_snapshot!(failure.lines().unwrap().join("\n"), @r"
        error: call of hello: it exited with code 3
          | one
          | two
        ");
        let hint = |status: u16| explain("members", &json!({"status": status, "title": "no"}))[0].clone();
        assert!(hint(401).contains("--api-key-file"));
        // The node has no keys: showing one would not help.
        assert!(!hint(403).contains("--api-key-file"));
        let unknown = json!({"title": "The store did not answer", "outcome": "unknown"});
        let failure = Failure::Problem { context: "task".into(), problem: unknown };
        insta::assert_snapshot!(failure.lines().unwrap().join("\n"), @r"error: task: The store did not answer (it may or may not have been done)");
    }
}
