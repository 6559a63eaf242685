//! The only place where the parts of a node meet.
//!
//! [`Node::start`] takes the seams and the stores as they are handed in; production ([`crate::run`]) and
//! the simulator differ in nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::{Env, OnExit};
use beatmesh_mesh::id::{Generation, MeshName, NodeId};
use beatmesh_mesh::identity::Taken;
use beatmesh_mesh::member::fact;
use beatmesh_mesh::seeds::SeedList;
use beatmesh_mesh::{JoinError, Mesh, MeshConfig, MeshParts};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::beat::driver::{BeatParts, drive};
use crate::beat::tally::BeatTally;
use crate::catalogue::cache::CatalogueCache;
use crate::config::{ApiKeys, MeshSecret, Role, Settings, digest};
use crate::data_dir::{DataDir, DataDirError};
use crate::differences;
use crate::discovery::Discovery;
use crate::gateway::server::{ConnectionLimits, serve};
use crate::gateway::waiters::Waiters;
use crate::gateway::{BodyBudget, Gateway, Kept, Metrics, events};
use crate::hints::Hints;
use crate::inbox::NodeInbox;
use crate::load;
use crate::queue::counted::{Counted, QueueTally};
use crate::queue::{Claimant, TaskQueue, suspect_from};
use crate::reclaim::{ReclaimerParts, reclaim};
use crate::roles;
use crate::router::Router;
use crate::router::rings::OtherRings;
use crate::scanner::{ScannerParts, scan};
use crate::store::CatalogueStore;
use crate::sweeper::{SweeperParts, sweep};
use crate::worker::Worker;
use crate::worker::runtime::Functions;
use crate::worker::supervisor::Supervisor;
use crate::worker::tasks::{TaskRunner, TaskRunnerParts};

/// What stands behind the seams that production and simulation fill differently.
pub struct Parts {
    /// Definitions.
    pub store: Arc<dyn CatalogueStore>,
    /// The node table.
    pub seeds: Arc<dyn SeedList>,
    /// Tasks and ticks.
    pub queue: Arc<dyn TaskQueue>,
    /// Runs functions.
    pub functions: Arc<dyn Functions>,
    /// Cancelled when the node is told to stop, be it while it still starts.
    pub stopping: CancellationToken,
    /// All of the mesh's guards, but in tests.
    pub mesh: MeshParts,
}

/// For the goodbye to get out. It is on its way at once; the rest is courtesy to peers that are slow.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// Between two looks at a store that cannot be read at the start.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// For the node's row to go. A store that is slow just now must not hold up the end: a row that stays is
/// only a hint that leads nowhere.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(1);

/// Why a node does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name does not fit where names stand in certificates.
    #[error("node.name: {0}")]
    Name(#[from] beatmesh_mesh::id::LabelError),
    /// The data directory cannot be used.
    #[error("node.data_dir: {0}")]
    DataDir(#[from] DataDirError),
    /// The HTTP address cannot be bound.
    #[error(
        "listen.http: {addr} cannot be used: {reason}; is another program there? Choose another with --http"
    )]
    Http {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system says.
        reason: std::io::Error,
    },
    /// The mesh did not start.
    #[error("{0}")]
    Mesh(#[from] JoinError),
    /// The database cannot be used.
    #[error("seeds.database: {0}")]
    Store(String),
    /// The queue's store cannot be used.
    #[error("queue.url: {0}")]
    Queue(String),
    /// A file of the configuration cannot be used.
    #[error("{0}")]
    Security(String),
    /// The operating system refuses what every node needs.
    #[error("the node cannot start: {0}")]
    System(String),
    /// It was told to stop before it had started. It has said goodbye to whoever knew of it.
    #[error("the node was told to stop while it started")]
    Asked,
    /// It ran, and had to stop.
    #[error("the node had to stop: {0}")]
    Stopped(String),
}

impl StartError {
    /// Whether what the user has configured is at fault, and not what the machine or the mesh did.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Security(_) | Self::Mesh(JoinError::Advertise(_)))
    }
}

/// A running node.
pub struct Node {
    env: Env,
    mesh: Arc<Mesh>,
    seeds: Arc<dyn SeedList>,
    id: NodeId,
    generation: Generation,
    http: SocketAddr,
    ready: Arc<AtomicBool>,
    worker: Option<Arc<Worker>>,
    tasks: Option<Arc<TaskRunner>>,
    /// Stops the Beat and discovery, and tells the router that this node leaves.
    stop_driving: CancellationToken,
    /// Stops taking HTTP connections.
    stop_serving: CancellationToken,
    connections: TaskTracker,
    /// Calls of other nodes that run here.
    remote_calls: TaskTracker,
    /// Kept from other nodes as long as this one runs.
    data_dir: DataDir,
}

impl Node {
    /// Starts all parts and lets the node into the ring.
    ///
    /// # Errors
    /// [`StartError`] names the setting at fault.
    pub async fn start(
        env: Env,
        settings: &Settings,
        data_dir: DataDir,
        secret: &MeshSecret,
        api_keys: Option<ApiKeys>,
        mut parts: Parts,
    ) -> Result<Self, StartError> {
        let (tally, beat_tally) = (Arc::new(QueueTally::default()), Arc::new(BeatTally::default()));
        parts.queue = Arc::new(Counted::new(parts.queue, tally.clone(), env.clock.clone()));
        let id: NodeId = settings.node.name.as_str().parse()?;
        let mesh_name: MeshName = settings.mesh.name.as_str().parse()?;
        let generation = data_dir.generation();
        let asked = settings.listen.http;
        let listener =
            env.network.listen(asked).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (http, listener) = listener.map_err(|reason| StartError::Http { addr: asked, reason })?;

        let has = |role| settings.node.roles.has(role);
        let catalogue = Arc::new(CatalogueCache::new(parts.store.clone()));
        let worker = has(Role::Worker).then(|| {
            let (slots, limit) = (settings.node.slots, settings.limits.output.0);
            Arc::new(Worker::new(id.as_str(), parts.functions.clone(), catalogue.clone(), slots, limit))
        });
        let (waiters, bell) = (Arc::new(Waiters::default()), Arc::new(Notify::new()));
        let remote_calls = TaskTracker::new();
        let rings = Arc::new(OtherRings::new(env.clock.clone()));
        let inbox = Arc::new(NodeInbox {
            spawner: env.spawner.clone(),
            worker: worker.clone(),
            input_limit: settings.limits.input.0,
            waiters: waiters.clone(),
            bell: bell.clone(),
            catalogue: catalogue.clone(),
            rings: rings.clone(),
            calls: remote_calls.clone(),
        });
        let mesh_config = mesh_config(settings, &mesh_name, &id, generation, http, &parts, secret);
        let mesh = Arc::new(Mesh::join(&env, mesh_config, inbox).await?);
        rings.compare_with(&mesh);
        let hints = Hints::new(mesh.clone(), env.clock.clone(), bell.clone(), waiters.clone());
        let hints = Arc::new(hints);
        // A node that does not know what there is to run must not be given anything to run.
        let reading = parts.stopping.run_until_cancelled(async {
            while let Err(error) = catalogue.refresh().await {
                tracing::warn!(%error, "the catalogue cannot be read yet; the node waits for it");
                tokio::time::sleep(READ_AGAIN).await;
            }
        });
        if reading.await.is_none() {
            mesh.leave(GOODBYE_WITHIN).await;
            return Err(StartError::Asked);
        }

        let node = Self {
            mesh: mesh.clone(),
            seeds: parts.seeds.clone(),
            id: id.clone(),
            generation,
            http,
            ready: Arc::default(),
            worker: worker.clone(),
            tasks: worker.clone().map(|worker| task_runner(&env, settings, &parts, worker, &hints, &bell)),
            stop_driving: CancellationToken::new(),
            stop_serving: CancellationToken::new(),
            connections: TaskTracker::new(),
            remote_calls,
            data_dir,
            env,
        };
        node.spawn_loops(settings, &parts, &catalogue, &hints, &bell, &beat_tally);
        let gateway = Arc::new(Gateway {
            env: node.env.clone(),
            mesh_name,
            me: id,
            mesh: mesh.clone(),
            catalogue: catalogue.clone(),
            store: parts.store,
            queue: parts.queue,
            calls: Router::new(node.env.clone(), mesh, catalogue, worker, node.stop_driving.clone()),
            worker: node.worker.clone(),
            waiters,
            hints,
            bodies: BodyBudget::new(usize::try_from(settings.limits.input.0).unwrap_or(usize::MAX)),
            streams: events::places(settings.limits.connections as usize),
            metrics: Metrics::new(node.mesh.clone(), rings, tally, beat_tally),
            longest_wait: settings.limits.wait.0,
            kept: Kept { tasks: settings.queue.keep_tasks, most: settings.queue.max_kept_tasks },
            api_keys,
            ready: node.ready.clone(),
            stop: node.stop_serving.clone(),
        });
        let limits = ConnectionLimits {
            connections: settings.limits.connections as usize,
            headers: usize::try_from(settings.limits.headers.0).unwrap_or(usize::MAX),
            header_timeout: settings.limits.header_timeout.0,
            idle_timeout: settings.limits.idle_timeout.0,
        };
        // First in the ring, then open to clients: whoever asks finds a worker.
        node.mesh.set_facts([(fact::READY, "1".to_owned())]).await;
        node.in_ring().await;
        let (stop, open) = (node.stop_serving.clone(), node.connections.clone());
        let serving = serve(node.env.clone(), listener, gateway.routes(), limits, stop, open);
        node.env.spawner.spawn("http", OnExit::StopNode, Box::pin(serving));
        node.ready.store(true, Ordering::Relaxed);
        tracing::info!(node = %node.id, %generation, http = %node.http, mesh = %node.mesh.advertise(), "node is ready");
        Ok(node)
    }

    fn spawn_loops(
        &self,
        settings: &Settings,
        parts: &Parts,
        catalogue: &Arc<CatalogueCache>,
        hints: &Arc<Hints>,
        bell: &Arc<Notify>,
        tally: &Arc<BeatTally>,
    ) {
        let spawn = |name, task| self.env.spawner.spawn(name, OnExit::StopNode, task);
        let until_stop = |task: beatmesh_mesh::env::Task| -> beatmesh_mesh::env::Task {
            let stop = self.stop_driving.clone();
            Box::pin(async move {
                stop.run_until_cancelled(task).await;
            })
        };
        spawn("catalogue", until_stop(Box::pin(catalogue.clone().follow())));
        // Not only until the node stops: tasks end until then, and are waited for elsewhere.
        spawn("hints", Box::pin(hints.clone().tell()));
        let discovery = Discovery {
            env: self.env.clone(),
            mesh: self.mesh.clone(),
            seeds: parts.seeds.clone(),
            peers: settings.seeds.peers.iter().map(|peer| peer.as_str().to_owned()).collect(),
            generation: self.generation,
        };
        spawn("discovery", until_stop(Box::pin(discovery.run(self.stop_driving.clone()))));
        spawn("differences", until_stop(Box::pin(differences::watch(self.mesh.clone()))));
        let sweeping = SweeperParts {
            env: self.env.clone(),
            mesh: self.mesh.clone(),
            queue: parts.queue.clone(),
            seeds: parts.seeds.clone(),
            bell: bell.clone(),
            most_lost: settings.queue.max_lost_leases,
        };
        spawn("sweeper", until_stop(Box::pin(sweep(sweeping))));
        let scanning = ScannerParts {
            env: self.env.clone(),
            mesh: self.mesh.clone(),
            queue: parts.queue.clone(),
            bell: bell.clone(),
        };
        spawn("scanner", until_stop(Box::pin(scan(scanning))));
        let reclaiming = ReclaimerParts {
            env: self.env.clone(),
            mesh: self.mesh.clone(),
            queue: parts.queue.clone(),
            bell: bell.clone(),
            lease: settings.queue.lease.0,
            most_lost: settings.queue.max_lost_leases,
        };
        spawn("reclaimer", until_stop(Box::pin(reclaim(reclaiming))));
        if settings.node.roles.has(Role::Beat) {
            let beat = BeatParts {
                env: self.env.clone(),
                mesh: self.mesh.clone(),
                catalogue: catalogue.clone(),
                store: parts.store.clone(),
                queue: parts.queue.clone(),
                hints: hints.clone(),
                tally: tally.clone(),
                standby_delay: settings.beat.standby_delay.0,
                stop: self.stop_driving.clone(),
            };
            spawn("beat", until_stop(Box::pin(drive(beat))));
        }
        if let Some(worker) = &self.worker {
            spawn("load", until_stop(Box::pin(load::tell(self.mesh.clone(), worker.clone()))));
        }
        if let Some(tasks) = &self.tasks {
            self.env.spawner.spawn(
                "task leases",
                OnExit::StopNode,
                Box::pin(tasks.supervisor.clone().renew_all()),
            );
            self.env.spawner.spawn("task claims", OnExit::StopNode, Box::pin(tasks.clone().run()));
        }
    }

    /// Waits until this node sees itself in the ring, or learns that it will not.
    async fn in_ring(&self) {
        let mut views = self.mesh.watch();
        tokio::select! {
            // An error means that the mesh has stopped, which stops the node.
            _ = views.wait_for(|view| view.ring.contains(&view.me)) => {}
            // Whoever started it looks at that next.
            _ = self.mesh.identity_taken() => {}
        }
    }

    /// Where it takes HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its part in the mesh.
    #[must_use]
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Resolves when another process has this node's identity, with what to tell people. The next start on
    /// this data directory begins a generation beyond any that was seen.
    pub async fn identity_taken(&self) -> (Taken, String) {
        let name = &self.id;
        let taken = self.mesh.identity_taken().await;
        let why = match taken {
            Taken::Elsewhere => format!(
                "another process runs under the name `{name}` in this mesh; give each node a name of its own (--name)"
            ),
            Taken::Twin { process } => format!(
                "process {process} is a member under the name `{name}` with the same generation as this one ({}): a copy of this data directory runs, or the name was restarted while the disk had lost its last write and the clock was set back; stop the copy or give it a name of its own (--name), and start this node again, which begins a later generation",
                self.generation
            ),
            Taken::Outdated { later } => {
                let kept = self.data_dir.outgrow(&*self.env.files, later);
                let next = kept.map_or_else(
                    |error| format!("it cannot be kept for the next start: {error}"),
                    |()| "it is kept, so a restart joins unless that process still runs".to_owned(),
                );
                format!(
                    "generation {later} of `{name}` was seen in the mesh, which is later than this one ({}): another process runs under this name, or the data directory has lost its last write while the clock was set back; {next}",
                    self.generation
                )
            }
        };
        (taken, why)
    }

    /// Stops in stages: out of the ring, no new work, running work to its end, goodbye. `budget` is for
    /// the running work; the other stages take milliseconds. From here on the node's tasks end: tell the
    /// spawners before.
    pub async fn stop(self, budget: Duration) {
        tracing::info!(node = %self.id, "node is leaving");
        self.ready.store(false, Ordering::Relaxed);
        self.stop_driving.cancel();
        self.mesh.set_facts([(fact::READY, "0".to_owned())]).await;
        if let Some(worker) = &self.worker {
            worker.stop_taking();
        }
        self.stop_serving.cancel();
        self.connections.close();
        let finishing_tasks = async {
            if let Some(tasks) = &self.tasks {
                tasks.finish(budget).await;
            }
        };
        self.remote_calls.close();
        let finishing_calls = async {
            self.connections.wait().await;
            self.remote_calls.wait().await;
        };
        let (_, finished) = tokio::join!(finishing_tasks, tokio::time::timeout(budget, finishing_calls));
        if finished.is_err() {
            let (connections, calls) = (self.connections.len(), self.remote_calls.len());
            tracing::warn!(
                connections,
                calls,
                "requests still run at the end of the budget; breaking them off"
            );
        }
        let withdrawing = self.seeds.withdraw(&self.id, self.generation);
        let withdrawn = tokio::time::timeout(WITHDRAW_WITHIN, withdrawing).await;
        if !matches!(withdrawn, Ok(Ok(()))) {
            tracing::warn!("this node's row stays in the node table; it will be ignored and pruned");
        }
        self.mesh.leave(GOODBYE_WITHIN).await;
    }
}

fn mesh_config(
    settings: &Settings,
    mesh: &MeshName,
    node: &NodeId,
    generation: Generation,
    http: SocketAddr,
    parts: &Parts,
    secret: &MeshSecret,
) -> MeshConfig {
    let roles: Vec<_> = settings.node.roles.iter().map(Role::as_str).collect();
    let pools: Vec<_> = settings.node.pools.iter().map(ToString::to_string).collect();
    let zone = settings.node.zone.as_ref().map(|zone| zone.as_str());
    MeshConfig {
        mesh: mesh.clone(),
        store: parts.store.id().to_owned(),
        node: node.clone(),
        generation,
        bind: settings.listen.mesh,
        advertise: settings.listen.advertise,
        secret: secret.expose().to_vec().into(),
        facts: roles::first_facts(&roles, &pools, zone, reachable(http, settings), &digest(settings)),
        pace: settings.mesh.pace.pace(),
        parts: parts.mesh,
    }
}

/// The HTTP address for others: one that is bound on every interface is found where the mesh is.
fn reachable(http: SocketAddr, settings: &Settings) -> SocketAddr {
    if http.ip().is_unspecified() {
        let mesh = settings.listen.advertise.unwrap_or(settings.listen.mesh);
        return SocketAddr::new(mesh.ip(), http.port());
    }
    http
}

fn task_runner(
    env: &Env,
    settings: &Settings,
    parts: &Parts,
    worker: Arc<Worker>,
    hints: &Arc<Hints>,
    bell: &Arc<Notify>,
) -> Arc<TaskRunner> {
    let supervisor = Supervisor::new(parts.queue.clone(), env.clock.clone(), settings.queue.lease.0);
    TaskRunner::new(TaskRunnerParts {
        env: env.clone(),
        worker,
        queue: parts.queue.clone(),
        supervisor: Arc::new(supervisor),
        // From all queues: whatever is accepted into one is run.
        claimant: Claimant {
            suspect_from: suspect_from(settings.queue.max_lost_leases),
            ..Claimant::new(settings.node.name.as_str())
        },
        input_limit: settings.limits.input.0,
        result_limit: settings.queue.result_limit.0,
        ends: hints.clone(),
        bell: bell.clone(),
    })
}
