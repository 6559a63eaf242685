//! The messages of the mesh, each by its kind in the first byte: what is read writes, and reads back as the same.
#![no_main]

use std::fmt::Debug;

use beatmesh_fuzz::seeds;
use beatmesh_mesh::id::{Generation, ProcessId};
use beatmesh_mesh::member::{Facts, LONGEST_FACT_KEY, LONGEST_FACT_VALUE, MOST_FACTS};
use beatmesh_mesh::wire::message::{FactsUpdate, Goodbye, Hello, Open, Refusal, kind};
use beatmesh_mesh::wire::{from_payload, to_payload};
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

fn check(facts: &Facts) {
    let _ = (facts.is_ready(), facts.set_of("roles"));
    assert!((1..=100).contains(&facts.weight()));
    if facts.is_within_limits() {
        let bytes: usize = facts.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= MOST_FACTS * (LONGEST_FACT_KEY + LONGEST_FACT_VALUE));
    }
}

fn golden() -> Vec<Vec<u8>> {
    let entries = [("ready", "1"), ("weight", "7"), ("roles", "server,worker")];
    let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let facts = Facts { version: 5, entries: entries.into() };
    let hello = Hello {
        mesh: "m".parse().expect("a label"),
        store: "s".into(),
        node: "n".parse().expect("a label"),
        generation: Generation(300),
        process: ProcessId(4),
        advertise: "[::1]:7946".parse().expect("an address"),
        facts: facts.clone(),
    };
    let as_kind = |kind: u8, payload: Vec<u8>| [vec![kind], payload].concat();
    let mut golden = vec![
        as_kind(kind::HELLO, to_payload(&hello)),
        as_kind(kind::GOODBYE, to_payload(&Goodbye { generation: Generation(1) })),
        as_kind(kind::FACTS, to_payload(&FactsUpdate { generation: Generation(1), facts })),
        as_kind(kind::OPEN, to_payload(&Open { service: 1, header: vec![1, 2] })),
    ];
    let refusals = [
        Refusal::Myself,
        Refusal::OtherMesh("m".parse().expect("a label")),
        Refusal::OtherStore("s".into()),
        Refusal::SameIdentity(ProcessId(1)),
        Refusal::OldGeneration(Generation(2)),
        Refusal::Full(3),
    ];
    golden.extend(refusals.iter().map(|refusal| as_kind(kind::REFUSED, to_payload(refusal))));
    golden
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let Some((kind, payload)) = data.split_first() else { return };
    match *kind {
        kind::HELLO => drop(round::<Hello>(*kind, payload).inspect(|hello| check(&hello.facts))),
        kind::REFUSED => drop(round::<Refusal>(*kind, payload).map(|refusal| refusal.to_string())),
        kind::GOODBYE => drop(round::<Goodbye>(*kind, payload)),
        kind::FACTS => drop(round::<FactsUpdate>(*kind, payload).inspect(|update| check(&update.facts))),
        kind::OPEN => drop(round::<Open>(*kind, payload)),
        _ => {}
    }
});
