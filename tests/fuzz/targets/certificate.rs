//! A peer's certificate, which has passed TLS: any bytes may stand there all the same. Only a certificate that
//! was minted for a node carries its name.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_mesh::fuzzing::certificate_names;
use beatmesh_mesh::id::NodeId;
use libfuzzer_sys::fuzz_target;

/// A certificate of the node `n`, as a node mints it.
fn leaf() -> Vec<u8> {
    let names = vec!["mesh.internal".to_owned(), "n.mesh.internal".to_owned()];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let params = rcgen::CertificateParams::new(names).expect("names of DNS");
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

fuzz_target!(init: seeds([leaf()]), |data: &[u8]| {
    for node in ["n", "a-node"] {
        let node: NodeId = node.parse().expect("a label");
        if certificate_names(data, &node) {
            let stands = |name: &str| data.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
            assert!(stands(&format!("{node}.mesh.internal")) || stands("*.mesh.internal"), "{node} stands nowhere");
        }
    }
});
