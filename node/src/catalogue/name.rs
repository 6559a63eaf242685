//! Names of functions, schedules and queues: checked once at the door, never wrong inside.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::units::serde_as_text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Long enough for a path-like name, short enough for a table column and a log line.
pub const LONGEST_NAME: usize = 128;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a valid {what}: {reason}")]
pub struct NameError {
    what: &'static str,
    shown: String,
    reason: &'static str,
}

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.len() > LONGEST_NAME {
        "it is longer than 128 characters"
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it must begin with a letter or a digit"
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        "only ASCII letters, digits, `.`, `_` and `-` are allowed"
    } else {
        return Ok(());
    };
    Err(NameError { what, shown: text.chars().take(64).collect(), reason })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($type);
    };
}

name!(
    /// Names a function.
    FunctionName,
    "function name"
);
name!(
    /// Names a schedule.
    ScheduleName,
    "schedule name"
);
name!(
    /// Names a queue.
    QueueName,
    "queue name"
);

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_three_marks() {
        for good in ["a", "Hello", "resize.v2", "0-day", "a_b"] {
            assert_eq!(good.parse::<FunctionName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }
}
