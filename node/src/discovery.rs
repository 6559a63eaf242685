//! Finds peers: rows of the node table and addresses given by hand, at the start, now and then, and
//! often while this node is alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use beatmesh_mesh::id::Generation;
use beatmesh_mesh::seeds::SeedList;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

/// The usual pace: gossip does the work, this heals what it cannot.
const EVERY: Duration = Duration::from_secs(30);

/// The pace of a node that sees nobody.
const ALONE: Duration = Duration::from_secs(2);

/// Rows read at once: the most recently seen, as many as one mesh is made for.
const MOST_ROWS: u32 = 1_000;

/// What discovery works with.
pub struct Discovery {
    /// The seams.
    pub env: Env,
    /// Where found peers are introduced.
    pub mesh: Arc<Mesh>,
    /// The node table.
    pub seeds: Arc<dyn SeedList>,
    /// `host:port`, given by hand.
    pub peers: Vec<String>,
    /// This life of the node.
    pub generation: Generation,
}

impl Discovery {
    /// Looks for peers until the node stops.
    pub async fn run(self, stop: CancellationToken) {
        let mut dice = self.env.entropy.rng();
        let mut trouble = false;
        let mut first = true;
        loop {
            let failed = self.look(first).await.err();
            match &failed {
                Some(error) if !trouble => {
                    tracing::warn!(error, "the node table cannot be used; going on with the members known")
                }
                None if trouble => tracing::info!("the node table can be used again"),
                _ => {}
            }
            trouble = failed.is_some();
            first = false;
            let pace = if self.mesh.view().alive().count() > 1 && !trouble { EVERY } else { ALONE };
            let pause = pace.mul_f64(dice.random_range(0.8..1.2));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look: announce this node, read the rows, introduce everybody.
    async fn look(&self, first: bool) -> Result<(), String> {
        let me = self.mesh.view().me.clone();
        if first && let Ok(rows) = self.seeds.read(MOST_ROWS).await {
            // Before anybody hears of this process: a second one with the same name must go without
            // having pushed the first one out of the mesh.
            self.challenge(rows.iter().find(|row| row.node == me).map(|row| row.addr)).await;
        }
        for peer in &self.peers {
            match self.env.network.resolve(peer).await {
                Ok(addrs) => addrs.into_iter().for_each(|addr| self.mesh.introduce(addr)),
                Err(error) => tracing::warn!(peer, %error, "a seed's address cannot be found"),
            }
        }
        // First announced, then read: of two nodes that start together one sees the other's row.
        let announced = self.seeds.announce(&me, self.generation, self.mesh.advertise()).await;
        let rows = self.seeds.read(MOST_ROWS).await.map_err(|error| error.to_string())?;
        for row in rows.into_iter().filter(|row| row.node != me) {
            self.mesh.introduce(row.addr);
        }
        announced.map_err(|error| error.to_string())
    }

    /// Asks at this node's last address whether another process still has its id. Nobody there is the
    /// usual case after a crash; when the address is another one than now, that takes a second to find out.
    async fn challenge(&self, last: Option<SocketAddr>) {
        if let Some(addr) = last
            && self.mesh.challenge(addr).await
        {
            // The node is about to end; until then nobody hears of it.
            std::future::pending::<()>().await;
        }
    }
}
