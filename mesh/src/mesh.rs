//! The facade: join a mesh, see its members, talk to them, leave.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretSlice;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::env::{Env, OnExit};
use crate::gossip::Gossip;
use crate::id::{Generation, Incarnation, MeshName, NodeId, ProcessId};
use crate::identity::Taken;
use crate::member::{Facts, Liveness, Member};
use crate::roster::{Roster, RosterAction, RosterEvent, TICK, View};
use crate::transport::channel::{Channel, ChannelError};
use crate::transport::hello::{Demands, LinkError};
use crate::transport::tls::{self, TlsError};
use crate::transport::{Deliveries, Identity, Inbox, LinkEvent, Transport};
use crate::wire::message::{FactsUpdate, Refusal, kind};
use crate::wire::{self, to_payload};

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
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The UDP address cannot be bound.
    #[error("the mesh address {addr} (UDP) cannot be used: {reason}")]
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

/// Messages for the task that owns the roster.
enum Command {
    SetFacts(BTreeMap<String, String>),
}

/// A node's part in a mesh.
pub struct Mesh {
    transport: Arc<Transport>,
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<Command>,
    /// Keeps facts complete between commands.
    facts: Mutex<BTreeMap<String, String>>,
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
    /// under this node's id. If so, [`Mesh::identity_taken`] resolves as well.
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
        let all = {
            let mut facts = self.facts.lock();
            facts.extend(changes.into_iter().map(|(key, value)| (key.to_owned(), value)));
            facts.clone()
        };
        // An error means that the mesh has stopped: nobody is left to hear it.
        let _ = self.commands.send(Command::SetFacts(all)).await;
    }

    /// Opens a channel to a service of another member.
    ///
    /// # Errors
    /// [`ChannelError::Lost`] when there is no link; nothing has reached the member then.
    pub async fn open(&self, node: &NodeId, service: u16, header: &[u8]) -> Result<Channel, ChannelError> {
        self.transport.open(node, service, header).await
    }

    /// Sends a short message to one member. Never waits; may be lost.
    pub fn notify(&self, node: &NodeId, notice: &[u8]) {
        if let Some(member) = self.view.borrow().members.get(node) {
            self.transport.send_to(member.addr, wire::encode(kind::NOTICE, notice));
        }
    }

    /// Sends a short message to all linked members. Never waits; may be lost.
    pub fn notify_all(&self, notice: &[u8]) {
        self.transport.broadcast(&wire::encode(kind::NOTICE, notice));
    }

    /// Round-trip time of the link to a member.
    #[must_use]
    pub fn round_trip(&self, node: &NodeId) -> Option<Duration> {
        self.transport.links.lock().to(node).map(|link| link.connection.rtt())
    }

    /// Messages dropped because a peer was slower than its news.
    #[must_use]
    pub fn dropped_messages(&self) -> u64 {
        self.transport.outboxes.dropped()
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
    let demands =
        Demands { mesh: config.mesh.clone(), store: config.store, node: config.node.clone(), process };
    let (events_in, events) = mpsc::channel(EVENTS);
    let (gossip_in, gossip_out) = mpsc::channel(EVENTS);
    let deliveries = Deliveries { events: events_in, gossip: gossip_in, inbox };
    let transport = Transport::start(env, socket, credentials, identity.clone(), demands, deliveries)
        .map_err(|error| JoinError::Start(error.to_string()))?;

    let facts = Facts { version: 1, entries: config.facts.clone() };
    transport.set_facts(facts.clone());
    let gossip = Gossip::start(&config.mesh, &identity, transport.clone(), gossip_out)
        .await
        .map_err(JoinError::Start)?;
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
    };
    let roster = Roster::new(env.clock.now(), myself);
    let (publish, view) = watch::channel(Arc::new(roster.view()));
    let (commands, commanded) = mpsc::channel(16);
    let keeper = Keeper { env: env.clone(), transport: transport.clone(), gossip, roster, publish };
    env.mesh_spawner.spawn("mesh roster", OnExit::StopNode, Box::pin(keeper.run(events, commanded)));
    Ok(Mesh { transport, view, commands, facts: Mutex::new(config.facts), advertise })
}

/// Owns the roster: the one writer of the member table.
struct Keeper {
    env: Env,
    transport: Arc<Transport>,
    gossip: Gossip,
    roster: Roster,
    publish: watch::Sender<Arc<View>>,
}

impl Keeper {
    async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>, mut commands: mpsc::Receiver<Command>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gossip_ended = std::pin::pin!(self.gossip.ended());
        let closing = self.transport.closing.clone();
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                Some(event) = events.recv() => self.on_link_event(event),
                heard = self.gossip.changed() => self.on_event(RosterEvent::GossipHeard(heard)),
                Some(command) = commands.recv() => self.on_command(command).await,
                _ = tick.tick() => {
                    let linked = self.transport.links.lock().lives();
                    self.on_event(RosterEvent::TimePassed { linked });
                }
                reason = &mut gossip_ended => {
                    tracing::error!(reason, "gossip has stopped");
                    return;
                }
            }
        }
        self.gossip.stop();
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(hello) => self.on_event(RosterEvent::LinkUp {
                node: hello.node,
                generation: hello.generation,
                process: hello.process,
                addr: hello.advertise,
                facts: hello.facts,
            }),
            LinkEvent::Down { node, generation, goodbye } => {
                self.on_event(RosterEvent::LinkDown { node, generation, goodbye });
            }
            LinkEvent::Facts { node, generation, facts } => {
                self.on_event(RosterEvent::FactsStated { node, generation, facts });
            }
            LinkEvent::IdentityClaimed { by } => {
                tracing::error!(peer = %by, "another process claims this node's id and was refused: two nodes must not share a name");
            }
        }
    }

    fn on_event(&mut self, event: RosterEvent) {
        let mut actions = Vec::new();
        self.roster.on_event(self.env.clock.now(), self.env.clock.wall(), event, &mut actions);
        for action in actions {
            match action {
                RosterAction::Connect(addr) => self.transport.connect(addr),
                RosterAction::Introduce(addr) => self.gossip.introduce(addr),
                RosterAction::Announce(member) => announce(&member),
                RosterAction::Publish => {
                    self.publish.send_replace(Arc::new(self.roster.view()));
                }
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        let Command::SetFacts(entries) = command;
        let view = self.roster.view();
        let myself = view.myself();
        let facts = Facts { version: myself.facts.version + 1, entries };
        self.transport.set_facts(facts.clone());
        let update = FactsUpdate { generation: myself.generation, facts: facts.clone() };
        self.transport.broadcast(&wire::encode(kind::FACTS, &to_payload(&update)));
        self.gossip.state(&facts).await;
        self.on_event(RosterEvent::OwnFacts(facts));
    }
}

fn announce(member: &Member) {
    let (node, generation) = (&member.id, member.generation);
    match member.liveness {
        Liveness::Alive => {
            tracing::info!(member = %node, %generation, addr = %member.addr, "member is alive")
        }
        Liveness::Suspect => tracing::warn!(member = %node, %generation, "member does not answer"),
        Liveness::Dead => tracing::warn!(member = %node, %generation, "member is dead"),
        Liveness::Left => tracing::info!(member = %node, %generation, "member has left"),
    }
}
