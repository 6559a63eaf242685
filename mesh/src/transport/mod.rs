//! QUIC between the nodes: one endpoint, mutual TLS, one link per member, one outbox per peer.

pub mod channel;
pub(crate) mod hello;
pub(crate) mod links;
pub(crate) mod outbox;
pub(crate) mod refusals;
mod serve;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::env::{Clock, Env, OnExit, Spawner};
use crate::id::{Generation, NodeId, ProcessId};
use crate::member::Facts;
use crate::wire::message::{Goodbye, Hello, Open, Refusal, kind};
use crate::wire::{self, to_payload};
use channel::{Channel, ChannelError};
use hello::{Demands, LinkError};
use links::{Added, Link, Links, MOST_MEMBERS};
use outbox::{Outboxes, Outgoing};
use refusals::{Refusals, Topic};
use tls::Credentials;

/// What takes the product's traffic off the links. Must not block: hand over and return.
pub trait Inbox: Send + Sync + 'static {
    /// Another node opened a channel to `service`.
    fn on_channel(&self, from: NodeId, service: u16, header: Bytes, channel: Channel);

    /// A short message from another node. It may be lost, repeated or late.
    fn on_notice(&self, from: NodeId, notice: Bytes);
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
    /// Another process claims this node's identity.
    IdentityClaimed { by: SocketAddr },
}

/// Silence on a link before it counts as lost. With the keep-alive below three signs of life may get
/// lost. Provisional: a failure detector will do this without a packet per link and period.
const IDLE: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const _: () = assert!(KEEP_ALIVE.as_millis() * 4 <= IDLE.as_millis());

/// A peer that has not finished the TLS handshake by then counts as not there. Two retransmissions at
/// quinn's doubling pace, starting from [`INITIAL_RTT`], fit in.
const DIAL_WITHIN: Duration = Duration::from_secs(1);
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Connections beyond this are refused: far above the 1,000 members that one mesh is made for.
const MOST_CONNECTIONS: usize = 4_096;

/// With so many handshakes under way a dialler must first prove that it is where it says it is. A mesh of
/// hundreds that starts at once may come here and loses nothing by it.
const MANY_HANDSHAKES: usize = 64;

/// Channels that one peer may have open at once.
const MOST_CHANNELS: u32 = 1_024;

/// Bytes in flight per stream and per connection: enough for 1 Gbit/s at 10 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const DATAGRAM_BUFFER: usize = 1024 * 1024;

pub(crate) const CLOSE_GOODBYE: quinn::VarInt = quinn::VarInt::from_u32(1);
const CLOSE_OUTDATED: quinn::VarInt = quinn::VarInt::from_u32(2);
const CLOSE_REFUSED: quinn::VarInt = quinn::VarInt::from_u32(3);

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
    pub(crate) outboxes: Outboxes,
    refusals: Refusals,
    events: mpsc::Sender<LinkEvent>,
    gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    inbox: Arc<dyn Inbox>,
    pub(crate) closing: CancellationToken,
    /// Another process has this node's identity.
    pub(crate) identity_taken: CancellationToken,
    handshakes: Arc<AtomicUsize>,
}

/// Counts one incoming handshake for as long as it takes.
struct Handshake {
    count: Arc<AtomicUsize>,
    /// How many others were under way when it began.
    others: usize,
}

impl Handshake {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        Self { count: count.clone(), others: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the transport delivers what arrives.
pub(crate) struct Deliveries {
    pub(crate) events: mpsc::Sender<LinkEvent>,
    pub(crate) gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(crate) inbox: Arc<dyn Inbox>,
}

impl Transport {
    /// Starts the endpoint on a bound socket. Must run where the mesh's tasks run: quinn's drivers are
    /// spawned here.
    pub(crate) fn start(
        env: &Env,
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        credentials: Credentials,
        identity: Identity,
        demands: Demands,
        deliveries: Deliveries,
    ) -> io::Result<Arc<Self>> {
        let transport_config = Arc::new(transport_config());
        let (endpoint_config, server, client) = quic_configs(env, &credentials, &transport_config)?;
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
            outboxes: Outboxes::default(),
            refusals: Refusals::new(env.clock.clone()),
            events: deliveries.events,
            gossip: deliveries.gossip,
            inbox: deliveries.inbox,
            closing: CancellationToken::new(),
            identity_taken: CancellationToken::new(),
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

    /// Sends a frame to every linked member.
    pub(crate) fn broadcast(self: &Arc<Self>, frame: &Bytes) {
        let addrs: std::collections::BTreeSet<_> = self.links.lock().all().map(|link| link.addr).collect();
        for addr in addrs {
            self.send_to(addr, frame.clone());
        }
    }

    /// Opens a channel to a service of a member that is linked.
    pub(crate) async fn open(
        &self,
        node: &NodeId,
        service: u16,
        header: &[u8],
    ) -> Result<Channel, ChannelError> {
        let link = self.links.lock().to(node);
        let link = link.ok_or_else(|| ChannelError::Lost(format!("no link to node {node}")))?;
        let opened = link.connection.open_bi().await;
        let (send, recv) = opened.map_err(|error| ChannelError::Lost(error.to_string()))?;
        let mut channel = Channel::new(send, recv);
        let open = Open { service, header: header.to_vec() };
        channel.writer.send(kind::OPEN, &to_payload(&open)).await?;
        Ok(channel)
    }

    /// What the next hello says about this node.
    pub(crate) fn set_facts(&self, facts: Facts) {
        *self.facts.lock() = facts;
    }

    /// Says goodbye on every link and closes the endpoint.
    pub(crate) async fn leave(self: &Arc<Self>, budget: Duration) {
        self.closing.cancel();
        let goodbye =
            wire::encode(kind::GOODBYE, &to_payload(&Goodbye { generation: self.identity.generation }));
        let links: Vec<_> = self.links.lock().all().cloned().collect();
        for link in links {
            // Twice said: the datagram may be lost, the close may be.
            let _ = link.connection.send_datagram(goodbye.clone());
            link.connection.close(CLOSE_GOODBYE, b"goodbye");
        }
        self.endpoint.close(CLOSE_GOODBYE, b"goodbye");
        let _ = tokio::time::timeout(budget, self.endpoint.wait_idle()).await;
    }

    /// Dials `addr` and brings a link up.
    pub(crate) async fn dial(self: &Arc<Self>, addr: SocketAddr) -> Result<Arc<Link>, LinkError> {
        let outcome = self.dial_unlogged(addr).await;
        match &outcome {
            Ok(_) | Err(LinkError::Refused(Refusal::Myself) | LinkError::RefusedByPeer(Refusal::Myself)) => {}
            Err(LinkError::NoConnection(reason)) => {
                tracing::debug!(peer = %addr, reason, "no connection to a peer")
            }
            Err(error) => {
                // A later generation of this node is in the mesh: this process is its past.
                if matches!(error, LinkError::RefusedByPeer(Refusal::OldGeneration(_))) {
                    self.identity_taken.cancel();
                }
                self.refusals.tell(addr, error.into(), &error.to_string());
            }
        }
        outcome
    }

    async fn dial_unlogged(self: &Arc<Self>, addr: SocketAddr) -> Result<Arc<Link>, LinkError> {
        let no_connection = |error: &dyn std::fmt::Display| LinkError::NoConnection(error.to_string());
        let connecting = self
            .endpoint
            .connect_with(self.client.clone(), addr, tls::ANY_NODE)
            .map_err(|error| no_connection(&error))?;
        let connection = match tokio::time::timeout(DIAL_WITHIN, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                if let quinn::ConnectionError::TransportError(refused) = &error {
                    self.refusals.tell(
                        addr,
                        Topic::Handshake,
                        &format!("TLS did not agree (another secret?): {refused}"),
                    );
                }
                return Err(no_connection(&error));
            }
            Err(_) => return Err(LinkError::NoConnection("no answer".to_owned())),
        };
        match hello::introduce(&connection, &self.hello(), &self.demands).await {
            Ok(hello) => {
                let admitted = self.admit(hello, connection.clone(), true).await;
                if admitted.is_err() {
                    connection.close(CLOSE_REFUSED, b"refused");
                }
                admitted
            }
            Err(error) => {
                // A peer with another secret accepts our certificate's refusal only after its own handshake.
                if matches!(error, LinkError::NoConnection(_)) && connection.close_reason().is_some() {
                    self.refusals.tell(
                        addr,
                        Topic::Handshake,
                        &format!("TLS did not agree (another secret?): {error}"),
                    );
                }
                connection.close(CLOSE_REFUSED, b"refused");
                Err(error)
            }
        }
    }

    /// Puts a connection whose peer is accepted into the table and begins to serve it.
    async fn admit(
        self: &Arc<Self>,
        hello: Hello,
        connection: quinn::Connection,
        dialled_here: bool,
    ) -> Result<Arc<Link>, LinkError> {
        let link = Arc::new(Link {
            node: hello.node.clone(),
            generation: hello.generation,
            addr: hello.advertise,
            preferred: (self.identity.node < hello.node) == dialled_here,
            connection,
        });
        let added = self.links.lock().add(link.clone());
        match added {
            Added::Old(known) => Err(LinkError::Refused(Refusal::OldGeneration(known))),
            Added::Full => Err(LinkError::Refused(Refusal::Full(MOST_MEMBERS as u32))),
            Added::Accepted { outdated } => {
                for old in outdated {
                    old.connection.close(CLOSE_OUTDATED, b"a later life of this node is linked");
                }
                // The event goes first: nothing may arrive from a member that the roster has not seen.
                let _ = self.events.send(LinkEvent::Up(hello)).await;
                let serving = serve::serve(self.clone(), link.clone());
                self.spawner.spawn("mesh link", OnExit::Fine, Box::pin(serving));
                Ok(link)
            }
        }
    }

    async fn accept_all(self: Arc<Self>) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else {
                tracing::error!("the mesh's endpoint has closed");
                return;
            };
            if self.endpoint.open_connections() > MOST_CONNECTIONS {
                self.refusals.tell(incoming.remote_address(), Topic::Room, "too many connections");
                incoming.refuse();
                continue;
            }
            let handshake = Handshake::begin(&self.handshakes);
            if handshake.others >= MANY_HANDSHAKES && !incoming.remote_address_validated() {
                // Costs a real peer one round trip, and a forged address everything.
                let _ = incoming.retry();
                continue;
            }
            let accepting = self.clone().accept(incoming, handshake);
            self.spawner.spawn("mesh handshake", OnExit::Fine, Box::pin(accepting));
        }
    }

    async fn accept(self: Arc<Self>, incoming: quinn::Incoming, _counted: Handshake) {
        let peer = incoming.remote_address();
        let connection = match tokio::time::timeout(DIAL_WITHIN, incoming.into_future()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                let reason = format!("TLS did not agree (another secret?): {error}");
                return self.refusals.tell(peer, Topic::Handshake, &reason);
            }
            Err(_) => return,
        };
        match hello::receive(&connection, &self.demands).await {
            Ok((hello, mut channel)) => {
                // Known before the answer goes out: the peer may use the link at once.
                match self.admit(hello, connection.clone(), false).await {
                    Ok(_) => drop(hello::welcome(&mut channel, &self.hello()).await),
                    Err(LinkError::Refused(refusal)) => {
                        self.refusals.tell(peer, (&refusal).into(), &refusal.to_string());
                        hello::refuse(&mut channel, &refusal).await;
                        connection.close(CLOSE_REFUSED, b"refused");
                    }
                    Err(_) => {}
                }
            }
            Err(error) => {
                match &error {
                    LinkError::Refused(Refusal::Myself) => {}
                    LinkError::Refused(Refusal::SameIdentity(_)) => {
                        let _ = self.events.send(LinkEvent::IdentityClaimed { by: peer }).await;
                        self.refusals.tell(peer, (&error).into(), &error.to_string());
                    }
                    _ => self.refusals.tell(peer, (&error).into(), &error.to_string()),
                }
                connection.close(CLOSE_REFUSED, b"refused");
            }
        }
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

fn quic_configs(
    env: &Env,
    credentials: &Credentials,
    transport: &Arc<quinn::TransportConfig>,
) -> io::Result<(quinn::EndpointConfig, quinn::ServerConfig, quinn::ClientConfig)> {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &credentials.reset_key);
    let mut endpoint = quinn::EndpointConfig::new(Arc::new(reset_key));
    // Ids and resets that a restarted process can recognise: its peers learn of the restart from the
    // first packet instead of from silence (measured: 65 to 85 ms instead of the idle timeout).
    let id_key = credentials.connection_id_key;
    endpoint.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(id_key)));
    let mut seed = [0; 32];
    env.entropy.fill(&mut seed);
    endpoint.rng_seed(Some(seed));

    let quic = |error: quinn_proto::crypto::rustls::NoInitialCipherSuite| io::Error::other(error.to_string());
    let server_crypto =
        quinn_proto::crypto::rustls::QuicServerConfig::try_from(credentials.server.clone()).map_err(quic)?;
    let client_crypto =
        quinn_proto::crypto::rustls::QuicClientConfig::try_from(credentials.client.clone()).map_err(quic)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server_crypto));
    server.transport_config(transport.clone()).migration(false).max_incoming(256);
    let mut client = quinn::ClientConfig::new(Arc::new(client_crypto));
    client.transport_config(transport.clone());
    Ok((endpoint, server, client))
}

fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(IDLE.try_into().expect("two seconds fit")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(MOST_CHANNELS.into())
        .max_concurrent_uni_streams(64_u32.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    config
}
