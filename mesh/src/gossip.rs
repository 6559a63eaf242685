//! Facts, spread by chitchat (scuttlebutt reconciliation, van Renesse et al. 2008) over our own links.
//!
//! The only place that knows chitchat: 0.12 made its codec private (upstream issue 207), so the version
//! is pinned to 0.11.2 until upstream opens it again. chitchat's phi verdict serves as a hint that
//! somebody still hears a member; it decides nothing about ownership.

mod door;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;

use std::collections::BTreeMap;
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

use crate::detector::REMEMBERED;
use crate::id::{Generation, MeshName, NodeId};
use crate::member::Facts;
use crate::transport::{Identity, Transport};
use crate::wire::{self, message::kind};

/// Facts reach everybody in about log N rounds. What is urgent does not wait for them: hellos, direct updates
/// and rumours are ahead of gossip, which repairs what those missed.
const ROUND: Duration = Duration::from_secs(1);

/// Each round states all members, so its bytes grow with them (measured: 18 KiB/s per node at 50 and one round
/// a second). Above this rounds become rarer by as much, so that the bytes do not grow.
const QUICK_MEMBERS: u32 = 50;

/// A round's messages leave within this; what comes later is the next round's.
const BURST: Duration = Duration::from_millis(200);

/// chitchat's threshold for "nobody has heard of it lately": measured without false alarms at 8.
const PHI: f64 = 8.0;

/// Heartbeats remembered per member; chitchat's default of 1,000 costs 11 KB per pair of nodes.
const HEARTBEATS: usize = 50;

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
    members: Arc<AtomicU32>,
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
        let members = Arc::<AtomicU32>::default();
        let me = (identity.node.clone(), identity.generation);
        let opener = Opener { transport, incoming: Mutex::new(Some(incoming)), members: members.clone(), me };
        let handle =
            chitchat::spawn_chitchat(config, Vec::new(), &opener).await.map_err(|error| error.to_string())?;
        let live = handle.chitchat().lock().await.live_nodes_watcher();
        Ok(Self { handle, live, members })
    }

    /// Begins to gossip with `addr`.
    pub(crate) fn introduce(&self, addr: SocketAddr) {
        // An error means that the loop has ended, which `ended` reports.
        let _ = self.handle.gossip(addr);
    }

    /// So many members are known: the more, the rarer the rounds.
    pub(crate) fn set_members(&self, members: usize) {
        self.members.store(u32::try_from(members).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Spreads this node's facts.
    pub(crate) async fn state(&self, facts: &Facts) {
        let chitchat = self.handle.chitchat();
        set(chitchat.lock().await.self_node_state(), facts);
    }

    /// Waits for a change, then answers all members that gossip holds for alive.
    pub(crate) async fn changed(&mut self) -> Vec<Heard> {
        if self.live.changed().await.is_err() {
            // The loop has ended; `ended` reports it.
            std::future::pending::<()>().await;
        }
        self.live.borrow_and_update().iter().filter_map(|(id, state)| heard(id, state)).collect()
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
            dead_node_grace_period: REMEMBERED,
        },
        marked_for_deletion_grace_period: REMEMBERED,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

/// A message of another node's chitchat, without what must not reach ours.
fn read(bytes: &[u8], me: (&str, u64)) -> anyhow::Result<ChitchatMessage> {
    let admitted = door::admit(bytes, me).ok_or_else(|| anyhow::anyhow!("it is no message"))?;
    ChitchatMessage::deserialize(&mut &admitted[..])
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
    members: Arc<AtomicU32>,
    me: (NodeId, Generation),
}

#[async_trait]
impl ChitchatTransport for Opener {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let incoming = self.incoming.lock().take();
        let incoming = incoming.ok_or_else(|| anyhow::anyhow!("the gossip socket is open already"))?;
        let (transport, members) = (self.transport.clone(), self.members.clone());
        Ok(Box::new(LinkSocket { transport, incoming, members, me: self.me.clone(), round: None }))
    }
}

/// chitchat's socket: our links.
struct LinkSocket {
    transport: Arc<Transport>,
    incoming: mpsc::Receiver<(SocketAddr, Bytes)>,
    members: Arc<AtomicU32>,
    me: (NodeId, Generation),
    /// When the last round began that went out.
    round: Option<Instant>,
}

impl LinkSocket {
    /// Whether the round that begins or goes on now is to go out. chitchat's own pace is fixed at its start.
    fn is_round(&mut self) -> bool {
        let members = self.members.load(Ordering::Relaxed);
        let now = self.transport.clock.now();
        let pause = ROUND * members / QUICK_MEMBERS;
        let since = self.round.map(|round| now.saturating_duration_since(round));
        if members <= QUICK_MEMBERS || since.is_none_or(|since| since + BURST >= pause) {
            self.round = Some(now);
            return true;
        }
        since.is_some_and(|since| since < BURST)
    }
}

#[async_trait]
impl Socket for LinkSocket {
    /// Only enqueues: chitchat awaits this inside its loop, so waiting here would stop all gossip.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if matches!(message, ChitchatMessage::Syn { .. }) && !self.is_round() {
            return Ok(());
        }
        self.transport.send_to(to, wire::encode(kind::GOSSIP, &message.serialize_to_vec()));
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Some((from, bytes)) = self.incoming.recv().await else {
                return Err(anyhow::anyhow!("the transport has stopped"));
            };
            match read(&bytes, (self.me.0.as_str(), self.me.1.0)) {
                Ok(message) => return Ok((from, message)),
                Err(error) => tracing::debug!(%from, %error, "a gossip message could not be read"),
            }
        }
    }
}
