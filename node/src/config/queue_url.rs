//! Where tasks are: in the database, or in a Redis.

use std::fmt;
use std::str::FromStr;

use super::redis_url::RedisUrl;
use super::store_url::StoreUrl;

/// The place of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueUrl {
    /// An SQL database, which must be the one that holds the catalogue.
    Sql(StoreUrl),
    /// A Redis.
    Redis(RedisUrl),
}

impl QueueUrl {
    /// The Redis, if it is one.
    #[must_use]
    pub fn redis(&self) -> Option<&RedisUrl> {
        match self {
            Self::Sql(_) => None,
            Self::Redis(url) => Some(url),
        }
    }
}

impl FromStr for QueueUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if RedisUrl::is_meant(text) { text.parse().map(Self::Redis) } else { text.parse().map(Self::Sql) }
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(url) => url.fmt(f),
            Self::Redis(url) => url.fmt(f),
        }
    }
}
