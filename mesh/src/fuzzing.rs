//! What the fuzz targets call and nobody else may: exists only in their build (`--cfg fuzzing`)
//! and in that of unit tests, which call each once, so that it does not rot.

pub use crate::detector::fuzzing::{excess, timers};
pub use crate::gossip::scripted::gossip;
use crate::id::NodeId;

/// Whether a certificate of a peer carries the name of `node`.
#[must_use]
pub fn certificate_names(certificate: &[u8], node: &NodeId) -> bool {
    crate::transport::tls::certificate_names(&certificate.into(), node)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use tokio::time::Instant;

    use super::*;
    use crate::detector::pace::Pace;
    use crate::detector::{Detector, Input, Myself, Parts};
    use crate::id::Generation;

    #[test]
    fn a_detector_tells_how_much_it_holds() {
        let (now, addr) = (Instant::now(), "127.0.0.1:1".parse().unwrap());
        let me = Myself { node: "me".parse().unwrap(), generation: Generation(1), addr };
        let mut detector = Detector::new(now, me, Pace::LAN, Parts::default(), StdRng::seed_from_u64(1));
        let before = timers(&detector);
        let met = Input::Met { node: "n".parse().unwrap(), generation: Generation(1), addr };
        detector.step(now, met, &mut Vec::new());
        assert_eq!(excess(&detector), None);
        assert!(timers(&detector) > before, "its news waits for company");
    }

    #[test]
    fn a_certificate_names_whom_it_was_minted_for() {
        let names = vec!["mesh.internal".to_owned(), "n.mesh.internal".to_owned()];
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let names = |node: &str| certificate_names(certificate.der(), &node.parse().unwrap());
        assert!(names("n") && !names("m"));
        assert!(!certificate_names(b"no certificate", &"n".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn gossip_bears_what_is_no_message() {
        gossip(vec![bytes::Bytes::from_static(b"no message")]).await;
    }
}
