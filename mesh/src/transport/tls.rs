//! Mutual TLS from one shared secret.
//!
//! The secret gives, through HKDF, the key of a certificate authority that is the same on every node;
//! each node mints its own leaf from it. So any holder of the secret can mint any identity: the secret
//! decides who is in the mesh, not who is who. The names in a leaf are `mesh.internal` (what a dialler
//! asks for, since it may not know who lives at an address) and `<node id>.mesh.internal`.

use std::sync::Arc;
use std::time::Duration;

use hkdf::Hkdf;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::env::{Clock, Entropy};
use crate::id::NodeId;

/// The name that every node of every mesh answers to.
pub(crate) const ANY_NODE: &str = "mesh.internal";

/// Spoken inside the TLS handshake, so that another protocol on our port is refused at once.
const ALPN: &[u8] = b"beatmesh/1";

/// A secret with less than this can be guessed offline from one leaf certificate.
pub const SHORTEST_SECRET: usize = 16;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The secret is too short.
    #[error(
        "the secret has {0} bytes; at least {SHORTEST_SECRET} random bytes are needed (`beatmesh secret new` makes one)"
    )]
    ShortSecret(usize),
    /// The certificate library refused; a bug.
    #[error("certificates could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused; a bug.
    #[error("TLS could not be set up: {0}")]
    Rustls(String),
}

/// What the endpoint needs: both sides' TLS, and keys that let a restarted process reset the
/// connections of its former life.
pub(crate) struct Credentials {
    pub(crate) server: Arc<rustls::ServerConfig>,
    pub(crate) client: Arc<rustls::ClientConfig>,
    /// Signs stateless resets; equal across restarts of one node.
    pub(crate) reset_key: [u8; 32],
    /// Keys connection ids; equal across restarts of one node.
    pub(crate) connection_id_key: u64,
}

/// Makes this node's credentials.
pub(crate) fn credentials(
    secret: &SecretSlice<u8>,
    node: &NodeId,
    entropy: &dyn Entropy,
    clock: Arc<dyn Clock>,
) -> Result<Credentials, TlsError> {
    let length = secret.expose_secret().len();
    if length < SHORTEST_SECRET {
        return Err(TlsError::ShortSecret(length));
    }
    let derive = |purpose: &str| {
        let mut key = [0_u8; 32];
        Hkdf::<Sha256>::new(Some(b"beatmesh 1"), secret.expose_secret())
            .expand(purpose.as_bytes(), &mut key)
            .expect("32 bytes are within what HKDF-SHA256 can give");
        key
    };
    let ca_key = ed25519(&derive("certificate authority"))?;
    let ca_params = authority_params();
    let ca = ca_params.self_signed(&ca_key)?;
    let mut leaf_seed = [0_u8; 32];
    entropy.fill(&mut leaf_seed);
    let leaf_key = ed25519(&leaf_seed)?;
    let leaf = leaf_params(node)?.signed_by(&leaf_key, &Issuer::new(ca_params, ca_key))?;

    let chain = vec![leaf.der().clone()];
    let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).map_err(rustls_error)?;
    let roots = Arc::new(roots);
    let time: Arc<dyn TimeProvider> = Arc::new(ClockTime(clock));

    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| TlsError::Rustls(error.to_string()))?;
    let mut server = rustls::ServerConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(rustls_error)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key())
        .map_err(rustls_error)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption: a link lives long, and a ticket would outlive a change of the secret.
    server.send_tls13_tickets = 0;
    let mut client = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(rustls_error)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key())
        .map_err(rustls_error)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();

    let id_key = derive(&format!("connection ids of {node}"));
    Ok(Credentials {
        server: Arc::new(server),
        client: Arc::new(client),
        reset_key: derive(&format!("stateless resets of {node}")),
        connection_id_key: u64::from_le_bytes(*id_key.first_chunk().expect("32 bytes hold 8")),
    })
}

/// Whether `certificate` carries the name of `node`.
pub(crate) fn certificate_names(certificate: &CertificateDer<'_>, node: &NodeId) -> bool {
    let (Ok(leaf), Ok(name)) =
        (webpki::EndEntityCert::try_from(certificate), ServerName::try_from(node_name(node)))
    else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

fn node_name(node: &NodeId) -> String {
    format!("{node}.{ANY_NODE}")
}

/// An Ed25519 key from its seed: RFC 8410's PKCS#8 is a fixed prefix and the seed.
fn ed25519(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    const PKCS8_PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let der = PrivatePkcs8KeyDer::from([&PKCS8_PREFIX[..], seed].concat());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
}

/// Fixed in every field, so that the certificate is byte-identical on every node.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params.distinguished_name = distinguished("beatmesh mesh authority");
    params
}

fn leaf_params(node: &NodeId) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![ANY_NODE.to_owned(), node_name(node)])?;
    params.distinguished_name = distinguished("beatmesh node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn rustls_error(error: rustls::Error) -> TlsError {
    TlsError::Rustls(error.to_string())
}

/// Certificate dates are judged by the node's own clock seam.
struct ClockTime(Arc<dyn Clock>);

impl std::fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.wall().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}
