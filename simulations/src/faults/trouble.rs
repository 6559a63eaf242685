//! What a node meets on its way to the store.

use std::fmt;
use std::time::Duration;

/// One state of one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing: a healthy store.
    #[default]
    None,
    /// Requests do not arrive; the node learns of it late: `Unavailable`.
    Cut,
    /// The store turns requests away at once: `Unavailable`.
    Refusing,
    /// Requests arrive this much later.
    Slow(Duration),
    /// Requests are carried out, answers do not arrive: `Unknown`.
    Mute,
    /// So many requests in a hundred are answered with an error at once. Half of them were refused, half
    /// were carried out, and the answer does not tell which: `Unknown`.
    Failing(u8),
    /// This request alone, counted from 0, is answered with an error; the flag says whether it was carried out
    /// all the same.
    Once(u16, bool),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("well"),
            Self::Cut => f.write_str("cut off"),
            Self::Refusing => f.write_str("refuses"),
            Self::Slow(by) => write!(f, "slower by {by:?}"),
            Self::Mute => f.write_str("answers are lost"),
            Self::Once(number, done) => {
                write!(
                    f,
                    "request {number} is {} and ends in an error",
                    if *done { "carried out" } else { "refused" }
                )
            }
            Self::Failing(percent) => write!(f, "{percent} % of requests end in an error"),
        }
    }
}
