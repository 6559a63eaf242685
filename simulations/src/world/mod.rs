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
//! | `kin` | who is of a later version, of another mesh, or a stranger otherwise |
//! | `redis` | `TaskQueue`, when it is in a Redis: the product's own, over simulated TCP |
//! | `client` | HTTP clients |

pub mod client;
pub mod clock;
mod ended;
pub mod entropy;
pub mod files;
pub mod forgetful;
pub mod functions;
pub mod gate;
pub mod interpose;
pub mod kin;
pub mod network;
pub mod node;
pub mod redis;
pub mod spawner;
pub mod store;
pub mod weather;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::faults::FaultKind;
use crate::history::History;
use crate::scenarios::{Queue, Script};
use kin::Kin;
use node::SimNode;
use redis::hosts::RedisHosts;
use store::guards::Guards;
use store::host::StoreHost;
use weather::Weather;

/// The name of the store's host.
pub const STORE: &str = "store";

/// The name of the host of the other mesh's store.
pub const OTHER_STORE: &str = "other-store";

/// The name of the host of the sentinel that knows where the queue's Redis is.
pub const SENTINEL: &str = "sentinel";

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
    /// The store of those who have another one. What happens there is in no history.
    pub other_store: Arc<StoreHost>,
    /// Where the queue is.
    pub queue: Queue,
    /// Its Redis, if it is in one.
    pub redis: Option<Arc<RedisHosts>>,
    /// The machines, by index: nodes of the mesh first, then strangers, then spare ones, which copies of nodes
    /// are put on.
    pub nodes: Vec<Arc<SimNode>>,
    /// The index of the first spare one.
    pub spares: usize,
}

impl World {
    /// Whether somebody works on the other store.
    #[must_use]
    pub fn has_other_store(&self) -> bool {
        self.nodes.iter().any(|node| !node.kin.shares_the_store())
    }

    /// Whether there are others than ordinary nodes.
    #[must_use]
    pub fn has_kin(&self) -> bool {
        self.nodes.iter().any(|node| node.kin != Kin::Ordinary)
    }

    /// The world of a script; nothing in it has started. Names decide who owns which key, so they come
    /// from the dice as well.
    #[must_use]
    pub fn new(seed: u64, script: &Script, guards: Guards, dice: &mut StdRng) -> Self {
        let history = History::default();
        let store = Arc::new(StoreHost::new(history.clone(), guards, KEEP));
        let other_store = Arc::new(StoreHost::new(History::default(), guards, KEEP));
        let kin = |index: usize| script.kin.get(index).copied().unwrap_or_default();
        let spares = script.nodes.max(script.kin.len());
        let copies = script.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Clone(..)));
        let nodes = (0..spares + copies.count()).map(|index| {
            let kind = match index {
                _ if index < script.nodes => 'n',
                _ if index < spares => 's',
                _ => 'c',
            };
            let name = format!("{kind}{index}-{:04x}", dice.random::<u16>());
            let skew = dice.random_range(-LARGEST_SKEW_MS..=LARGEST_SKEW_MS);
            Arc::new(SimNode::new(seed, index, name, skew, dice.random(), kin(index)))
        });
        let nodes = nodes.collect();
        let (failures, weather) = (Failures::default(), Weather::default());
        let functions_ms = script.functions_ms.clone();
        let queue = script.queue;
        let servers = match queue {
            Queue::Store => 0,
            Queue::Redis => 1,
            Queue::Replicated(_) => 2,
        };
        let redis = (servers > 0).then(|| {
            let names = (0..servers).map(|number| format!("redis-{number}")).collect();
            let (mesh, dice) = (Kin::Ordinary.mesh(), StdRng::seed_from_u64(dice.random()));
            let hosts = RedisHosts::new(names, mesh, history.clone(), failures.clone(), guards, dice);
            hosts.set_clocks();
            store.state().keep_no_queue();
            Arc::new(hosts)
        });
        Self {
            guards,
            functions_ms,
            history,
            failures,
            weather,
            store,
            other_store,
            queue,
            redis,
            nodes,
            spares,
        }
    }
}
