//! The settings as values, with their defaults. A value of one of these types is a valid one; what
//! two settings together can get wrong is looked at in `check`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::store_url::StoreUrl;
use crate::units::{ByteSize, Span};

/// Everything that a node can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[mesh]`: equal on every node.
    pub mesh: MeshSettings,
    /// `[node]`: this node.
    pub node: NodeSettings,
    /// `[listen]`: addresses.
    pub listen: ListenSettings,
    /// `[seeds]`: where other nodes are found.
    pub seeds: SeedSettings,
    /// `[queue]`: tasks and their leases.
    pub queue: QueueSettings,
    /// `[beat]`: schedules; equal on every node.
    pub beat: BeatSettings,
    /// `[limits]`: how much is too much.
    pub limits: LimitSettings,
    /// `[security]`: files that hold secrets.
    pub security: SecuritySettings,
    /// `[log]`: what is logged, and how.
    pub log: LogSettings,
}

/// `[mesh]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// `name`: nodes of another mesh are refused. Default `beatmesh`.
    pub name: Label,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// `name`: becomes the node's id. Default: the host's name and a mark of machine and data
    /// directory, so that it survives a restart and two nodes on one host differ.
    pub name: Label,
    /// `roles`: what this node does. Default: everything.
    pub roles: Roles,
    /// `pools`: the groups of workers this one belongs to. Default `["default"]`.
    pub pools: Vec<Label>,
    /// `zone`: where it stands; shown, and later used for routing. Default: none.
    pub zone: Option<Label>,
    /// `data_dir`: identity, generation, lock, and the SQLite file unless `seeds.database` says
    /// otherwise. Default `./beatmesh-data`.
    pub data_dir: PathBuf,
    /// `slots`: how many functions it runs at the same time. Default: four per core, at least 8.
    pub slots: u32,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// `http`: TCP, for clients. Default `127.0.0.1:8080`; port 0 takes a free one.
    pub http: SocketAddr,
    /// `mesh`: UDP, for other nodes. Default `127.0.0.1:7946`; port 0 takes a free one.
    pub mesh: SocketAddr,
    /// `advertise`: the mesh address that others dial, when it is not the one that is bound.
    pub advertise: Option<SocketAddr>,
}

/// `[seeds]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSettings {
    /// `database`: node table and catalogue. Default: the file `mesh.db` in the data directory.
    pub database: StoreUrl,
    /// `peers`: mesh addresses to dial besides those in the database. Default: none.
    pub peers: Vec<HostPort>,
}

/// `[queue]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// `url`: where tasks are. Default: the database.
    pub url: StoreUrl,
    /// `durability`: what an acknowledged task survives. Default `fast`.
    pub durability: Durability,
    /// `lease`: how long a task stays with a worker that says nothing. Default `10s`, so that the
    /// tasks of a dead worker start again within seconds; a worker renews every third of it.
    pub lease: Span,
    /// `max_lost_leases`: after so many lost workers a task is put aside as dead. Default 5.
    pub max_lost_leases: u32,
    /// `result_limit`: a larger output of a task is not kept. Default `1MiB`: results live in the
    /// store, and a row of the store is not a place for files.
    pub result_limit: ByteSize,
    /// `keep_tasks`: how long an ended task can be asked for. Default `1d`.
    pub keep_tasks: Span,
    /// `keep_ticks`: how long a schedule's ledger reaches back. Default `30d`.
    pub keep_ticks: Span,
}

/// `[beat]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatSettings {
    /// `standby_delay`: the n-th stand-in fires n times this after the due time, if nobody has.
    /// Default `1s`: the bound of lateness that needs no failure detector.
    pub standby_delay: Span,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// `input`: a larger input of a function is refused with 413. Default `16MiB`.
    pub input: ByteSize,
    /// `output`: a function that answers more is killed. Default `64MiB`.
    pub output: ByteSize,
    /// `headers`: all headers of one request. Default `64KiB`.
    pub headers: ByteSize,
    /// `header_timeout`: a client that needs longer to send them is cut off. Default `10s`.
    pub header_timeout: Span,
    /// `connections`: clients at the same time; further ones wait. Default 4096, well under the
    /// usual limit of open files for a service.
    pub connections: u32,
    /// `wait`: the longest `?wait=` of a request; longer ones are shortened. Default `60s`, which
    /// proxies bear.
    pub wait: Span,
    /// `shutdown`: how long a stopping node lets running work finish. Default `8s`, less than the
    /// 10 s that `beatmesh dev` and container runtimes give.
    pub shutdown: Span,
}

/// `[security]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecuritySettings {
    /// `secret_file`: what the nodes of a mesh share. Default: the file `secret` in the data
    /// directory, made at the first start.
    pub secret_file: Option<PathBuf>,
    /// `api_keys_file`: lines `name:key`. Without it the API is open, and only on loopback.
    pub api_keys_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `format`: `text` (default) or `json`.
    pub format: LogFormat,
    /// `level`: `error`, `warn`, `info` (default), `debug`, `trace`, or one per module.
    pub level: LogFilter,
}

impl Settings {
    /// The defaults of a node with this name and data directory. Reads nothing from the machine.
    #[must_use]
    pub fn new(name: Label, data_dir: PathBuf) -> Self {
        let database = StoreUrl::default_in(&data_dir);
        Self {
            mesh: MeshSettings { name: Label("beatmesh".to_owned()) },
            node: NodeSettings {
                name,
                roles: Roles::default(),
                pools: vec![Label("default".to_owned())],
                zone: None,
                data_dir,
                slots: 8,
            },
            listen: ListenSettings {
                http: SocketAddr::from(([127, 0, 0, 1], 8080)),
                mesh: SocketAddr::from(([127, 0, 0, 1], 7946)),
                advertise: None,
            },
            seeds: SeedSettings { database: database.clone(), peers: Vec::new() },
            queue: QueueSettings {
                url: database,
                durability: Durability::Fast,
                lease: seconds(10),
                max_lost_leases: 5,
                result_limit: ByteSize(1 << 20),
                keep_tasks: seconds(86_400),
                keep_ticks: seconds(30 * 86_400),
            },
            beat: BeatSettings { standby_delay: seconds(1) },
            limits: LimitSettings {
                input: ByteSize(16 << 20),
                output: ByteSize(64 << 20),
                headers: ByteSize(64 << 10),
                header_timeout: seconds(10),
                connections: 4_096,
                wait: seconds(60),
                shutdown: seconds(8),
            },
            security: SecuritySettings { secret_file: None, api_keys_file: None },
            log: LogSettings { format: LogFormat::Text, level: LogFilter("info".to_owned()) },
        }
    }
}

const fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

/// A name that is also a DNS label: `[a-z0-9][a-z0-9-]{0,62}`. Names of meshes, nodes, pools, zones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// A text is not a [`Label`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 63 of a-z, 0-9 and `-`, beginning with a letter or a digit")]
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
pub struct LogFilter(String);

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
        if text.is_empty() || !text.split(',').all(known) || EnvFilter::builder().parse(text).is_err() {
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
        for bad in ["", "-a", "A", "a.b", "a_b", "ä", "a\n", &"x".repeat(64)] {
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
        for bad in ["", "inf", "verbose", "a=b=c", "info,nonsense"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }
}
