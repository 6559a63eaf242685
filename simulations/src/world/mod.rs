//! One simulated world: nodes with disks, clocks and lines to a store, on hosts of turmoil.
//!
//! | file | seam |
//! |---|---|
//! | `clock` | `Clock`: virtual time, a wall clock with a skew per node |
//! | `entropy` | `Entropy`: drawn from seed, node and life |
//! | `network`, `weather` | `Network`: quinn over simulated UDP, HTTP over simulated TCP; faults of the network |
//! | `files` | `Files`: a disk in memory that outlives its node |
//! | `forgetful` | `Files` without the guards of a node's generation |
//! | `spawner`, `gate` | `Spawner`: onto the host's runtime; a panic fails the run; a stopped process waits |
//! | `functions` | `Functions`: scripted executions |
//! | `store` | `CatalogueStore`, `TaskQueue`, `SeedList`: one store on a host of its own |
//! | `client` | HTTP clients |

pub mod client;
pub mod clock;
pub mod entropy;
pub mod files;
pub mod forgetful;
pub mod functions;
pub mod gate;
pub mod interpose;
pub mod network;
pub mod node;
pub mod spawner;
pub mod store;
pub mod weather;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::history::History;
use node::SimNode;
use store::guards::Guards;
use store::host::StoreHost;
use weather::Weather;

/// The name of the store's host.
pub const STORE: &str = "store";

/// The name of the client's host.
pub const CLIENT: &str = "client";

/// Wall clocks are wrong by up to this much, either way: far more than a kept machine's.
const LARGEST_SKEW_MS: i64 = 5_000;

/// What has ended is kept for longer than any run, so that properties see all of it.
const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// What a run must not show: panics, parts of nodes that ended by themselves.
#[derive(Clone, Default)]
pub struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    /// Adds one, in words.
    pub fn add(&self, text: String) {
        self.0.lock().push(text);
    }

    /// Those so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// Everything in one run that is not inside a node.
#[derive(Clone)]
pub struct World {
    /// What is checked in this run.
    pub guards: Guards,
    /// How long executions take, in milliseconds.
    pub functions_ms: Range<u64>,
    /// What happened.
    pub history: History,
    /// What must not happen.
    pub failures: Failures,
    /// What is wrong with the network.
    pub weather: Weather,
    /// The store.
    pub store: Arc<StoreHost>,
    /// The nodes, by index.
    pub nodes: Vec<Arc<SimNode>>,
}

impl World {
    /// A world of `count` nodes that have not started. Names decide who owns which key, so they come
    /// from the dice as well.
    #[must_use]
    pub fn new(seed: u64, count: usize, functions_ms: Range<u64>, guards: Guards, dice: &mut StdRng) -> Self {
        let history = History::default();
        let store = Arc::new(StoreHost::new(history.clone(), guards, KEEP));
        let nodes = (0..count).map(|index| {
            let name = format!("n{index}-{:04x}", dice.random::<u16>());
            let skew = dice.random_range(-LARGEST_SKEW_MS..=LARGEST_SKEW_MS);
            Arc::new(SimNode::new(seed, index, name, skew, dice.random()))
        });
        let nodes = nodes.collect();
        let (failures, weather) = (Failures::default(), Weather::default());
        Self { guards, functions_ms, history, failures, weather, store, nodes }
    }
}
