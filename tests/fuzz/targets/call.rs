//! What travels with a call between nodes, each by its kind in the first byte: what is read writes, and reads back
//! as the same.
#![no_main]

use std::fmt::Debug;

use beatmesh_fuzz::{has_fraction, seeds};
use beatmesh_mesh::wire::{from_payload, to_payload};
use beatmesh_node::catalogue::name::FunctionName;
use beatmesh_node::problem::Problem;
use beatmesh_node::router::wire::{CallHeader, Head, No, kind};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round<M: Serialize + DeserializeOwned + PartialEq + Debug>(kind: u8, payload: &[u8]) -> Option<M> {
    let message: M = from_payload(kind, payload).ok()?;
    let written = to_payload(&message);
    assert!(written.len() <= payload.len(), "the shortest form is written");
    assert_eq!(from_payload::<M>(kind, &written).as_ref(), Ok(&message));
    Some(message)
}

fn golden() -> Vec<Vec<u8>> {
    let header = CallHeader {
        id: [7; 16],
        function: "f".into(),
        catalogue_revision: 1,
        ring_fingerprint: 2,
        content_type: "application/json".into(),
        input_length: 3,
        timeout_ms: 4,
        patience_ms: 5,
    };
    let head = Head { content_type: "text/plain".into(), length: Some(9) };
    let problem = Problem::answer_lost("n", "it closed the channel");
    vec![
        [vec![kind::ACCEPTED], to_payload(&header)].concat(),
        [vec![kind::NO], to_payload(&No::TooLarge)].concat(),
        [vec![kind::HEAD], to_payload(&head)].concat(),
        [vec![kind::FAILED], serde_json::to_vec(&problem).expect("JSON")].concat(),
    ]
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let Some((kind, payload)) = data.split_first() else { return };
    match *kind {
        kind::ACCEPTED => {
            if let Some(header) = round::<CallHeader>(*kind, payload) {
                drop(header.function.parse::<FunctionName>());
            }
        }
        kind::NO => drop(round::<No>(*kind, payload)),
        kind::HEAD => drop(round::<Head>(*kind, payload)),
        kind::FAILED => {
            let Ok(problem) = serde_json::from_slice::<Problem>(payload) else { return };
            let written = serde_json::to_vec(&problem).expect("a problem is JSON");
            let again = serde_json::from_slice::<Problem>(&written).ok();
            if !problem.more.values().any(has_fraction) {
                assert_eq!(again, Some(problem));
            }
        }
        _ => {}
    }
});
