//! The settings as values, with their defaults. A value of one of these types is a valid one; what
//! two settings together can get wrong is looked at in `check`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::queue_url::QueueUrl;
use super::store_url::StoreUrl;
use super::words::{Durability, HostPort, Label, LogFilter, LogFormat, PaceName, Roles};
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
    /// `pace`: how fast failures are found. Default `lan`.
    pub pace: PaceName,
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
    /// `database`: node table and catalogue; SQLite, PostgreSQL, MySQL or MariaDB. Default: the SQLite file
    /// `mesh.db` in the data directory.
    pub database: StoreUrl,
    /// `peers`: mesh addresses to dial besides those in the database. Default: none.
    pub peers: Vec<HostPort>,
}

/// `[queue]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// `url`: where tasks are. Default: the database.
    pub url: QueueUrl,
    /// `durability`: what an acknowledged task survives, when the queue is a Redis. Default `fast`.
    pub durability: Durability,
    /// `replicas`: with `durability = "replicated"`, how many replicas of the Redis must have a change before
    /// it is acknowledged. Default 1; as many as a failover may promote keep every acknowledged task.
    pub replicas: u32,
    /// `lease`: how long a task stays with a worker that says nothing. Default `10s`, so that the
    /// tasks of a dead worker start again within seconds; a worker renews every third of it.
    pub lease: Span,
    /// `max_lost_leases`: after so many lost workers a task is put aside as dead. Default 5. Once it has
    /// lost more than half of them, it runs on a node with no other such task.
    pub max_lost_leases: u32,
    /// `result_limit`: a larger output of a task is not kept. Default `1MiB`: results live in the
    /// store, and a row of the store is not a place for files.
    pub result_limit: ByteSize,
    /// `keep_tasks`: how long an ended task can be asked for. Default `1d`.
    pub keep_tasks: Span,
    /// `max_kept_tasks`: and how many of them are kept; the oldest go first. Default a million, which is about a
    /// gigabyte of a Redis besides inputs and results: a mesh that ends 10,000 a second would keep 864 million in a
    /// day.
    pub max_kept_tasks: u32,
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
    /// `idle_timeout`: a client that sends no further request for so long is cut off. Default `75s`,
    /// longer than the 60 s for which usual proxies (nginx, HAProxy, load balancers of clouds) keep
    /// connections: the proxy must be the one who closes, or it sends requests into closed ones.
    pub idle_timeout: Span,
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
            mesh: MeshSettings { name: Label("beatmesh".to_owned()), pace: PaceName::Lan },
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
                url: QueueUrl::Sql(database),
                durability: Durability::Fast,
                replicas: 1,
                lease: seconds(10),
                max_lost_leases: 5,
                result_limit: ByteSize(1 << 20),
                keep_tasks: seconds(86_400),
                max_kept_tasks: 1_000_000,
                keep_ticks: seconds(30 * 86_400),
            },
            beat: BeatSettings { standby_delay: seconds(1) },
            limits: LimitSettings {
                input: ByteSize(16 << 20),
                output: ByteSize(64 << 20),
                headers: ByteSize(64 << 10),
                header_timeout: seconds(10),
                idle_timeout: seconds(75),
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
