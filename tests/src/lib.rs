//! The harness of the end-to-end tests: real processes of the built binary, real signals, real files.
//!
//! | file | holds |
//! |---|---|
//! | `binary` | which binary is tested |
//! | `process` | a child process: log in a file, signals, never left behind |
//! | `node`, `mesh` | one node, several nodes with one store |
//! | `http` | requests and answers |
//! | `events`, `watch` | following the mesh; what one node tells of it, with the time |
//! | `stranger`, `guest` | somebody who speaks QUIC and is no node; one who was let in |
//! | `replay` | packets that are recorded and sent again |
//! | `target` | a mesh that strangers try, and what it must be afterwards |
//! | `database` | the common database, past the nodes |
//! | `network` | nodes in network namespaces, and links that are cut |
//! | `line` | the line to a server, on which answers vanish |
//! | `loopback` | a loopback of one's own, for measuring |
//! | `wait` | waiting for a condition, with a deadline |
//! | `side_file` | what functions write down about their own executions |
//! | `processes` | what runs on this machine and belongs to a test |
//! | `ledger` | a schedule's ticks, checked |
//! | `redis_queue` | the queue in a Redis, without nodes |
//! | `servers` | PostgreSQL, MariaDB, Redis with Sentinel and Cluster: real ones, private to a test |
//! | `scratch`, `figures` | directories, percentiles |
//!
//! Rules: no port is chosen by hand, no test waits for luck, nothing is left running, also when a test
//! panics; a failing test prints the ends of the logs of its processes.

pub mod binary;
pub mod database;
pub mod events;
pub mod figures;
pub mod guest;
pub mod http;
pub mod ledger;
pub mod line;
pub mod loopback;
pub mod mesh;
pub mod network;
pub mod node;
pub mod process;
pub mod processes;
pub mod redis_queue;
pub mod replay;
pub mod scratch;
pub mod servers;
pub mod side_file;
pub mod stories;
pub mod stranger;
pub mod target;
pub mod wait;
pub mod watch;

pub use events::{Event, Events};
pub use guest::Guest;
pub use http::{Answer, Client};
pub use line::{Answers, Line};
pub use mesh::TestMesh;
pub use network::Network;
pub use node::{Node, NodeSpec};
pub use process::{Process, Signal};
pub use scratch::Scratch;
pub use side_file::SideFile;
pub use stranger::{Papers, Stranger};
pub use target::Target;
pub use wait::{until, until_some};
pub use watch::{Sighting, Watch};
