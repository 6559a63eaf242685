//! A frame as it comes in a datagram or a stream: what is read writes back byte by byte, and what it holds goes
//! the way that it goes in a node.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_mesh::wire::message::{FactsUpdate, Goodbye, Hello, Open, Refusal, kind};
use beatmesh_mesh::wire::{self, HEADER, from_payload, probe, to_payload};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Far below what a node allows: the limit must hold for small inputs too.
const LIMIT: usize = 1_000;

fuzz_target!(
    init: seeds([
        wire::encode(kind::SIGN_OF_LIFE, b""),
        wire::encode(kind::NOTICE, b"text"),
        wire::encode(kind::REFUSED, &to_payload(&Refusal::Full(1_000))),
        wire::encode(kind::OPEN, &to_payload(&Open { service: 1, header: vec![1, 2] })),
    ]),
    |data: &[u8]| {
        if let Some(header) = data.first_chunk::<HEADER>()
            && let Ok((kind, length)) = wire::parse_header(header, LIMIT)
        {
            assert!(length <= LIMIT);
            assert_eq!(wire::header(kind, length), *header);
        }
        let Ok(frame) = wire::decode(&Bytes::copy_from_slice(data), LIMIT) else { return };
        assert!(frame.payload.len() <= LIMIT);
        assert_eq!(wire::encode(frame.kind, &frame.payload), data);
        let (kind, payload) = (frame.kind, &frame.payload[..]);
        match kind {
            kind::HELLO | kind::WELCOME => drop(from_payload::<Hello>(kind, payload)),
            kind::REFUSED => drop(from_payload::<Refusal>(kind, payload)),
            kind::GOODBYE => drop(from_payload::<Goodbye>(kind, payload)),
            kind::FACTS => drop(from_payload::<FactsUpdate>(kind, payload)),
            kind::OPEN => drop(from_payload::<Open>(kind, payload)),
            kind::PROBE => drop(probe::decode(payload)),
            _ => {}
        }
    }
);
