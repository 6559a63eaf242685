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
//! What a seed decides: the fault plan, names, clock skews, network latencies as a sequence, every die
//! that a node takes through `Entropy`, tokio's `select!`, and the workload. What it does not decide yet:
//! the bytes that ring draws for TLS, quinn-proto's connection ids and token keys, chitchat's choice of
//! partners and std's hash order inside dependencies. So the story of a seed repeats, its packets do not,
//! and [`history::History::hash`] may differ between two runs.

pub mod core;
pub mod faults;
pub mod history;
pub mod measures;
pub mod properties;
pub mod report;
pub mod scenarios;
pub mod trial;
pub mod workload;
pub mod world;
