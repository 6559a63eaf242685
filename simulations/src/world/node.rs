//! One simulated machine with a node on it: what survives a crash, and how each life begins.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use beatmesh_mesh::env::{Env, Files};
use beatmesh_mesh::identity::Taken;
use beatmesh_mesh::{Mesh, MeshParts, View};
use beatmesh_node::assembly::{Node, Parts};
use beatmesh_node::beat::driver::beat_ranks;
use beatmesh_node::config::{ApiKeys, Durability, MeshSecret, Settings};
use beatmesh_node::data_dir::DataDir;
use beatmesh_node::queue::TaskQueue;
use beatmesh_node::queue::redis::{RedisQueue, RedisSettings};
use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::fenced::FencedCatalogue;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};

use super::clock::{SimClock, WallClock};
pub use super::ended::Ended;
use super::entropy::{SimEntropy, dice};
use super::files::Disk;
use super::forgetful::Forgetful;
use super::functions::ScriptedFunctions;
use super::gate::Gate;
use super::kin::{self, Kin, LATER_FACT};
use super::network::SimNetwork;
use super::redis::hosts::{MASTER, PORT, SENTINEL_PORT};
use super::spawner::SimSpawner;
use super::store::client::StoreClient;
use super::store::guards::Guard;
use super::store::line::Line;
use super::{KEEP, SENTINEL, World};
use crate::faults::Twin;
use crate::history::Event;
use crate::scenarios::Queue;

/// Where every node takes HTTP.
pub const HTTP_PORT: u16 = 8080;

/// Where every node takes QUIC.
pub const MESH_PORT: u16 = 7946;

/// Everybody's secret: the simulated network has no eavesdropper.
const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

/// The key of the simulated users: nodes that listen on more than loopback want one.
pub const API_KEY: &str = "simulated-0123456789abcdef0123456789abcdef";

/// A task whose lease was lost more often than this is put aside: the product's default, said here so that
/// properties can count on it.
pub const MAX_LOST_LEASES: u32 = 5;

/// A wall clock that a restart finds set back: summer time in a clock that should not know it.
const LARGEST_STEP_BACK_MS: i64 = 3_600_000;

/// The clock of a copy that begins no later generation: further back than any that the node may have begun by.
const CLOCK_OF_A_COPY_MS: i64 = -2 * LARGEST_STEP_BACK_MS;

/// The id of the mesh's store.
const STORE_ID: &str = "simulated";

/// A node that is asked to stop has this long to finish what runs: as much as many functions.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A machine.
pub struct SimNode {
    /// The machine's name and its host's; the node's id as well, unless it is a copy.
    pub name: String,
    /// Its way to the store.
    pub line: Arc<Line>,
    /// Its way to the queue's Redis.
    pub queue_line: Arc<Line>,
    /// Its wall clock.
    pub wall: Arc<WallClock>,
    /// Its disk.
    pub disk: Disk,
    /// What its node is to the mesh.
    pub kin: Kin,
    /// Of a copy: whose, and how wrong its clock is instead.
    copied: Mutex<Option<(String, Option<i64>)>>,
    /// How wrong the wall clock is unless a restart sets it back.
    usual_skew_ms: i64,
    seed: u64,
    index: usize,
    lives: AtomicU64,
    /// How often it has changed its address.
    moves: AtomicU16,
    process: Mutex<Process>,
    seen: Mutex<Option<Seen>>,
}

/// What the world outside can do to one process.
#[derive(Clone, Default)]
struct Process {
    /// Stops it and lets it go on.
    gate: Gate,
    /// Asks it to stop.
    asked: Arc<Notify>,
    /// It has stopped by itself, as asked.
    has_left: Arc<AtomicBool>,
    /// It has ended by itself, unasked.
    ended: Arc<Mutex<Option<Ended>>>,
}

fn data_dir(node: &str) -> PathBuf {
    Path::new("/").join(node)
}

/// What a living node believes, for an observer outside.
struct Seen {
    views: watch::Receiver<Arc<View>>,
    /// What the history knows of it.
    told: Option<Arc<View>>,
    /// For what it counts. It belongs to the process.
    mesh: Weak<Mesh>,
}

impl SimNode {
    /// A machine that is switched off. `dice` seeds its lines to the stores.
    #[must_use]
    pub fn new(seed: u64, index: usize, name: String, skew_ms: i64, dice: u64, kin: Kin) -> Self {
        Self {
            name,
            line: Arc::new(Line::new(StdRng::seed_from_u64(dice))),
            queue_line: Arc::new(Line::new(StdRng::seed_from_u64(dice ^ u64::MAX))),
            wall: Arc::new(WallClock::new(skew_ms)),
            usual_skew_ms: skew_ms,
            disk: Disk::default(),
            kin,
            copied: Mutex::default(),
            seed,
            index,
            lives: AtomicU64::new(0),
            moves: AtomicU16::new(0),
            process: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Runs one life of the node on the current host: the software of that host. A node that has ended says
    /// why and waits for the end of its process.
    ///
    /// # Errors
    /// None; turmoil wants the type.
    pub async fn live(self: Arc<Self>, world: World) -> turmoil::Result {
        let process = self.process.lock().clone();
        let life = async {
            let ended = self.life(world, &process).await;
            *process.ended.lock() = Some(ended.unwrap_or_else(|error| Ended::StartFailed(error.to_string())));
            std::future::pending().await
        };
        process.gate.clone().through(Box::pin(life)).await
    }

    async fn life(&self, world: World, process: &Process) -> Result<Ended, Box<dyn std::error::Error>> {
        // turmoil knows the host's time only inside its first step.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let host = turmoil::lookup(self.name.as_str());
        let entropy = Arc::new(SimEntropy::new(self.seed, self.index, life));
        let dyn_entropy: &dyn beatmesh_mesh::env::Entropy = &*entropy;
        let ended = process.ended.clone();
        let kill = Arc::new(move || drop(ended.lock().replace(Ended::Killed)));
        let (history, takes_ms, dice_of_life) =
            (world.history.clone(), world.functions_ms.clone(), dyn_entropy.rng());
        let functions = ScriptedFunctions::new(&self.name, history, takes_ms, kill, dice_of_life);
        let (host_of_store, id) = match self.kin.shares_the_store() {
            true => (world.store.clone(), STORE_ID),
            false => (world.other_store.clone(), "another"),
        };
        let store = Arc::new(StoreClient::new(id, host_of_store, self.line.clone()));
        let spawner = Arc::new(SimSpawner::new(&self.name, world.failures.clone(), process.gate.clone()));
        let chance = dice(self.seed, self.index, life, *b"weather1");
        let (weather, gate) = (world.weather.clone(), process.gate.clone());
        let network = SimNetwork::new(self.index, host, weather, gate, chance, world.history.clone());
        self.wall.set_skew(self.skew_ms(life));
        let env = Env {
            clock: Arc::new(SimClock::new(self.wall.clone())),
            entropy,
            network: Arc::new(network),
            files: self.files(&world),
            // One thread for everything: what production puts on threads of their own shares this one.
            spawner: spawner.clone(),
            mesh_spawner: spawner.clone(),
        };
        let redis = self.redis(&env, &world).await?;
        let (catalogue, queue): (Arc<dyn CatalogueStore>, Arc<dyn TaskQueue>) = match &redis {
            None => (store.clone(), store.clone()),
            Some(queue) => (Arc::new(FencedCatalogue::new(store.clone(), queue.clone())), queue.clone()),
        };
        let parts = Parts {
            store: catalogue,
            seeds: store,
            queue,
            functions: Arc::new(functions),
            // Nodes of the simulation are asked to stop only when they have started.
            stopping: Default::default(),
            mesh: MeshParts { dialect: self.kin.dialect(), ..world.guards.mesh() },
        };
        let secret = MeshSecret::parse(SECRET)?;
        let keys = ApiKeys::parse(&format!("users:{API_KEY}"));
        let keys = keys.map_err(|(_, reason)| reason)?;
        let settings = self.settings(host)?;
        let data_dir = DataDir::take(&*env.files, &*env.clock, &settings.node.data_dir)?;
        let node = Node::start(env, &settings, data_dir, &secret, Some(keys), parts).await?;
        let views = node.mesh().watch();
        let generation = views.borrow().myself().generation.0;
        world.history.record(Event::NodeReady { node: self.name.clone(), life, generation });
        *self.seen.lock() = Some(Seen { views, told: None, mesh: Arc::downgrade(node.mesh()) });
        let talking = async {
            match self.kin {
                Kin::Later => kin::talk_as_later(&node, &self.name, &world).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (taken, why) = node.identity_taken() => Ok(match taken {
                Taken::Elsewhere | Taken::Twin { .. } => Ended::IdentityTaken(why),
                Taken::Outdated { .. } => Ended::Outdated(why),
            }),
            () = talking => unreachable!("it has always something to say"),
            () = process.asked.notified() => {
                spawner.stop();
                node.stop(STOP_WITHIN).await;
                if let Some(queue) = redis {
                    queue.close().await;
                }
                process.has_left.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
        }
    }

    /// The queue in Redis, when this world has one; waits for it.
    async fn redis(
        &self,
        env: &Env,
        world: &World,
    ) -> Result<Option<Arc<RedisQueue>>, Box<dyn std::error::Error>> {
        let Some(hosts) = world.redis.as_ref().filter(|_| self.kin.shares_the_store()) else {
            return Ok(None);
        };
        let (url, durability) = match world.queue {
            Queue::Replicated(durability) => {
                let sentinel = turmoil::lookup(SENTINEL);
                (format!("redis+sentinel://{sentinel}:{SENTINEL_PORT}/{MASTER}"), durability)
            }
            _ => (format!("redis://{}:{PORT}", turmoil::lookup(hosts.names()[0].as_str())), Durability::Fast),
        };
        let settings = RedisSettings {
            url: url.parse()?,
            mesh: self.kin.mesh().to_owned(),
            store_id: STORE_ID.to_owned(),
            durability,
            replicas: 1,
            keep_tasks: KEEP,
            max_kept_tasks: u32::MAX,
            keep_ticks: KEEP,
        };
        Ok(Some(Arc::new(RedisQueue::open(env, settings).await?)))
    }

    /// How wrong the wall clock is in one life: a machine that starts again may find its clock set back by
    /// up to an hour. Then the generation that it wrote before is all that keeps it from beginning an old
    /// one again.
    fn skew_ms(&self, life: u64) -> i64 {
        if let Some((_, Some(skew))) = *self.copied.lock() {
            return skew;
        }
        let mut dice = StdRng::seed_from_u64(self.seed ^ (self.index as u64) << 48 ^ life << 56);
        match dice.random_range(0..3) {
            0 if life > 1 => dice.random_range(-LARGEST_STEP_BACK_MS..0),
            _ => self.usual_skew_ms,
        }
    }

    fn files(&self, world: &World) -> Arc<dyn Files> {
        let disk = self.disk.clone();
        match world.guards {
            guards if !guards.has(Guard::GenerationPersisted) => Arc::new(Forgetful::after(disk, 0)),
            guards if !guards.has(Guard::GenerationOutgrown) => Arc::new(Forgetful::after(disk, 1)),
            _ => Arc::new(disk),
        }
    }

    fn settings(&self, host: IpAddr) -> Result<Settings, Box<dyn std::error::Error>> {
        let mut settings = Settings::new(self.id().parse()?, data_dir(&self.id()));
        settings.mesh.name = self.kin.mesh().parse()?;
        settings.listen.http = SocketAddr::from(([0, 0, 0, 0], HTTP_PORT));
        let port = MESH_PORT + self.moves.load(Ordering::Relaxed);
        settings.listen.mesh = SocketAddr::from(([0, 0, 0, 0], port));
        settings.listen.advertise = Some(SocketAddr::new(host, port));
        settings.queue.max_lost_leases = MAX_LOST_LEASES;
        Ok(settings)
    }

    /// The id of the node that runs here.
    #[must_use]
    pub fn id(&self) -> String {
        self.copied.lock().as_ref().map_or_else(|| self.name.clone(), |(of, _)| of.clone())
    }

    /// Makes this machine a copy of the other one, so that its process begins such a life of the same node.
    pub fn become_copy(&self, of: &Self, twin: Twin) {
        let id = of.id();
        let generation = data_dir(&id).join("generation");
        self.disk.copy(&of.disk);
        let skew = match twin {
            Twin::Later => None,
            Twin::Earlier => {
                self.disk.forge(&generation, None);
                Some(CLOCK_OF_A_COPY_MS)
            }
            Twin::Same => {
                let lives = self.disk.look(&generation).and_then(|bytes| String::from_utf8(bytes).ok());
                let lives: Option<u64> = lives.and_then(|text| text.trim().parse().ok());
                let before = lives.map(|generation| (generation - 1).to_string().into_bytes());
                self.disk.forge(&generation, before);
                Some(CLOCK_OF_A_COPY_MS)
            }
        };
        *self.copied.lock() = Some((id, skew));
    }

    /// The process has ended: nobody can ask it what it believes, and nothing that was done to it is done
    /// to the next one.
    pub fn died(&self) {
        *self.seen.lock() = None;
        *self.process.lock() = Process::default();
    }

    /// Whether the process has said that it is ready, and has not ended since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.seen.lock().is_some()
    }

    /// What stops the process and lets it go on.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.process.lock().gate.clone()
    }

    /// Asks the process to stop.
    pub fn ask_to_leave(&self) {
        self.process.lock().asked.notify_one();
    }

    /// From its next start on it has another address.
    pub fn change_address(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Why the process has ended by itself, if it has; told once.
    #[must_use]
    pub fn take_ended(&self) -> Option<Ended> {
        self.process.lock().ended.lock().take()
    }

    /// Whether it has stopped as asked.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.process.lock().has_left.load(Ordering::Relaxed)
    }

    /// Whom the node holds for the Beat; `None` also while it is not up.
    #[must_use]
    pub fn beat(&self) -> Option<String> {
        let seen = self.seen.lock();
        let view = seen.as_ref()?.views.borrow().clone();
        beat_ranks(&view).first().map(ToString::to_string)
    }

    /// Writes into the history what the process has refused, before it ends.
    pub fn tell_refusals(&self, world: &World) {
        let mesh = self.seen.lock().as_ref().and_then(|seen| seen.mesh.upgrade());
        let refusals = mesh.map(|mesh| mesh.counters().refusals).unwrap_or_default();
        for (topic, count) in refusals.into_iter().filter(|(_, count)| *count > 0) {
            world.history.record(Event::Refused { node: self.name.clone(), topic, count });
        }
    }

    /// Writes into the history what has changed in the node's view.
    pub fn observe(&self, world: &World) {
        let mut seen = self.seen.lock();
        let Some(seen) = seen.as_mut() else { return };
        if seen.told.is_some() && !seen.views.has_changed().unwrap_or(false) {
            return;
        }
        let view = seen.views.borrow_and_update().clone();
        let before = seen.told.replace(view.clone());
        let observer = || self.name.clone();
        for member in view.members.values() {
            let known = before.as_ref().and_then(|before| before.members.get(&member.id));
            let standing = (member.generation, member.liveness);
            if known.is_none_or(|known| (known.generation, known.liveness) != standing) {
                world.history.record(Event::MemberSeen {
                    observer: observer(),
                    life: self.lives.load(Ordering::Relaxed),
                    member: member.id.to_string(),
                    generation: member.generation.0,
                    liveness: member.liveness.as_str(),
                });
            }
            let value = member.facts.get(LATER_FACT);
            if let Some(value) =
                value.filter(|_| known.and_then(|known| known.facts.get(LATER_FACT)) != value)
                && let Ok(value) = value.parse()
            {
                let (observer, member) = (observer(), member.id.to_string());
                world.history.record(Event::FactSeen { observer, member, value });
            }
        }
        if before.as_ref().is_none_or(|before| before.ring.members() != view.ring.members()) {
            world.history.record(Event::RingSeen {
                observer: observer(),
                life: self.lives.load(Ordering::Relaxed),
                members: view.ring.members().iter().map(|(id, _)| id.to_string()).collect(),
            });
        }
        let beat = |view: &View| beat_ranks(view).first().map(ToString::to_string);
        if before.as_ref().is_none_or(|before| beat(before) != beat(&view)) {
            world.history.record(Event::BeatSeen { observer: observer(), beat: beat(&view) });
        }
    }
}
