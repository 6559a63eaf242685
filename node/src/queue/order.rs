//! Order keys: tasks of one function with the same key form a line, and start in the order in which they joined it.
//!
//! A task joins its line when it may run: at once, or when its delay has passed. It leaves it when nothing more happens
//! to it by itself, so a task that waits for a retry keeps its place, and so does one whose lease was lost. The first
//! of those that wait is let in when of the tasks before it fewer than its [`Order::at_once`] are left, and all of these
//! have begun. Every store keeps a task's place as one number: greater than zero while it waits, [`LET_IN`] when it may
//! be claimed, [`BEGUN`] from its first claim on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::catalogue::name::FunctionName;
use crate::units::serde_as_text;

/// The place of a task that may be claimed and was not yet.
pub const LET_IN: i64 = 0;

/// The place of a task that was claimed since it joined its line.
pub const BEGUN: i64 = -1;

/// Enough for any id, URL or path that one would order by, and short enough for an index; in bytes.
pub const LONGEST_KEY: usize = 256;

/// The most that `per_order_key` may say: who needs more at once needs no order.
pub const MOST_AT_ONCE: u32 = 1_000;

/// By what tasks are kept in order: any text of 1 to [`LONGEST_KEY`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(Arc<str>);

impl OrderKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no order key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderKeyError {
    /// Nothing to order by.
    #[error("an order key must not be empty: leave it out for a task that needs no order")]
    Empty,
    /// Longer than what stores keep.
    #[error("the order key `{shown}...` has {bytes} bytes; the most is {LONGEST_KEY}")]
    TooLong {
        /// Its beginning.
        shown: String,
        /// How long it is.
        bytes: usize,
    },
    /// A line end, a tab, a NUL.
    #[error(
        "the order key `{shown}` holds a control character; write it without line ends, tabs and the like"
    )]
    ControlCharacter {
        /// It, with escapes.
        shown: String,
    },
}

impl FromStr for OrderKey {
    type Err = OrderKeyError;

    fn from_str(text: &str) -> Result<Self, OrderKeyError> {
        if text.is_empty() {
            return Err(OrderKeyError::Empty);
        }
        if text.len() > LONGEST_KEY {
            let shown = text.chars().take(32).flat_map(char::escape_debug).collect();
            return Err(OrderKeyError::TooLong { shown, bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(OrderKeyError::ControlCharacter { shown: text.escape_debug().to_string() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(OrderKey);

/// What a task with a key brings to its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose line, together with its function.
    pub key: OrderKey,
    /// It starts when fewer than so many tasks are left before it. It is the function's `per_order_key` when the task
    /// is enqueued; at least 1.
    pub at_once: u32,
}

impl Order {
    /// As its function says, for a key.
    #[must_use]
    pub fn new(key: OrderKey, at_once: u32) -> Self {
        Self { key, at_once: at_once.max(1) }
    }
}

/// Names one line in a store: of equal length for all keys, and of letters and digits that need no quotes anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(String);

impl Line {
    /// The line of a function's tasks with this key.
    #[must_use]
    pub fn of(function: &FunctionName, key: &OrderKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"beatmesh order key 1\0");
        hash.update(function.as_str().as_bytes());
        hash.update([0]);
        hash.update(key.as_str().as_bytes());
        Self(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One of so many slots, the same one on every node.
    #[must_use]
    pub fn slot(&self, slots: u16) -> u16 {
        let first = u16::from_str_radix(&self.0[..4], 16).expect("it is made of hexadecimal digits");
        first % slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_any_short_text_without_control_characters() {
        for good in ["a", "customer 17", "Größe/ä:{}'\"", " ", &"x".repeat(256)] {
            let key: OrderKey = good.parse().unwrap();
            assert_eq!((key.as_str(), key.to_string().as_str()), (good, good));
        }
        for (bad, words) in [
            ("", "must not be empty"),
            ("a\nb", "`a\\nb` holds a control character"),
            ("a\u{0}", "control character"),
            ("a\u{85}", "control character"),
            (&"x".repeat(257), "has 257 bytes; the most is 256"),
            (&"ä".repeat(129), "has 258 bytes"),
        ] {
            let error = bad.parse::<OrderKey>().unwrap_err().to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn each_function_and_key_has_a_line_of_its_own() {
        let line = |function: &str, key: &str| Line::of(&function.parse().unwrap(), &key.parse().unwrap());
        assert_eq!(line("f", "a"), line("f", "a"));
        assert_ne!(line("f", "a"), line("f", "b"));
        assert_ne!(line("f", "a"), line("g", "a"));
        assert_ne!(line("fa", "b"), line("f", "ab"));
        assert_eq!(line("f", "a").as_str().len(), 32);
        assert!(line("f", "a").slot(1_024) < 1_024);
    }
}
