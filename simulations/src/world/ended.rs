//! Why a simulated process is there no more.

use std::fmt;

/// Why a process ended that nobody had asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its start failed, in words.
    StartFailed(String),
    /// Another process is the node that it said it was, in words.
    IdentityTaken(String),
    /// A later generation of the node was seen, in words.
    Outdated(String),
    /// A function took it down.
    Killed,
}

impl Ended {
    /// As in the history.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::StartFailed(_) => "start_failed",
            Self::IdentityTaken(_) => "identity_taken",
            Self::Outdated(_) => "outdated",
            Self::Killed => "killed",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartFailed(why) => write!(f, "its start failed: {why}"),
            Self::IdentityTaken(why) | Self::Outdated(why) => f.write_str(why),
            Self::Killed => f.write_str("a function took it down"),
        }
    }
}
