//! What the store checks, each check with a name under which a test build can switch it off: a property
//! that stays green without its guard proves nothing.

use std::str::FromStr;

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// A commit names the cursor that it was planned from, and changes nothing when another commit moved
    /// it. Together with the ledger's unique key, which would refuse the same due time as well.
    pub cursor_compare: bool,
}

/// The names of all guards.
pub const NAMES: [&str; 1] = ["cursor_compare"];

impl Default for Guards {
    fn default() -> Self {
        Self { cursor_compare: true }
    }
}

impl Guards {
    /// All of them but one.
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        match guard {
            Guard::CursorCompare => Self { cursor_compare: false },
        }
    }
}

/// One guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// [`Guards::cursor_compare`].
    CursorCompare,
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cursor_compare" => Ok(Self::CursorCompare),
            _ => Err(format!("`{text}` is not a guard; there is {}", NAMES.join(", "))),
        }
    }
}
