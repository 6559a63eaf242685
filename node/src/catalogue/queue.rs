//! What a queue is: its share of the workers, and how many of its tasks run at once.
//!
//! A queue is there as soon as a function names it; a definition gives it other than the usual numbers.

use serde::{Deserialize, Serialize};

use crate::queue::fair::LARGEST_WEIGHT;

/// A queue's definition, as written in a manifest or sent to the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Of two queues that have work, one with twice the weight gets twice as many tasks started.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// How many of its tasks run at the same time in the whole mesh; no limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { weight: default_weight(), limit: None }
    }
}

fn default_weight() -> u32 {
    1
}

/// Why a definition cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No share, or one beyond what can be told apart.
    #[error("`weight` = {0} is out of range: 1 to {LARGEST_WEIGHT}")]
    Weight(u32),
    /// A queue that never runs anything.
    #[error("`limit` must be greater than zero; leave it out for a queue without a limit")]
    NoRoom,
}

impl Queue {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first [`QueueError`] found.
    pub fn validate(&self) -> Result<(), QueueError> {
        if !(1..=LARGEST_WEIGHT).contains(&self.weight) {
            return Err(QueueError::Weight(self.weight));
        }
        if self.limit == Some(0) {
            return Err(QueueError::NoRoom);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_field() {
        let parse = |text: &str| {
            let queue: Queue = toml::from_str(text).map_err(|error| error.to_string())?;
            queue.validate().map(|()| queue).map_err(|error| error.to_string())
        };
        assert_eq!(parse(""), Ok(Queue::default()));
        assert_eq!(parse("weight = 3\nlimit = 2"), Ok(Queue { weight: 3, limit: Some(2) }));
        for (text, part) in [
            ("weight = 0", "`weight`"),
            ("weight = 1001", "1001"),
            ("limit = 0", "`limit`"),
            ("wieght = 1", "wieght"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
