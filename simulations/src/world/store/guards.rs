//! What the store checks, each check with a name under which a test build can switch it off: a property
//! that stays green without its guard proves nothing.

use std::str::FromStr;

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// A commit names the cursor that it was planned from, and changes nothing when another commit moved
    /// it. Together with the ledger's unique key, which would refuse the same due time as well.
    pub cursor_compare: bool,
    /// An edit that takes due times away which had passed undecided says so in the ledger.
    pub edits_leave_lines: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self { cursor_compare: true, edits_leave_lines: true }
    }
}

impl Guards {
    /// All of them but one.
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        let all = Self::default();
        match guard {
            Guard::CursorCompare => Self { cursor_compare: false, ..all },
            Guard::EditsLeaveLines => Self { edits_leave_lines: false, ..all },
        }
    }
}

/// One guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// [`Guards::cursor_compare`].
    CursorCompare,
    /// [`Guards::edits_leave_lines`].
    EditsLeaveLines,
}

impl Guard {
    /// All guards.
    pub const ALL: [Self; 2] = [Self::CursorCompare, Self::EditsLeaveLines];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CursorCompare => "cursor_compare",
            Self::EditsLeaveLines => "edits_leave_lines",
        }
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let nearness = |guard: &Self| (strsim::jaro(guard.as_str(), text) * 1e6) as u64;
        let nearest = || Self::ALL.into_iter().max_by_key(nearness).expect("there is a guard").as_str();
        let known = Self::ALL.into_iter().find(|guard| guard.as_str() == text);
        known.ok_or_else(|| format!("there is no guard `{text}`; did you mean `{}`?", nearest()))
    }
}
