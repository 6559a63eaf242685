//! Somebody who speaks QUIC to a node and is none: with papers that are missing, forged, outdated or good,
//! and with any bytes that a test gives it.
//!
//! The papers are made here once more, as `mesh/src/transport/tls.rs` describes them: an own implementation of
//! the scheme, so that one who changes the scheme changes it knowingly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::id::{Generation, ProcessId};
use beatmesh_mesh::member::Facts;
use beatmesh_mesh::wire::message::Hello;
use beatmesh_mesh::wire::{self, Frame, HEADER};
use bytes::Bytes;
use hkdf::Hkdf;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use sha2::Sha256;

/// A refusal takes a round trip; a node that says nothing gives up after two seconds.
const ANSWER: Duration = Duration::from_secs(10);

/// What a stranger shows in TLS.
#[derive(Clone, Debug)]
pub struct Papers {
    /// From whom the authority's key is derived; `None` shows no certificate at all.
    secret: Option<Vec<u8>>,
    name: String,
    /// Valid from the first day of the one year to the first day of the other.
    years: (i32, i32),
    protocol: &'static [u8],
}

impl Papers {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self { secret: None, ..Self::of(b"", "nobody") }
    }

    /// Those of a node of this name in the mesh with this secret.
    #[must_use]
    pub fn of(secret: &[u8], name: &str) -> Self {
        Self {
            secret: Some(secret.to_vec()),
            name: name.to_owned(),
            years: (1975, 4096),
            protocol: b"beatmesh/1",
        }
    }

    /// Valid in these years only.
    #[must_use]
    pub fn years(mut self, from: i32, to: i32) -> Self {
        self.years = (from, to);
        self
    }

    /// Asking for another protocol than a node speaks.
    #[must_use]
    pub fn protocol(mut self, protocol: &'static [u8]) -> Self {
        self.protocol = protocol;
        self
    }

    fn config(&self) -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match &self.secret {
            None => builder.with_no_client_auth(),
            Some(secret) => {
                let (chain, key) = self.certificate(secret);
                builder.with_client_auth_cert(chain, key).expect("a key of a kind that rustls knows")
            }
        };
        config.alpn_protocols = vec![self.protocol.to_vec()];
        config
    }

    fn certificate(&self, secret: &[u8]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        const PKCS8_PREFIX: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let mut seed = [0; 32];
        let keys = Hkdf::<Sha256>::new(Some(b"beatmesh 1"), secret);
        keys.expand(b"certificate authority", &mut seed).expect("32 bytes are few");
        let key = PrivatePkcs8KeyDer::from([&PKCS8_PREFIX[..], &seed].concat());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).expect("any 32 bytes are a key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name = named("beatmesh mesh authority");
        let issuer = Issuer::new(authority, key);

        let names = vec!["mesh.internal".to_owned(), format!("{}.mesh.internal", self.name)];
        let mut leaf = CertificateParams::new(names).expect("the names are good");
        leaf.distinguished_name = named("beatmesh node");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (leaf.not_before, leaf.not_after) =
            (date_time_ymd(self.years.0, 1, 1), date_time_ymd(self.years.1, 1, 1));
        let own = KeyPair::generate_for(&PKCS_ED25519).expect("there is randomness");
        let signed = leaf.signed_by(&own, &issuer).expect("the parameters are good");
        (vec![signed.der().clone()], PrivatePkcs8KeyDer::from(own.serialize_der()).into())
    }
}

fn named(name: &str) -> rcgen::DistinguishedName {
    let mut named = rcgen::DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// Takes whoever answers for a node: it is not the stranger who has to beware.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// One endpoint with its papers.
#[derive(Debug)]
pub struct Stranger {
    pub(crate) endpoint: Endpoint,
}

impl Stranger {
    /// At an address that the system chooses.
    ///
    /// # Panics
    /// When there is no socket for it.
    #[must_use]
    pub fn new(papers: &Papers) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut endpoint = Endpoint::client(any).expect("there is a free port");
        let crypto = QuicClientConfig::try_from(papers.config()).expect("TLS 1.3 is there");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        Self { endpoint }
    }

    /// Where it is.
    ///
    /// # Panics
    /// When its socket is gone.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("it is bound")
    }

    /// Dials a node. TLS may still fail afterwards: the node judges the papers later than this side its.
    ///
    /// # Errors
    /// What the node or QUIC says.
    pub async fn dial(&self, node: SocketAddr) -> Result<Connection, ConnectionError> {
        self.endpoint.connect(node, "mesh.internal").expect("a good address").await
    }

    /// Dials, and sends these bytes as the whole first stream; answers what comes back on it, or how the
    /// connection ended.
    ///
    /// # Errors
    /// The node closed the connection, before or instead of an answer.
    ///
    /// # Panics
    /// When the node does neither.
    pub async fn say(&self, node: SocketAddr, bytes: &[u8]) -> Result<Vec<Frame>, ConnectionError> {
        let connection = self.dial(node).await?;
        let exchange = async {
            let (mut send, mut recv) = connection.open_bi().await?;
            let sent = async {
                send.write_all(bytes).await.ok()?;
                send.finish().ok()
            };
            sent.await;
            match recv.read_to_end(1 << 20).await {
                Ok(answer) if !answer.is_empty() => Ok(frames(&answer.into())),
                _ => Err(connection.closed().await),
            }
        };
        tokio::time::timeout(ANSWER, exchange).await.expect("the node neither answered nor closed")
    }
}

/// The frames in these bytes.
pub(crate) fn frames(bytes: &Bytes) -> Vec<Frame> {
    let (mut rest, mut frames) = (bytes.clone(), Vec::new());
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (kind, length) = wire::parse_header(header, rest.len()).expect("nodes speak well");
        let payload = rest.slice(HEADER..HEADER + length);
        rest = rest.slice(HEADER + length..);
        frames.push(Frame { kind, payload });
    }
    frames
}

/// A hello of a node that is not ready.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn hello(store: &str, name: &str, generation: u64, advertise: SocketAddr) -> Hello {
    Hello {
        mesh: "beatmesh".parse().expect("a name"),
        store: store.to_owned(),
        node: name.parse().expect("a name"),
        generation: Generation(generation),
        process: ProcessId(7),
        advertise,
        facts: Facts { version: 1, entries: [("ready".to_owned(), "0".to_owned())].into() },
    }
}
