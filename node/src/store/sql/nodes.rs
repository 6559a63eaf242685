//! The node table: where nodes find their first peers.

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::seeds::{Seed, SeedError, SeedList};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::net::SocketAddr;
use std::time::Duration;

use super::{SqlStore, Tx, big, number, parsed};
use crate::queue::StoreError;

#[async_trait]
impl SeedList for SqlStore {
    async fn read(&self, limit: u32) -> Result<Vec<Seed>, SeedError> {
        let query = self
            .dialect()
            .query("SELECT node, generation, addr, last_seen FROM nodes ORDER BY last_seen DESC LIMIT ?")
            .bind(i64::from(limit));
        let rows = self.read(async |readers| query.fetch_all(readers).await).await.map_err(seed_error)?;
        // A row that cannot be read is somebody else's mistake: the others are still hints.
        Ok(rows.iter().filter_map(|row| seed(row).ok()).collect())
    }

    async fn announce(
        &self,
        node: &NodeId,
        generation: Generation,
        addr: SocketAddr,
    ) -> Result<(), SeedError> {
        let (node, addr) = (node.to_string(), addr.to_string());
        let announced = self.writer.run(move |tx| {
            let (node, addr) = (node.clone(), addr.clone());
            Box::pin(async move {
                // In this order: another life of the node may write its first row, or take its last one away, at
                // the same moment. Whoever comes second waits for it here, and then sees whose is the later one.
                let insert = format!(
                    "INSERT INTO nodes (node, generation, addr, last_seen) VALUES (?, ?, ?, ?) {}",
                    tx.dialect.or_lock("node")
                );
                tx.dialect
                    .query(insert)
                    .bind(&node)
                    .bind(big(generation.0))
                    .bind(&addr)
                    .bind(tx.now.0)
                    .execute(&mut *tx.connection)
                    .await?;
                tx.dialect
                    .query(
                        "UPDATE nodes SET generation = ?, addr = ?, last_seen = ? \
                         WHERE node = ? AND generation <= ?",
                    )
                    .bind(big(generation.0))
                    .bind(&addr)
                    .bind(tx.now.0)
                    .bind(&node)
                    .bind(big(generation.0))
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(())
            })
        });
        announced.await.map_err(seed_error)
    }

    async fn withdraw(&self, node: &NodeId, generation: Generation) -> Result<(), SeedError> {
        let node = node.to_string();
        let withdrawn = self.writer.run(move |tx| {
            let node = node.clone();
            Box::pin(async move {
                tx.dialect
                    .query("DELETE FROM nodes WHERE node = ? AND generation <= ?")
                    .bind(node)
                    .bind(big(generation.0))
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(())
            })
        });
        withdrawn.await.map_err(seed_error)
    }

    async fn prune(&self) -> Result<(), SeedError> {
        let pruned = self.writer.run(move |tx| Box::pin(prune(tx)));
        pruned.await.map_err(seed_error)
    }
}

fn seed(row: &AnyRow) -> sqlx::Result<Seed> {
    Ok(Seed {
        node: parsed(row, "node")?,
        generation: Generation(number(row, "generation")?),
        addr: parsed(row, "addr")?,
        last_seen: UnixMs(row.try_get("last_seen")?),
    })
}

fn seed_error(error: StoreError) -> SeedError {
    SeedError(error.to_string())
}

/// Rows that nobody refreshed for so long are no hints any more.
const STALE: Duration = Duration::from_secs(24 * 3_600);

/// Rows from further ahead were written while a clock was wrong, or by hand. They would stand before all others
/// for as long; a node that lives writes its own anew within half a minute.
const AHEAD: Duration = Duration::from_secs(60);

/// Forgets rows of nodes that were not seen for a day, and those from the future.
async fn prune(tx: &mut Tx<'_>) -> sqlx::Result<()> {
    tx.dialect
        .query("DELETE FROM nodes WHERE last_seen < ? OR last_seen > ?")
        .bind(tx.now.minus(STALE).0)
        .bind(tx.now.plus(AHEAD).0)
        .execute(&mut *tx.connection)
        .await?;
    Ok(())
}
