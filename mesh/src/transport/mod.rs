//! QUIC between the nodes: one endpoint, mutual TLS, one link per member, one outbox per peer.

mod admission;
pub mod channel;
mod dials;
pub(crate) mod hello;
pub(crate) mod links;
pub(crate) mod outbox;
mod quic;
pub(crate) mod refusals;
mod serve;
pub(crate) mod silence;
#[cfg(test)]
mod tests;
pub mod tls;
pub(crate) mod twins;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{SetOnce, mpsc};
use tokio_util::sync::CancellationToken;

use crate::detector::message::Packet;
use crate::env::{Clock, Env, OnExit, Spawner};
use crate::id::{Generation, NodeId, ProcessId};
use crate::identity::Taken;
use crate::member::Facts;
use crate::wire::message::{FactsUpdate, Goodbye, Hello, Open, kind};
use crate::wire::{self, to_payload};
use channel::{Channel, ChannelError};
use dials::Dials;
use hello::{Demands, LinkError};
use links::{Link, Links};
use outbox::{Outboxes, Outgoing};
use refusals::Refusals;
use tls::Credentials;
use twins::Twins;

/// What takes the product's traffic off the links. Must not block: hand over and return.
pub trait Inbox: Send + Sync + 'static {
    /// Another node opened a channel to `service`.
    fn on_channel(&self, from: NodeId, service: u16, header: Bytes, channel: Channel);

    /// A short message from another node. It may be lost, repeated or late.
    fn on_notice(&self, from: NodeId, notice: Bytes);

    /// A topic has a higher value than was known here.
    fn on_news(&self, topic: u16, value: u64);
}

/// What happened on the links, for the roster.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A link came up; its peer said this.
    Up(Hello),
    /// The last link to this life of a member is gone.
    Down { node: NodeId, generation: Generation, goodbye: bool },
    /// A member stated its facts.
    Facts { node: NodeId, generation: Generation, facts: Facts },
    /// A member's detector says something.
    Probe { node: NodeId, generation: Generation, packet: Packet },
}

pub(crate) const CLOSE_GOODBYE: quinn::VarInt = quinn::VarInt::from_u32(1);
const CLOSE_OUTDATED: quinn::VarInt = quinn::VarInt::from_u32(2);
const CLOSE_REFUSED: quinn::VarInt = quinn::VarInt::from_u32(3);
const CLOSE_SILENT: quinn::VarInt = quinn::VarInt::from_u32(4);

/// For datagrams to leave before the connection does.
const FIRST_WORD: Duration = Duration::from_millis(5);

/// Who this node is, for every hello.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) process: ProcessId,
    pub(crate) advertise: SocketAddr,
}

pub(crate) struct Transport {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawner: Arc<dyn Spawner>,
    endpoint: quinn::Endpoint,
    client: quinn::ClientConfig,
    identity: Identity,
    demands: Demands,
    facts: Mutex<Facts>,
    pub(crate) links: Mutex<Links>,
    dials: Dials,
    twins: Twins,
    pub(crate) outboxes: Outboxes,
    pub(crate) refusals: Refusals,
    events: mpsc::Sender<LinkEvent>,
    gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    inbox: Arc<dyn Inbox>,
    pub(crate) closing: CancellationToken,
    /// Set once this process is known not to be this node.
    pub(crate) taken: SetOnce<Taken>,
    handshakes: Arc<AtomicUsize>,
}

/// Where the transport delivers what arrives.
pub(crate) struct Deliveries {
    pub(crate) events: mpsc::Sender<LinkEvent>,
    pub(crate) gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(crate) inbox: Arc<dyn Inbox>,
}

impl Transport {
    /// Starts the endpoint on a bound socket. Must run where the mesh's tasks run: quinn's drivers are
    /// spawned here. A member that dies is held for dead `dead_within` that time.
    pub(crate) fn start(
        env: &Env,
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        credentials: Credentials,
        identity: Identity,
        demands: Demands,
        dead_within: Duration,
        deliveries: Deliveries,
    ) -> io::Result<Arc<Self>> {
        let (endpoint_config, server, client) = quic::configs(env, &credentials)?;
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config,
            Some(server),
            socket,
            env.network.quic_runtime(),
        )?;
        let transport = Arc::new(Self {
            clock: env.clock.clone(),
            spawner: env.mesh_spawner.clone(),
            endpoint,
            client,
            identity,
            demands,
            facts: Mutex::default(),
            links: Mutex::default(),
            dials: Dials::default(),
            twins: Twins::new(dead_within),
            outboxes: Outboxes::default(),
            refusals: Refusals::new(env.clock.clone()),
            events: deliveries.events,
            gossip: deliveries.gossip,
            inbox: deliveries.inbox,
            closing: CancellationToken::new(),
            taken: SetOnce::new(),
            handshakes: Arc::default(),
        });
        let accepting = transport.clone().accept_all();
        transport.spawner.spawn("mesh accept", OnExit::StopNode, Box::pin(accepting));
        Ok(transport)
    }

    /// Sends a frame to whoever is at `addr`, dialling if need be. Never waits; may be lost.
    pub(crate) fn send_to(self: &Arc<Self>, addr: SocketAddr, frame: Bytes) {
        self.outboxes.put(addr, Outgoing::Frame(frame), self);
    }

    /// Makes a link to `addr` if there is none. Never waits.
    pub(crate) fn connect(self: &Arc<Self>, addr: SocketAddr) {
        if addr != self.identity.advertise {
            self.outboxes.put(addr, Outgoing::Connect, self);
        }
    }

    /// Sends a frame to every linked member. It may be lost.
    pub(crate) fn broadcast(self: &Arc<Self>, frame: &Bytes) {
        self.to_all(|| Outgoing::Frame(frame.clone()));
    }

    /// The same for what nobody says a second time.
    pub(crate) fn broadcast_letter(self: &Arc<Self>, frame: &Bytes) {
        self.to_all(|| Outgoing::Letter(frame.clone()));
    }

    fn to_all(self: &Arc<Self>, message: impl Fn() -> Outgoing) {
        let addrs: std::collections::BTreeSet<_> = self.links.lock().all().map(|link| link.addr).collect();
        for addr in addrs {
            self.outboxes.put(addr, message(), self);
        }
    }

    /// Sends a frame as a datagram at once, past whatever waits for the peer, dialling if there is no link.
    /// Never waits; may be lost.
    pub(crate) fn send_now(self: &Arc<Self>, node: &NodeId, addr: SocketAddr, frame: Bytes) {
        let link = self.links.lock().to(node);
        let Some(link) = link else { return self.outboxes.put(addr, Outgoing::Frame(frame), self) };
        // quinn drops the *oldest* datagram when its buffer is full: then this one is dropped.
        let has_room = link.connection.datagram_send_buffer_space() >= frame.len();
        self.outboxes.count_if_dropped(!has_room || link.connection.send_datagram(frame).is_err());
    }

    /// A life of a member is known: earlier ones are over. Whoever is one learns that when it dials again.
    pub(crate) fn note_life(&self, node: &NodeId, generation: Generation) {
        for link in self.links.lock().note_life(node, generation) {
            link.connection.close(CLOSE_OUTDATED, b"a later life of this node is known");
        }
    }

    /// One life of a member is held for dead: whatever waits on its links fails now.
    pub(crate) fn unlink(&self, node: &NodeId, generation: Generation) {
        let mut links = self.links.lock();
        links.note_death(node, generation);
        for link in links.all().filter(|link| link.node == *node && link.generation == generation) {
            link.connection.close(CLOSE_SILENT, b"you do not answer");
        }
    }

    /// Hands news of a topic to the product.
    pub(crate) fn tell_news(&self, topic: u16, value: u64) {
        self.inbox.on_news(topic, value);
    }

    /// Opens a channel to a service of a member, on a new link to `addr` if there is none.
    pub(crate) async fn open(
        self: &Arc<Self>,
        node: &NodeId,
        addr: Option<SocketAddr>,
        service: u16,
        header: &[u8],
    ) -> Result<Channel, ChannelError> {
        let known = self.links.lock().to(node);
        let link = match (known, addr) {
            (Some(link), _) => Ok(link),
            (None, Some(addr)) => self.link_to(Some(node), addr).await,
            (None, None) => Err(LinkError::NoConnection("its address is not known".to_owned())),
        };
        let link = link.map_err(|error| ChannelError::Lost(format!("no link to node {node}: {error}")))?;
        let opened = link.connection.open_bi().await;
        let (send, recv) = opened.map_err(|error| ChannelError::Lost(error.to_string()))?;
        let mut channel = Channel::on(&link, send, recv);
        let open = Open { service, header: header.to_vec() };
        channel.writer.send(kind::OPEN, &to_payload(&open)).await?;
        Ok(channel)
    }

    /// What this node states of itself, to all that are linked.
    pub(crate) fn state(self: &Arc<Self>, facts: Facts) {
        self.set_facts(facts);
        self.broadcast_letter(&self.facts_update());
    }

    /// The same to whoever was told version `told` by the hello, if a later one was stated before the link stood.
    pub(crate) fn say_what_is_new(self: &Arc<Self>, link: &Link, told: u64) {
        if self.facts.lock().version > told {
            self.outboxes.put(link.addr, Outgoing::Letter(self.facts_update()), self);
        }
    }

    fn facts_update(&self) -> Bytes {
        let (generation, facts) = (self.identity.generation, self.facts.lock().clone());
        wire::encode(kind::FACTS, &to_payload(&FactsUpdate { generation, facts }))
    }

    /// What the next hello says about this node.
    pub(crate) fn set_facts(&self, facts: Facts) {
        *self.facts.lock() = facts;
    }

    /// Says goodbye on every link and closes the endpoint. A process that may not be this node says none: it would
    /// end the life of the one that is.
    pub(crate) async fn leave(self: &Arc<Self>, budget: Duration) {
        self.closing.cancel();
        let links: Vec<_> = self.links.lock().all().cloned().collect();
        let (code, word): (_, &[u8]) = match self.may_be_taken() {
            false => (CLOSE_GOODBYE, b"goodbye"),
            true => (CLOSE_REFUSED, b"another process is this node"),
        };
        if code == CLOSE_GOODBYE {
            let goodbye = Goodbye { generation: self.identity.generation };
            let goodbye = wire::encode(kind::GOODBYE, &to_payload(&goodbye));
            // Twice said: the datagram may be lost, the close may be. A connection that is closed sends no datagram
            // any more, so the first word gets a moment.
            for link in &links {
                let _ = link.connection.send_datagram(goodbye.clone());
            }
            tokio::time::sleep(FIRST_WORD.min(budget)).await;
        }
        for link in links {
            link.connection.close(code, word);
        }
        self.endpoint.close(code, word);
        let _ = tokio::time::timeout(budget, self.endpoint.wait_idle()).await;
    }

    /// Ends what a start has begun that went no further.
    pub(crate) fn abandon(&self) {
        self.closing.cancel();
        self.endpoint.close(CLOSE_REFUSED, b"the start has failed");
    }

    fn hello(&self) -> Hello {
        Hello {
            mesh: self.demands.mesh.clone(),
            store: self.demands.store.clone(),
            node: self.identity.node.clone(),
            generation: self.identity.generation,
            process: self.identity.process,
            advertise: self.identity.advertise,
            facts: self.facts.lock().clone(),
        }
    }
}
