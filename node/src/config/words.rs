//! The words that settings are made of: parsed once, never wrong afterwards.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use beatmesh_mesh::detector::pace::Pace;

use tracing_subscriber::EnvFilter;

/// A name that is also a DNS label: 1 to 63 of `[a-z0-9-]` without a hyphen at either end. Names of meshes,
/// nodes, pools, zones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub(super) String);

/// A text is not a [`Label`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or a digit"
)]
pub struct LabelError(String);

impl Label {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = (1..=63).contains(&text.len())
            && text.starts_with(plain)
            && text.ends_with(plain)
            && text.chars().all(|c| plain(c) || c == '-');
        if good { Ok(Self(text.to_owned())) } else { Err(LabelError(text.to_owned())) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes HTTP requests.
    Server,
    /// Runs functions.
    Worker,
    /// Fires schedules.
    Beat,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Server, Self::Worker, Self::Beat];

    /// The name in configuration, gossip and API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Beat => "beat",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a role; there are server, worker and beat"))
    }
}

/// The roles of a node; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// These roles, or `None` when there are none.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Option<Self> {
        let roles: BTreeSet<Role> = roles.into_iter().collect();
        (!roles.is_empty()).then_some(Self(roles))
    }

    /// Whether the node has this role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.into_iter().collect())
    }
}

/// `host:port`, resolved when it is dialled, because the address behind a name may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

impl HostPort {
    /// The text, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed =
            || format!("`{text}` is not an address; write host:port, for example \"10.0.0.4:7946\"");
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        // An IPv6 address stands in brackets, else its last group would pass for the port.
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_good = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        match port.parse::<u16>() {
            Ok(1..) if host_is_good => Ok(Self(text.to_owned())),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an acknowledged task survives. The levels differ on Redis only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of a node; with SQL also that of the database's process.
    Fast,
    /// Also the loss of the Redis primary.
    Replicated,
    /// Also the loss of power of every Redis at once.
    Disk,
}

impl Durability {
    /// The name in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Replicated => "replicated",
            Self::Disk => "disk",
        }
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Fast, Self::Replicated, Self::Disk]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a durability; there are fast, replicated and disk"))
    }
}

/// How fast the mesh finds failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceName {
    /// Within a second; for nodes in one data centre.
    Lan,
    /// Within some seconds; for nodes that are far apart.
    Wan,
}

impl PaceName {
    /// The name in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }

    /// The numbers behind the name.
    #[must_use]
    pub fn pace(self) -> Pace {
        match self {
            Self::Lan => Pace::LAN,
            Self::Wan => Pace::WAN,
        }
    }
}

impl FromStr for PaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Lan, Self::Wan]
            .into_iter()
            .find(|pace| pace.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a pace; there are lan and wan"))
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is not a log format; there are text and json")),
        }
    }
}

/// A level, or levels per module: `info`, `info,beatmesh_node::beat=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub(super) String);

impl LogFilter {
    /// The text, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{text}` is not a log level; write error, warn, info, debug or trace, or one per \
                 module as in \"info,beatmesh_node::beat=debug\""
            )
        };
        // A lone word that is no level would be read as the name of a module and silence the rest.
        let known = |word: &str| {
            word.contains('=')
                || ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_lowercase().as_str())
        };
        // The parser panics on some texts with other characters.
        let is_readable = text.is_ascii() && text.split(',').all(known);
        if text.is_empty() || !is_readable || EnvFilter::builder().parse(text).is_err() {
            return Err(malformed());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_dns_label_in_small_letters() {
        for good in ["a", "0", "eu-1", &"x".repeat(63)] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_peer_is_a_host_and_a_port() {
        for good in ["10.0.0.4:7946", "node-1:1", "a.b.example:65535", "[::1]:7946"] {
            assert_eq!(good.parse::<HostPort>().unwrap().as_str(), good);
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "::1", "::1:7946", "[::1]", "[x]:1", "quic://a:1"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_level_is_not_mistaken_for_a_module() {
        for good in ["info", "INFO", "warn,beatmesh_node=debug", "off"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in ["c$uu1bߜ=b d?-e1", "", "inf", "verbose", "a=b=c", "info,nonsense"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }
}
