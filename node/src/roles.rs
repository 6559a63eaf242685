//! What a node says about itself, in names of facts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use beatmesh_mesh::member::{Facts, fact};

/// Names of facts that the product reads; the mesh only carries them.
pub mod facts {
    /// Comma-separated: `server`, `worker`, `beat`.
    pub const ROLES: &str = "roles";
    /// Comma-separated groups of workers.
    pub const POOLS: &str = "pools";
    /// Where it stands; may be missing.
    pub const ZONE: &str = "zone";
    /// Its HTTP address.
    pub const HTTP: &str = "http";
    /// The program's version.
    pub const VERSION: &str = "version";
    /// Calls and tasks that it runs now.
    pub const LOAD: &str = "load";
    /// Due times that it has committed lately: `SCHEDULE=DUE`, separated by commas.
    pub const COMMITTED: &str = "committed";
    /// Digest of the settings that must be equal on all nodes of one version.
    pub const DIGEST: &str = "digest";
}

/// Whether it runs functions.
#[must_use]
pub fn is_worker(facts: &Facts) -> bool {
    facts.set_of(facts::ROLES).contains("worker")
}

/// Whether it may fire schedules.
#[must_use]
pub fn is_beat(facts: &Facts) -> bool {
    facts.set_of(facts::ROLES).contains("beat")
}

/// The facts with which a node begins: not ready, so it owns nothing yet.
#[must_use]
pub fn first_facts(
    roles: &[&str],
    pools: &[String],
    zone: Option<&str>,
    http: SocketAddr,
    digest: &str,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (fact::READY.to_owned(), "0".to_owned()),
        (facts::ROLES.to_owned(), roles.join(",")),
        (facts::POOLS.to_owned(), pools.join(",")),
        (facts::HTTP.to_owned(), http.to_string()),
        (facts::LOAD.to_owned(), "0".to_owned()),
        (facts::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (facts::DIGEST.to_owned(), digest.to_owned()),
    ]);
    if let Some(zone) = zone {
        all.insert(facts::ZONE.to_owned(), zone.to_owned());
    }
    all
}
