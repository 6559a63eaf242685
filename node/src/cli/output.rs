//! stdout: results only, as text for people or as JSON for scripts. A reader that has gone ends the
//! command quietly instead of with a panic.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;

/// Where results go.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Shows `value` as JSON, or what `text` makes of it.
    pub(super) fn show(&self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.json { self.value(value) } else { self.line(&text(value)) }
    }

    /// Writes JSON, readable for people too.
    pub(super) fn value(&self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    /// Writes a text and ends the line.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.bytes(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
    }

    /// Writes a function's answer as it is; on a terminal the next prompt gets a line of its own.
    pub(super) fn answer(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes(bytes)?;
        if io::stdout().is_terminal() && !bytes.is_empty() && !bytes.ends_with(b"\n") {
            self.bytes(b"\n")?;
        }
        Ok(())
    }

    fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::failed(format!("the result cannot be written: {error}")),
        })
    }
}

/// A field for a table or a sentence; `-` when it is missing.
pub(super) fn text_of(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let words: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            words.join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// The elements of a list in an answer; none when it is missing.
pub(super) fn list_of<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
