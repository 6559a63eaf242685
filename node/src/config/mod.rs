//! Configuration: typed settings from a TOML file, the environment and flags, in rising precedence.
//!
//! Checked once, at the door: whoever holds a [`Settings`] need not check again. Every complaint
//! names the setting, the value and where it came from; none ever shows a password.
//!
//! Layers: `load` (joins the sources) -> `keys` (one table of all settings) -> `settings` and
//! `words` (the values) -> `check` (what only two settings together can get wrong).

pub mod api_keys;
mod check;
mod digest;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod load;
mod nearest;
mod queue_url;
pub mod redact;
mod redis_url;
pub mod secret;
mod settings;
mod source;
mod store_url;
mod value;
mod words;

pub use api_keys::ApiKeys;
pub use digest::{differing as differing_settings, digest};
pub use error::{ConfigError, Problem};
pub use load::{CLIENT_VARIABLES, Machine, Sources, load};
pub(crate) use nearest::nearest;
pub use queue_url::QueueUrl;
pub use redact::redact;
pub use redis_url::{RedisKind, RedisUrl};
pub use secret::MeshSecret;
pub use settings::{
    BeatSettings, LimitSettings, ListenSettings, LogSettings, MeshSettings, NodeSettings, QueueSettings,
    SecuritySettings, SeedSettings, Settings,
};
pub use source::{Flag, Origin};
pub use store_url::{ServerUrl, StoreUrl};
pub use words::{Durability, HostPort, Label, LabelError, LogFilter, LogFormat, PaceName, Role, Roles};
