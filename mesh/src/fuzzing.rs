//! What the fuzz targets call and nobody else may: exists only in their build (`--cfg fuzzing`).

pub use crate::detector::fuzzing::{excess, timers};
pub use crate::gossip::scripted::gossip;
use crate::id::NodeId;

/// Whether a certificate of a peer carries the name of `node`.
#[must_use]
pub fn certificate_names(certificate: &[u8], node: &NodeId) -> bool {
    crate::transport::tls::certificate_names(&certificate.into(), node)
}
