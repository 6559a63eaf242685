//! The meshes that something happens to: three nodes and a store.

use beatmesh_tests::servers::{Postgres, Redis};
use beatmesh_tests::{NodeSpec, Scratch, TestMesh};
use clap::ValueEnum;

/// Where tasks and ledgers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// The queue in Redis, the catalogue in SQLite
    Redis,
    /// Everything in PostgreSQL
    Postgres,
}

impl StoreKind {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A running server, which ends with this.
#[derive(Debug)]
pub enum Server {
    /// Keeps nothing on the disk.
    Redis(Redis),
    /// With the address of a database.
    Postgres(#[expect(dead_code, reason = "it ends with its owner")] Postgres, String),
}

impl Server {
    /// Starts one. It takes seconds, and nobody else is served meanwhile.
    pub fn start(kind: StoreKind) -> Self {
        tokio::task::block_in_place(|| match kind {
            StoreKind::Redis => Self::Redis(Redis::start()),
            StoreKind::Postgres => {
                let server = Postgres::start();
                let url = server.create_database("bench");
                Self::Postgres(server, url)
            }
        })
    }

    /// A node with its tasks there.
    pub fn node(&self, spec: NodeSpec) -> NodeSpec {
        match self {
            Self::Redis(redis) => spec.set("queue.url", redis.url()),
            Self::Postgres(_, url) => spec.without("--db").set("seeds.database", url),
        }
    }
}

/// Three nodes with all roles, and their store.
#[derive(Debug)]
pub struct Ground {
    /// The nodes.
    pub mesh: TestMesh,
    _server: Server,
}

impl Ground {
    /// Starts them and waits until all see all.
    pub async fn start(kind: StoreKind) -> Self {
        let server = Server::start(kind);
        let mesh = TestMesh::start_with(3, |spec| server.node(spec)).await;
        Self { mesh, _server: server }
    }

    /// Who is the Beat, and another node that goes on watching. All nodes have to agree.
    pub async fn beat_and_witness(&self) -> (usize, usize) {
        self.mesh.until_formed().await;
        let beat = self.mesh.beat_seen_by(0).await;
        (beat, self.mesh.other_than(beat))
    }
}

/// A fresh node of a store, without others around it.
pub fn lone_node(server: &Server, dir: &Scratch, name: &str, roles: &str) -> NodeSpec {
    server.node(NodeSpec::new(dir, name)).flag("--roles", roles)
}
