//! Every story of every store, on the simulated one: what runs believe of a store is what real ones do.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_node::for_each_story;
use beatmesh_node::queue::conformance::{self, NODES, Node, Subject};
use beatmesh_simulations::history::History;
use beatmesh_simulations::world::store::client::StoreClient;
use beatmesh_simulations::world::store::guards::Guards;
use beatmesh_simulations::world::store::host::StoreHost;
use beatmesh_simulations::world::store::line::Line;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

/// Hands fresh stores to the host that serves them.
struct Simulated(mpsc::UnboundedSender<Arc<StoreHost>>);

#[async_trait]
impl Subject for Simulated {
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node> {
        let store = Arc::new(StoreHost::new(History::default(), Guards::default(), keep));
        store.state().keep_at_most(most as usize);
        self.0.send(store.clone()).expect("the host takes stores until the story ends");
        let node = |dice| {
            let line = Arc::new(Line::new(StdRng::seed_from_u64(dice)));
            let client = Arc::new(StoreClient::new("simulated", store.clone(), line));
            Node { queue: client.clone(), catalogue: client.clone(), seeds: client }
        };
        (0..NODES as u64).map(node).collect()
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Runs a story on one host, its stores on another.
fn tell<S, F>(story: S)
where
    S: FnOnce(Simulated) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(600)).rng_seed(1).build();
    let (stores, mut served) = mpsc::unbounded_channel::<Arc<StoreHost>>();
    sim.client("store", async move {
        while let Some(store) = served.recv().await {
            tokio::task::spawn_local(store.serve());
        }
        Ok(())
    });
    sim.client("nodes", async move {
        story(Simulated(stores)).await;
        Ok(())
    });
    sim.run().expect("the story ends");
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
