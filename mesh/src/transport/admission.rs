//! How links come up: dialling, accepting, and refusing who does not belong.
//!
//! Refused peers never reach the roster; the reason is told at most once a minute.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::channel::ChannelError;
use super::hello::{self, LinkError};
use super::links::{Added, Link, MOST_MEMBERS};
use super::quic::{likely_cause, tls_alert};
use super::refusals::Topic;
use super::{CLOSE_OUTDATED, CLOSE_REFUSED, LinkEvent, Transport, serve, tls};
use crate::env::OnExit;
use crate::identity::Taken;
use crate::wire::VERSION;
use crate::wire::message::{Hello, Refusal};

/// A peer that has not finished the TLS handshake by then counts as not there. Two retransmissions at
/// quinn's doubling pace, starting from the first guess of 50 ms, fit in.
const DIAL_WITHIN: Duration = Duration::from_secs(1);

/// Connections beyond this are refused: far above the 1,000 members that one mesh is made for.
const MOST_CONNECTIONS: usize = 4_096;

/// With so many handshakes under way a dialler must first prove that it is where it says it is. A mesh of
/// hundreds that starts at once may come here and loses nothing by it.
const MANY_HANDSHAKES: usize = 64;

/// Why a connection is closed whose hello is of another version of the protocol: this side's version, in
/// digits, is the reason. What else could be said there the peer might not read.
const CLOSE_VERSION: quinn::VarInt = quinn::VarInt::from_u32(5);

/// Counts one incoming handshake for as long as it takes.
pub(super) struct Handshake {
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

impl Transport {
    /// Dials `addr` and brings a link up.
    pub(crate) async fn dial(self: &Arc<Self>, addr: SocketAddr) -> Result<Arc<Link>, LinkError> {
        let outcome = self.dial_unlogged(addr).await;
        match &outcome {
            Ok(_) | Err(LinkError::Refused(Refusal::Myself) | LinkError::RefusedByPeer(Refusal::Myself)) => {}
            Err(error @ (LinkError::NoConnection(_) | LinkError::Channel(ChannelError::Lost(_)))) => {
                tracing::debug!(peer = %addr, %error, "no link to a peer");
            }
            Err(error) => {
                // A later generation of this node was seen in the mesh: this process is its past.
                if let LinkError::RefusedByPeer(Refusal::OldGeneration(later)) = error {
                    self.take_identity(Taken::Outdated { later: *later });
                }
                if let LinkError::TwinIsLinked(twin) = error {
                    self.doubt_myself(addr, *twin);
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
                self.tell_if_tls(addr, &error);
                return Err(no_connection(&error));
            }
            Err(_) => return Err(LinkError::NoConnection("no answer".to_owned())),
        };
        let own = self.hello();
        match hello::introduce(&connection, &own, &self.demands).await {
            Ok(hello) => {
                let admitted = self.admit(hello, connection.clone(), true).await;
                match &admitted {
                    Ok(link) => {
                        self.links.lock().note_answer(addr, link);
                        self.say_what_is_new(link, own.facts.version);
                    }
                    Err(_) => connection.close(CLOSE_REFUSED, b"refused"),
                }
                admitted
            }
            Err(error) => {
                // A peer judges our certificate only after its own handshake has ended here.
                if let Some(closed) = connection.close_reason() {
                    self.tell_if_tls(addr, &closed);
                    if let Some(version) = version_of(&closed) {
                        return Err(LinkError::OtherVersion(version));
                    }
                }
                refuse(&connection, &error);
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
        let is_far = !connection.remote_address().ip().to_canonical().is_loopback();
        if is_far && hello.advertise.ip().to_canonical().is_loopback() {
            return Err(LinkError::Refused(Refusal::OnlyItsOwn(hello.advertise)));
        }
        let link = Arc::new(Link {
            node: hello.node.clone(),
            generation: hello.generation,
            process: hello.process,
            addr: hello.advertise,
            preferred: (self.identity.node < hello.node) == dialled_here,
            connection,
            waiting: Arc::default(),
            ear: Mutex::default(),
        });
        let added = self.links.lock().add(link.clone(), self.demands.one_process);
        match added {
            Added::Old(known) => Err(LinkError::Refused(Refusal::OldGeneration(known))),
            Added::Taken(process) => Err(LinkError::Refused(Refusal::SameIdentity(process))),
            Added::Full => Err(LinkError::Refused(Refusal::Full(MOST_MEMBERS as u32))),
            Added::Enough(other) => {
                link.connection.close(CLOSE_OUTDATED, b"there are links enough");
                let lost = || ChannelError::Lost("there are links enough".to_owned());
                if dialled_here { Ok(other) } else { Err(LinkError::Channel(lost())) }
            }
            Added::Accepted { unwanted } => {
                for old in unwanted {
                    old.connection
                        .close(CLOSE_OUTDATED, b"a later link or a later life of this node is there");
                }
                // The event goes first: nothing may arrive from a member that the roster has not seen.
                let _ = self.events.send(LinkEvent::Up(hello)).await;
                let serving = serve::serve(self.clone(), link.clone());
                self.spawner.spawn("mesh link", OnExit::Fine, Box::pin(serving));
                Ok(link)
            }
        }
    }

    pub(super) async fn accept_all(self: Arc<Self>) {
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
            Ok(Err(error)) => return self.tell_if_tls(peer, &error),
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
                    // There are links enough: it is closed.
                    Err(_) => {}
                }
            }
            Err(error) => {
                match &error {
                    LinkError::Refused(Refusal::Myself) => {}
                    LinkError::NoConnection(_) | LinkError::Channel(ChannelError::Lost(_)) => {
                        tracing::debug!(%peer, %error, "a peer broke off before its hello");
                    }
                    _ => self.refusals.tell(peer, (&error).into(), &error.to_string()),
                }
                refuse(&connection, &error);
            }
        }
    }

    /// The first reason counts.
    pub(crate) fn take_identity(&self, taken: Taken) {
        let _ = self.taken.set(taken);
    }

    /// A handshake that broke because a process ended is no stranger's.
    fn tell_if_tls(&self, peer: SocketAddr, error: &quinn::ConnectionError) {
        if let Some(alert) = tls_alert(error) {
            let reason = format!("TLS did not agree ({}): {error}", likely_cause(alert));
            self.refusals.tell(peer, Topic::Handshake, &reason);
        } else {
            tracing::debug!(%peer, %error, "a handshake broke off");
        }
    }
}

fn refuse(connection: &quinn::Connection, error: &LinkError) {
    if let LinkError::OtherVersion(_) = error {
        connection.close(CLOSE_VERSION, VERSION.to_string().as_bytes());
    } else {
        connection.close(CLOSE_REFUSED, b"refused");
    }
}

/// The version that the peer speaks, when that is why it has closed.
fn version_of(closed: &quinn::ConnectionError) -> Option<u8> {
    let quinn::ConnectionError::ApplicationClosed(close) = closed else { return None };
    let said = std::str::from_utf8(&close.reason).ok().filter(|_| close.error_code == CLOSE_VERSION);
    said?.parse().ok()
}
