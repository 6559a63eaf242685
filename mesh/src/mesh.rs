//! The facade: join a mesh, see its members, talk to them, leave.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretSlice;
use tokio::sync::{mpsc, oneshot, watch};

use crate::alone::Alone;
use crate::counters::{Counters, Pulse};
use crate::detector::pace::Pace;
use crate::detector::{Detector, Myself, Parts};
use crate::env::{Env, OnExit};
use crate::gossip::Gossip;
use crate::id::{Generation, Incarnation, MeshName, NodeId, ProcessId};
use crate::identity::Taken;
use crate::keeper::{Command, Keeper};
use crate::lost::Lost;
use crate::member::{Facts, Liveness, Member};
use crate::roster::{Roster, View};
use crate::transport::channel::{Channel, ChannelError};
use crate::transport::hello::{Demands, LinkError};
use crate::transport::tls::{self, TlsError};
use crate::transport::{Deliveries, Identity, Inbox, Transport, silence, twins};
use crate::wire;
use crate::wire::dialect::Dialect;
use crate::wire::message::{Refusal, kind};

/// Who joins which mesh.
pub struct MeshConfig {
    /// The mesh; nodes of another one are refused.
    pub mesh: MeshName,
    /// The common store's id; nodes with another one are refused.
    pub store: String,
    /// This node.
    pub node: NodeId,
    /// Which life of it; see [`crate::identity`].
    pub generation: Generation,
    /// Where QUIC is taken.
    pub bind: SocketAddr,
    /// Where others find it; the bound address when `None`.
    pub advertise: Option<SocketAddr>,
    /// Shared by all nodes of the mesh, at least [`tls::SHORTEST_SECRET`] bytes.
    pub secret: SecretSlice<u8>,
    /// What this node says about itself from the start.
    pub facts: BTreeMap<String, String>,
    /// How fast failures are found; the same on every node.
    pub pace: Pace,
    /// All of them, but in tests.
    pub parts: MeshParts,
}

/// Parts of the mesh that a test can switch off, to see that they are missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshParts {
    /// Those of the detector.
    pub detector: Parts,
    /// When more than half of the ring looks dead at once, or nobody answers, the ring is kept for a while.
    pub mass_death_guard: bool,
    /// Whoever is of another mesh is refused, wherever its address stood.
    pub seed_identity: bool,
    /// And whoever has another store: two stores would fire everything twice.
    pub store_identity: bool,
    /// What members say of themselves is kept also when this node does not know what it means.
    pub later_facts: bool,
    /// Of two processes of one id and generation only one is let in.
    pub twin_refused: bool,
    /// How this node talks.
    pub dialect: Dialect,
}

impl Default for MeshParts {
    fn default() -> Self {
        let (detector, dialect) = (Parts::default(), Dialect::default());
        Self {
            detector,
            mass_death_guard: true,
            seed_identity: true,
            store_identity: true,
            later_facts: true,
            twin_refused: true,
            dialect,
        }
    }
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The UDP address cannot be bound.
    #[error(
        "the mesh address {addr} (UDP) cannot be used: {reason}; choose another with --mesh (listen.mesh)"
    )]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system says.
        reason: io::Error,
    },
    /// The advertised address would reach nobody.
    #[error("{0} cannot be advertised to other nodes: give a real address and port with --advertise")]
    Advertise(SocketAddr),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The endpoint or gossip did not start.
    #[error("the mesh could not start: {0}")]
    Start(String),
}

/// A node's part in a mesh.
pub struct Mesh {
    transport: Arc<Transport>,
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<Command>,
    /// What the detector told of itself last.
    pulse: Arc<ArcSwap<Pulse>>,
    advertise: SocketAddr,
}

/// Link events and gossip that wait to be taken in. Far more than one tick brings; a full queue slows
/// the links down, never the roster.
const EVENTS: usize = 1_024;

impl Mesh {
    /// Starts QUIC, gossip and the member table. Peers come through [`Mesh::introduce`].
    ///
    /// # Errors
    /// [`JoinError`]; nothing is left running then.
    pub async fn join(env: &Env, config: MeshConfig, inbox: Arc<dyn Inbox>) -> Result<Self, JoinError> {
        let (answer, started) = oneshot::channel();
        let starting = {
            let env = env.clone();
            async move {
                let _ = answer.send(start(&env, config, inbox).await);
            }
        };
        // Everything below is spawned from inside this task, so all of it runs where the mesh runs.
        env.mesh_spawner.spawn("mesh start", OnExit::Fine, Box::pin(starting));
        started.await.unwrap_or_else(|_| Err(JoinError::Start("its thread is gone".to_owned())))
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Follows what is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Where others find this node.
    #[must_use]
    pub fn advertise(&self) -> SocketAddr {
        self.advertise
    }

    /// Tries to link with whoever is at `addr`. Never waits.
    pub fn introduce(&self, addr: SocketAddr) {
        self.transport.connect(addr);
    }

    /// Asks the address where this node's former life was last seen whether another process lives there
    /// under this node's id. If so, [`Mesh::identity_taken`] resolves as well. Dials past the turns of
    /// [`Mesh::introduce`] and of calls: it is asked once, and wants to know what is there now.
    pub async fn challenge(&self, addr: SocketAddr) -> bool {
        if addr == self.advertise {
            return false;
        }
        let answer = self.transport.dial(addr).await;
        let taken = matches!(answer, Err(LinkError::RefusedByPeer(Refusal::SameIdentity(_))));
        if taken {
            self.transport.take_identity(Taken::Elsewhere);
        }
        taken
    }

    /// Resolves when this process is not a member and cannot become one, because its identity is another's.
    pub async fn identity_taken(&self) -> Taken {
        *self.transport.taken.wait().await
    }

    /// Changes facts of this node: directly to all linked members, through gossip to the others.
    pub async fn set_facts(&self, changes: impl IntoIterator<Item = (&str, String)>) {
        if self.transport.taken.get().is_some() {
            // Others would take it for the word of the process that is this node.
            return;
        }
        let changes = changes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        // An error means that the mesh has stopped: nobody is left to hear it.
        let _ = self.commands.send(Command::SetFacts(changes)).await;
    }

    /// Opens a channel to a service of another member, on a new link if there is none.
    ///
    /// # Errors
    /// [`ChannelError::Lost`] when the member cannot be reached; nothing has reached it then.
    pub async fn open(&self, node: &NodeId, service: u16, header: &[u8]) -> Result<Channel, ChannelError> {
        let addr = self.view.borrow().members.get(node).map(|member| member.addr);
        self.transport.open(node, addr, service, header).await
    }

    /// Sends a short message to one member. Never waits; may be lost.
    pub fn notify(&self, node: &NodeId, notice: &[u8]) {
        if let Some(member) = self.view.borrow().members.get(node) {
            self.transport.send_to(member.addr, wire::encode(kind::NOTICE, notice));
        }
    }

    /// Sends a short message to all linked members: all there are in a mesh of up to [`crate::ALL_LINKED`], some
    /// in a larger one. Never waits; may be lost.
    pub fn notify_all(&self, notice: &[u8]) {
        self.transport.broadcast(&wire::encode(kind::NOTICE, notice));
    }

    /// Lets everybody know a value, in a mesh of any size within some hops. Of each topic only the highest
    /// value counts; it comes to the others' [`Inbox::on_news`].
    pub async fn spread(&self, topic: u16, value: u64) {
        // An error means that the mesh has stopped: nobody is left to hear it.
        let _ = self.commands.send(Command::Spread { topic, value }).await;
    }

    /// Round-trip time to a member: of the detector's direct pings, smoothed and a second or two old, or
    /// else as QUIC has it of the link. `None` for who has not been talked to lately.
    #[must_use]
    pub fn round_trip(&self, node: &NodeId) -> Option<Duration> {
        let pinged = self.pulse.load().round_trips.get(node).copied();
        pinged.or_else(|| self.transport.links.lock().to(node).map(|link| link.connection.rtt()))
    }

    /// The numbers of this node's part in the mesh, added up now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let view = self.view();
        let inside = view.members.values().filter(|member| member.liveness.owns_keys());
        let mut round_trips: Vec<_> = inside.filter_map(|member| self.round_trip(&member.id)).collect();
        round_trips.sort_unstable();
        let (links, udp) = {
            let links = self.transport.links.lock();
            (links.all().count() as u64, links.traffic())
        };
        Counters {
            detector: self.pulse.load().tally,
            round_trips,
            outbox_drops: self.transport.outboxes.dropped(),
            refusals: self.transport.refusals.counts(),
            links,
            udp,
        }
    }

    /// Says goodbye to everybody and closes the links, within `budget`.
    pub async fn leave(&self, budget: Duration) {
        self.transport.leave(budget).await;
    }
}

async fn start(env: &Env, config: MeshConfig, inbox: Arc<dyn Inbox>) -> Result<Mesh, JoinError> {
    let bound = env.network.bind_udp(config.bind).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (local, socket) = bound.map_err(|reason| JoinError::Bind { addr: config.bind, reason })?;
    let advertise = config.advertise.unwrap_or(local);
    if advertise.ip().is_unspecified() || advertise.port() == 0 {
        return Err(JoinError::Advertise(advertise));
    }
    let process = ProcessId(env.entropy.u64());
    let credentials = tls::credentials(&config.secret, &config.node, &*env.entropy, env.clock.clone())?;
    let identity = Identity { node: config.node.clone(), generation: config.generation, process, advertise };
    let demands = Demands {
        mesh: config.mesh.clone(),
        store: config.store,
        node: config.node.clone(),
        process,
        version: config.parts.dialect.version(),
        same_mesh: config.parts.seed_identity,
        same_store: config.parts.store_identity,
        one_process: config.parts.twin_refused,
    };
    let (events_in, events) = mpsc::channel(EVENTS);
    let (gossip_in, gossip_out) = mpsc::channel(EVENTS);
    let deliveries = Deliveries { events: events_in, gossip: gossip_in, inbox };
    let dead_within = twins::dead_within(&config.pace);
    let transport =
        Transport::start(env, socket, credentials, identity.clone(), demands, dead_within, deliveries);
    let transport = transport.map_err(|error| JoinError::Start(error.to_string()))?;

    let facts = Facts { version: 1, entries: config.facts };
    transport.set_facts(facts.clone());
    let gossip = Gossip::start(&config.mesh, &identity, transport.clone(), gossip_out).await;
    let gossip = gossip.map_err(|reason| {
        // Else the endpoint would go on to take connections, and keep the address.
        transport.abandon();
        JoinError::Start(reason)
    })?;
    gossip.state(&facts).await;

    let myself = Member {
        id: config.node,
        generation: config.generation,
        process: Some(process),
        incarnation: Incarnation(0),
        liveness: Liveness::Alive,
        since: env.clock.wall(),
        addr: advertise,
        facts,
        suspected_by: Vec::new(),
    };
    let now = env.clock.now();
    let detector = Myself { node: myself.id.clone(), generation: myself.generation, addr: advertise };
    let detector = Detector::new(now, detector, config.pace, config.parts.detector, env.entropy.rng());
    let roster = Roster::new(now, myself, config.parts.mass_death_guard, config.pace.at_once);
    let (publish, view) = watch::channel(Arc::new(roster.view()));
    let (commands, commanded) = mpsc::channel(16);
    let pulse = Arc::<ArcSwap<Pulse>>::default();
    let keeper = Keeper {
        env: env.clone(),
        transport: transport.clone(),
        gossip,
        detector,
        roster,
        publish,
        lost: Lost::default(),
        alone: config.parts.mass_death_guard.then(Alone::default),
        later_facts: config.parts.later_facts,
        dialect: config.parts.dialect,
        pulse: pulse.clone(),
        pulsed: now,
        unpublished: false,
        waited: 0,
    };
    env.mesh_spawner.spawn("mesh membership", OnExit::StopNode, Box::pin(keeper.run(events, commanded)));
    let watching = silence::watch(transport.clone());
    env.mesh_spawner.spawn("mesh silence", OnExit::StopNode, Box::pin(watching));
    Ok(Mesh { transport, view, commands, pulse, advertise })
}
