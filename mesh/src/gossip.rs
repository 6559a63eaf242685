//! Facts, spread by chitchat (scuttlebutt reconciliation, van Renesse et al. 2008) over our own links.
//!
//! The only place that knows chitchat: 0.12 made its codec private (upstream issue 207), so the version
//! is pinned to 0.11.2 until upstream opens it again. chitchat's phi verdict serves as a hint that
//! somebody still hears a member; it decides nothing about ownership.

mod door;
mod ids;
mod rounds;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport as ChitchatTransport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig,
    NodeState, Serializable,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::id::{Generation, MeshName, NodeId};
use crate::member::Facts;
use crate::transport::refusals::Topic;
use crate::transport::{Identity, Transport};
use crate::wire::{self, message::kind};
use ids::Ids;
use rounds::{Introductions, Rounds};

/// Facts reach everybody in about log N rounds. What is urgent does not wait for them: hellos, direct updates
/// and rumours are ahead of gossip, which repairs what those missed. Measured at ten quiet nodes: with one round a
/// second, gossip was half of all packets.
const ROUND: Duration = Duration::from_secs(2);

/// chitchat's threshold for "nobody has heard of it lately": measured without false alarms at 8.
const PHI: f64 = 8.0;

/// Of so many answers of [`Gossip::changed`] one names everybody.
const ALL_NAMED_EVERY: u32 = 4;

/// Somebody by chance, whom gossip may hold for dead, is spoken to each time.
const GREETS_EVERY: Duration = Duration::from_secs(60);

/// Heartbeats remembered per member; chitchat's default of 1,000 costs 11 KB per pair of nodes.
const HEARTBEATS: usize = 50;

/// A node that nobody has heard of is out of the digests after half of this, and forgotten after all of it. It is
/// not a tombstone, which the detector keeps: so short that a mesh whose nodes are all restarted one after the
/// other does not state each of them twice.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The fact that carries [`Facts::version`]. Set last, so that whoever has it has all facts before it.
const VERSION_KEY: &str = "_v";

/// One member as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) addr: SocketAddr,
    pub(crate) facts: Facts,
}

/// The running gossip of this node.
pub(crate) struct Gossip {
    handle: ChitchatHandle,
    live: watch::Receiver<BTreeMap<ChitchatId, NodeState>>,
    shared: Arc<Shared>,
    introductions: Introductions,
    greeted: Option<Instant>,
    /// The version that was answered last of each.
    told: BTreeMap<ChitchatId, String>,
    /// How many answers there were.
    answers: u32,
}

/// What the running gossip and its socket share.
#[derive(Debug, Default)]
struct Shared {
    /// So many members are known.
    members: AtomicU32,
    /// Whoever is to be spoken to for the first time, in a round or not.
    introduced: Mutex<BTreeSet<SocketAddr>>,
}

impl Gossip {
    /// Starts gossiping. Must run where the mesh's tasks run: chitchat spawns its loop here.
    pub(crate) async fn start(
        mesh: &MeshName,
        identity: &Identity,
        transport: Arc<Transport>,
        incoming: mpsc::Receiver<(SocketAddr, Bytes)>,
    ) -> Result<Self, String> {
        let id = ChitchatId::new(identity.node.to_string(), identity.generation.0, identity.advertise);
        let config = config(mesh, id);
        let shared = Arc::<Shared>::default();
        let me = (identity.node.clone(), identity.generation);
        let opener = Opener { transport, incoming: Mutex::new(Some(incoming)), shared: shared.clone(), me };
        let handle =
            chitchat::spawn_chitchat(config, Vec::new(), &opener).await.map_err(|error| error.to_string())?;
        let live = handle.chitchat().lock().await.live_nodes_watcher();
        let (introductions, told) = Default::default();
        Ok(Self { handle, live, shared, introductions, greeted: None, told, answers: 0 })
    }

    /// Begins to gossip with `addr`, soon.
    pub(crate) fn introduce(&mut self, now: Instant, addr: SocketAddr) {
        if !self.introductions.take(now) {
            return;
        }
        self.shared.introduced.lock().insert(addr);
        // An error means that the loop has ended, which `ended` reports.
        let _ = self.handle.gossip(addr);
    }

    /// Whether it is time to begin with somebody that gossip may have lost.
    pub(crate) fn greets_now(&mut self, now: Instant) -> bool {
        let greets = now.saturating_duration_since(*self.greeted.get_or_insert(now)) >= GREETS_EVERY;
        if greets {
            self.greeted = Some(now);
        }
        greets
    }

    /// So many members are known: the more, the rarer the rounds.
    pub(crate) fn set_members(&self, members: usize) {
        self.shared.members.store(u32::try_from(members).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Spreads this node's facts.
    pub(crate) async fn state(&self, facts: &Facts) {
        let chitchat = self.handle.chitchat();
        set(chitchat.lock().await.self_node_state(), facts);
    }

    /// Waits for a change, then answers the members of which something is new, of those that gossip holds for alive;
    /// now and then all of them, because whoever asks may have forgotten somebody.
    pub(crate) async fn changed(&mut self) -> Vec<Heard> {
        if self.live.changed().await.is_err() {
            // The loop has ended; `ended` reports it.
            std::future::pending::<()>().await;
        }
        let live = self.live.borrow_and_update();
        self.answers += 1;
        if self.answers.is_multiple_of(ALL_NAMED_EVERY) {
            self.told.clear();
        }
        let is_new = |id: &ChitchatId, state: &NodeState| {
            state.get(VERSION_KEY).is_some_and(|version| self.told.get(id).is_none_or(|told| told != version))
        };
        let new: Vec<_> = live.iter().filter(|(id, state)| is_new(id, state)).collect();
        let version = |state: &NodeState| state.get(VERSION_KEY).unwrap_or_default().to_owned();
        self.told.extend(new.iter().map(|(id, state)| ((*id).clone(), version(state))));
        self.told.retain(|id, _| live.contains_key(id));
        new.into_iter().filter_map(|(id, state)| heard(id, state)).collect()
    }

    /// Resolves when the gossip loop has ended, which it must not; answers why.
    pub(crate) fn ended(&self) -> impl Future<Output = String> + Send + use<> {
        let ended = self.handle.termination_watcher();
        async move { ended.await.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string()) }
    }

    pub(crate) fn stop(&self) {
        let _ = self.handle.initiate_shutdown();
    }
}

/// Takes this node's facts into its own state.
fn set(own: &mut NodeState, facts: &Facts) {
    for (key, value) in &facts.entries {
        own.set(key, value);
    }
    own.set(VERSION_KEY, facts.version);
}

/// How this node gossips.
fn config(mesh: &MeshName, id: ChitchatId) -> ChitchatConfig {
    ChitchatConfig {
        listen_addr: id.gossip_advertise_addr,
        chitchat_id: id,
        cluster_id: mesh.to_string(),
        gossip_interval: ROUND,
        // Peers are introduced as their links come up.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: HEARTBEATS,
            max_interval: ROUND * 40,
            // Else its default of 5 s slows the first verdict.
            initial_interval: ROUND,
            // Its default of a day would let a crash loop grow every digest.
            dead_node_grace_period: FORGOTTEN,
        },
        marked_for_deletion_grace_period: FORGOTTEN,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

/// A message of another node's chitchat, without what must not reach ours, and how many nodes there was no room for.
fn read(
    bytes: &[u8],
    me: (&str, u64),
    ids: &mut Ids,
    now: Instant,
) -> anyhow::Result<(ChitchatMessage, usize)> {
    let admitted = door::admit(bytes, me, ids, now);
    let (admitted, left_out) = admitted.ok_or_else(|| anyhow::anyhow!("it is no message"))?;
    Ok((ChitchatMessage::deserialize(&mut &admitted[..])?, left_out))
}

/// One member from chitchat's tables; `None` when it breaks the limits, whoever relayed it.
fn heard(id: &ChitchatId, state: &NodeState) -> Option<Heard> {
    let entries = state
        .key_values()
        .filter(|(key, _)| *key != VERSION_KEY)
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let facts = Facts { version: state.get(VERSION_KEY)?.parse().ok()?, entries: entries.collect() };
    let node = id.node_id.parse().ok()?;
    facts.is_within_limits().then_some(Heard {
        node,
        generation: Generation(id.generation_id),
        addr: id.gossip_advertise_addr,
        facts,
    })
}

/// Hands chitchat its one socket.
struct Opener {
    transport: Arc<Transport>,
    incoming: Mutex<Option<mpsc::Receiver<(SocketAddr, Bytes)>>>,
    shared: Arc<Shared>,
    me: (NodeId, Generation),
}

#[async_trait]
impl ChitchatTransport for Opener {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let incoming = self.incoming.lock().take();
        let incoming = incoming.ok_or_else(|| anyhow::anyhow!("the gossip socket is open already"))?;
        let (transport, shared) = (self.transport.clone(), self.shared.clone());
        let (me, rounds, ids) = (self.me.clone(), Rounds::default(), Ids::default());
        Ok(Box::new(LinkSocket { transport, incoming, shared, rounds, me, ids }))
    }
}

/// chitchat's socket: our links.
struct LinkSocket {
    transport: Arc<Transport>,
    incoming: mpsc::Receiver<(SocketAddr, Bytes)>,
    shared: Arc<Shared>,
    rounds: Rounds,
    me: (NodeId, Generation),
    ids: Ids,
}

#[async_trait]
impl Socket for LinkSocket {
    /// Only enqueues: chitchat awaits this inside its loop, so waiting here would stop all gossip.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if matches!(message, ChitchatMessage::Syn { .. }) && !self.shared.introduced.lock().remove(&to) {
            let members = self.shared.members.load(Ordering::Relaxed);
            if !self.rounds.goes_out(self.transport.clock.now(), members) {
                return Ok(());
            }
        }
        self.transport.send_to(to, wire::encode(kind::GOSSIP, &message.serialize_to_vec()));
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Some((from, bytes)) = self.incoming.recv().await else {
                return Err(anyhow::anyhow!("the transport has stopped"));
            };
            let (me, now) = ((self.me.0.as_str(), self.me.1.0), self.transport.clock.now());
            match read(&bytes, me, &mut self.ids, now) {
                Ok((message, left_out)) => {
                    if left_out > 0 {
                        let reason = format!(
                            "gossip has no room for {left_out} more nodes: their facts are not known here"
                        );
                        self.transport.refusals.tell(from, Topic::Room, &reason);
                    }
                    return Ok((from, message));
                }
                Err(error) => {
                    let reason = format!("gossip was dropped: {error}");
                    self.transport.refusals.tell(from, Topic::Message, &reason);
                }
            }
        }
    }
}
