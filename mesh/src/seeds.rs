//! Where a node learns of its first peers: rows of a common database, and addresses given by hand.
//!
//! Both are hints, never truth. Whoever answers at such an address proves by TLS and hello who it is,
//! so a stale row, or a port that now belongs to another mesh, costs one refused dial.

use std::net::SocketAddr;

use async_trait::async_trait;

use crate::env::UnixMs;
use crate::id::{Generation, NodeId};

/// One row of the node table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Who wrote the row.
    pub node: NodeId,
    /// Which life of it.
    pub generation: Generation,
    /// Where it takes QUIC.
    pub addr: SocketAddr,
    /// When it last said so, by the store's clock.
    pub last_seen: UnixMs,
}

/// The list is out of reach; the mesh goes on with what it knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node table cannot be used now: {0}")]
pub struct SeedError(pub String);

/// The node table of a common database.
#[async_trait]
pub trait SeedList: Send + Sync + 'static {
    /// The rows, most recently seen first, at most `limit`.
    async fn read(&self, limit: u32) -> Result<Vec<Seed>, SeedError>;

    /// Writes this node's row, or refreshes it. A row of a later generation stays as it is.
    async fn announce(
        &self,
        node: &NodeId,
        generation: Generation,
        addr: SocketAddr,
    ) -> Result<(), SeedError>;

    /// Removes this node's row, unless a later generation wrote it.
    async fn withdraw(&self, node: &NodeId, generation: Generation) -> Result<(), SeedError>;

    /// Forgets rows of nodes that were not seen for a day: they are no hints any more.
    async fn prune(&self) -> Result<(), SeedError>;
}
