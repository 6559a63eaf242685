//! The first exchange on a connection: both sides say who they are, and either may refuse.

use std::time::Duration;

use quinn::Connection;
use rustls::pki_types::CertificateDer;

use super::channel::{Channel, ChannelError};
use super::tls::certificate_names;
use crate::id::{MeshName, NodeId, ProcessId};
use crate::wire::message::{Hello, Refusal, kind};
use crate::wire::{VERSION, WireError, from_payload, to_payload};

/// A peer that has not said hello by then is not one. The exchange takes one round trip; this leaves
/// room for a busy machine.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// Why no link came up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No answer, or TLS did not agree: nobody there, or another secret.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// The connection broke during the exchange, or the peer said what cannot be read.
    #[error(transparent)]
    Channel(ChannelError),
    /// The peer has the secret and is of another release.
    #[error(
        "it speaks version {0} of the mesh's protocol and this node version {VERSION}: give all nodes one release of beatmesh"
    )]
    OtherVersion(u8),
    /// This node does not want the peer.
    #[error("refused here: {0}")]
    Refused(Refusal),
    /// The peer does not want this node.
    #[error("refused by the peer, which says of this node: {0}")]
    RefusedByPeer(Refusal),
    /// The peer knows another process that has this node's id and generation.
    #[error("refused by the peer, which knows process {0} under the id and generation of this node")]
    TwinIsLinked(ProcessId),
    /// The peer speaks our protocol but says something else than hello.
    #[error("the peer did not say hello")]
    NoHello,
}

impl From<ChannelError> for LinkError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Wire(WireError::Version(version)) => Self::OtherVersion(version),
            error => Self::Channel(error),
        }
    }
}

/// What this node demands of every peer.
#[derive(Clone, Debug)]
pub(crate) struct Demands {
    pub(crate) mesh: MeshName,
    pub(crate) store: String,
    pub(crate) node: NodeId,
    pub(crate) process: ProcessId,
    /// The version of its frames.
    pub(crate) version: u8,
    /// Whether it must be of the same mesh; not so only in tests.
    pub(crate) same_mesh: bool,
    /// Whether it must have the same store; not so only in tests.
    pub(crate) same_store: bool,
    /// Whether of two processes of one life only one is let in; not so only in tests.
    pub(crate) one_process: bool,
}

impl Demands {
    /// Judges a peer's hello. The certificate comes last, so that the reason given is the one that the
    /// operator can act on.
    fn judge(&self, hello: &Hello, certificate: Option<&CertificateDer<'_>>) -> Result<(), Refusal> {
        if self.same_mesh && hello.mesh != self.mesh {
            return Err(Refusal::OtherMesh(self.mesh.clone()));
        }
        if hello.node == self.node {
            let myself = hello.process == self.process;
            return Err(if myself { Refusal::Myself } else { Refusal::SameIdentity(self.process) });
        }
        if self.same_store && hello.store != self.store {
            return Err(Refusal::OtherStore(self.store.clone()));
        }
        let reachable = !hello.advertise.ip().is_unspecified() && hello.advertise.port() != 0;
        if !reachable || !hello.facts.is_within_limits() {
            return Err(Refusal::Malformed);
        }
        if certificate.is_none_or(|certificate| !certificate_names(certificate, &hello.node)) {
            return Err(Refusal::NotItsCertificate);
        }
        Ok(())
    }
}

/// The dialling side: says hello, reads the answer, judges it.
pub(crate) async fn introduce(
    connection: &Connection,
    own: &Hello,
    demands: &Demands,
) -> Result<Hello, LinkError> {
    let answer = within(async {
        let (send, recv) = connection.open_bi().await.map_err(lost)?;
        let mut channel = Channel::new(send, recv).speaking(demands.version);
        channel.writer.send(kind::HELLO, &to_payload(own)).await?;
        channel.writer.finish();
        let frame = channel.reader.next().await?.ok_or(LinkError::NoHello)?;
        match frame.kind {
            kind::WELCOME => {
                let hello = from_payload(frame.kind, &frame.payload).map_err(ChannelError::from)?;
                demands.judge(&hello, certificate(connection).as_ref()).map_err(LinkError::Refused)?;
                Ok(hello)
            }
            kind::REFUSED => {
                let refusal = from_payload(frame.kind, &frame.payload).map_err(ChannelError::from)?;
                let is_twin =
                    || certificate(connection).is_some_and(|peer| certificate_names(&peer, &demands.node));
                Err(match refusal {
                    // The other process says so itself. Which of the two has to go, it does not know either.
                    Refusal::SameIdentity(_) if is_twin() => LinkError::RefusedByPeer(refusal),
                    Refusal::SameIdentity(process) => LinkError::TwinIsLinked(process),
                    refusal => LinkError::RefusedByPeer(refusal),
                })
            }
            _ => Err(LinkError::NoHello),
        }
    });
    answer.await.unwrap_or_else(|| Err(LinkError::NoConnection("no hello in time".to_owned())))
}

/// The accepting side, first half: reads the hello and judges it. The channel is for the answer.
pub(crate) async fn receive(
    connection: &Connection,
    demands: &Demands,
) -> Result<(Hello, Channel), LinkError> {
    let hello = within(async {
        let (send, recv) = connection.accept_bi().await.map_err(lost)?;
        let mut channel = Channel::new(send, recv).speaking(demands.version);
        let frame = channel.reader.next().await?.ok_or(LinkError::NoHello)?;
        if frame.kind != kind::HELLO {
            return Err(LinkError::NoHello);
        }
        let hello: Hello = from_payload(frame.kind, &frame.payload).map_err(ChannelError::from)?;
        Ok((hello, channel))
    });
    // Whoever dialled has the secret and nothing to wait for.
    let (hello, mut channel) = hello.await.unwrap_or(Err(LinkError::NoHello))?;
    if let Err(refusal) = demands.judge(&hello, certificate(connection).as_ref()) {
        // Who does not listen is refused for the same reason.
        refuse(&mut channel, &refusal).await;
        return Err(LinkError::Refused(refusal));
    }
    Ok((hello, channel))
}

/// The accepting side, second half.
pub(crate) async fn welcome(channel: &mut Channel, own: &Hello) -> Result<(), LinkError> {
    channel.writer.send(kind::WELCOME, &to_payload(own)).await?;
    channel.writer.finish();
    Ok(())
}

/// Tells the peer why it is refused, and waits until it has read that, but not long.
pub(crate) async fn refuse(channel: &mut Channel, refusal: &Refusal) {
    let telling = tell_refusal(channel, refusal);
    let _ = tokio::time::timeout(HELLO_WITHIN, telling).await;
}

async fn tell_refusal(channel: &mut Channel, refusal: &Refusal) {
    if channel.writer.send(kind::REFUSED, &to_payload(refusal)).await.is_ok() {
        channel.writer.finish();
        channel.writer.stopped().await;
    }
}

/// `None` when the time is over.
async fn within<T>(exchange: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(HELLO_WITHIN, exchange).await.ok()
}

fn certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

fn lost(error: quinn::ConnectionError) -> LinkError {
    LinkError::NoConnection(error.to_string())
}
