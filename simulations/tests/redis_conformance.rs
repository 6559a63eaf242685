//! Every story of every store, with the queue in the simulated Redis: the product's own client and scripts, on the
//! simulated wire. The same stories are told to real servers in `tests/tests/redis_stories.rs`; where the two differ,
//! the simulated one is wrong.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks and its time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_mesh::env::Env;
use beatmesh_node::config::Durability;
use beatmesh_node::for_each_story;
use beatmesh_node::queue::conformance::{self, NODES, Node, Subject};
use beatmesh_node::queue::redis::{RedisQueue, RedisSettings};
use beatmesh_node::store::fenced::FencedCatalogue;
use beatmesh_simulations::history::History;
use beatmesh_simulations::world::Failures;
use beatmesh_simulations::world::clock::{SimClock, WallClock};
use beatmesh_simulations::world::entropy::SimEntropy;
use beatmesh_simulations::world::files::Disk;
use beatmesh_simulations::world::gate::Gate;
use beatmesh_simulations::world::network::SimNetwork;
use beatmesh_simulations::world::redis::hosts::{PORT, RedisHosts};
use beatmesh_simulations::world::spawner::SimSpawner;
use beatmesh_simulations::world::store::client::StoreClient;
use beatmesh_simulations::world::store::guards::Guards;
use beatmesh_simulations::world::store::host::StoreHost;
use beatmesh_simulations::world::store::line::Line;
use beatmesh_simulations::world::weather::Weather;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

/// Hands fresh stores of definitions to the host that serves them; the Redis is one for the whole story.
struct Simulated {
    stores: mpsc::UnboundedSender<Arc<StoreHost>>,
    failures: Failures,
    /// A story may begin several times: each time is a mesh of its own.
    meshes: AtomicU32,
}

fn env(node: usize, failures: &Failures) -> Env {
    let dice = StdRng::seed_from_u64(node as u64);
    let host = turmoil::lookup("nodes");
    let spawner = Arc::new(SimSpawner::new("nodes", failures.clone(), Gate::default()));
    let (weather, history) = (Weather::default(), History::default());
    Env {
        clock: Arc::new(SimClock::new(Arc::new(WallClock::new(0)))),
        entropy: Arc::new(SimEntropy::new(1, node, 1)),
        network: Arc::new(SimNetwork::new(node, host, weather, Gate::default(), dice, history)),
        files: Arc::new(Disk::default()),
        spawner: spawner.clone(),
        mesh_spawner: spawner,
    }
}

#[async_trait]
impl Subject for Simulated {
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node> {
        let store = Arc::new(StoreHost::new(History::default(), Guards::default(), keep));
        store.state().keep_no_queue();
        self.stores.send(store.clone()).expect("the host takes stores until the story ends");
        let mesh = format!("story-{}", self.meshes.fetch_add(1, Ordering::Relaxed));
        let mut nodes = Vec::new();
        for node in 0..NODES {
            let line = Arc::new(Line::new(StdRng::seed_from_u64(node as u64)));
            let client = Arc::new(StoreClient::new("simulated", store.clone(), line));
            let settings = RedisSettings {
                url: format!("redis://{}:{PORT}", turmoil::lookup("redis")).parse().expect("a URL"),
                mesh: mesh.clone(),
                store_id: "simulated".to_owned(),
                durability: Durability::Fast,
                replicas: 1,
                keep_tasks: keep,
                max_kept_tasks: most,
                keep_ticks: keep,
            };
            let queue = RedisQueue::open(&env(node, &self.failures), settings).await.expect("opened");
            let queue = Arc::new(queue);
            let catalogue = Arc::new(FencedCatalogue::new(client.clone(), queue.clone()));
            nodes.push(Node { queue, catalogue, seeds: client });
        }
        nodes
    }

    async fn pass(&self, span: Duration) {
        // The server's clock counts in milliseconds.
        tokio::time::sleep(span + Duration::from_millis(1)).await;
    }
}

/// Runs a story on one host, its stores on others.
fn tell<S, F>(story: S)
where
    S: FnOnce(Simulated) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(900))
        .rng_seed(1)
        .tcp_capacity(4_096)
        .max_message_latency(Duration::from_millis(2))
        .build();
    let (stores, mut served) = mpsc::unbounded_channel::<Arc<StoreHost>>();
    sim.client("store", async move {
        while let Some(store) = served.recv().await {
            tokio::task::spawn_local(store.serve());
        }
        Ok(())
    });
    let (failures, history, dice) = (Failures::default(), History::default(), StdRng::seed_from_u64(1));
    let names = vec!["redis".to_owned()];
    let redis = RedisHosts::new(names, "story-0", history, failures.clone(), Guards::default(), dice);
    let redis = Arc::new(redis);
    sim.host("redis", move || redis.clone().serve(0));
    let told = failures.clone();
    sim.client("nodes", async move {
        // turmoil knows the host's time only inside its first step.
        tokio::time::sleep(Duration::from_millis(1)).await;
        story(Simulated { stores, failures: told, meshes: AtomicU32::new(0) }).await;
        Ok(())
    });
    sim.run().expect("the story ends");
    assert_eq!(failures.all(), Vec::<String>::new());
}

macro_rules! tests {
    ($($file:ident::$story:ident,)*) => {
        $(
            #[test]
            fn $story() {
                tell(|subject| async move { conformance::$file::$story(&subject).await });
            }
        )*
    };
}

for_each_story!(tests);
