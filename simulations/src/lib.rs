//! The chaos and partition harness: the node's real code on simulated time, network, disks and stores.
//!
//! ```text
//! scenarios ──> trial ──> world      (turmoil hosts: nodes, the store, a client)
//!                 │  ╲──> faults     (what goes wrong, as data drawn from the seed)
//!                 ▼
//!              history ──> properties (predicates over what happened), measures ──> report
//! ```
//!
//! A node is started by `beatmesh_node::assembly::Node::start`, as in production; only what stands behind
//! the seams differs. One seed is one run: on a thread of its own, so that nothing of one run is left in
//! the next.
//!
//! A seed decides everything: the fault plan, names, clock skews, latencies, the workload, every die that a
//! node takes through `Entropy`, tokio's `select!`, and what libraries draw from the operating system (keys
//! of TLS, chitchat's partners, hash order: `world::interpose`). So a seed has one [`trace`], packets
//! included, on any thread of any process of one build; [`repeat`] holds it to that.

// Without it `select!` takes its turns from dice of its own, and a panic in a task that a library spawned ends no
// run: a seed would not repeat, and a green run would say little.
#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "build with --cfg tokio_unstable, as .cargo/config.toml says; RUSTFLAGS in the environment overrides it"
);

pub mod core;
pub mod epochs;
pub mod faults;
pub mod history;
pub mod measures;
pub mod properties;
pub mod regressions;
pub mod repeat;
pub mod report;
pub mod runner;
pub mod scenarios;
pub mod shrink;
pub mod teeth;
pub mod trace;
pub mod trial;
pub mod workload;
pub mod world;

/// The commit that was built, with `-dirty` when something was changed since; `unknown` outside of a clone.
pub const COMMIT: &str = env!("BEATMESH_COMMIT");
