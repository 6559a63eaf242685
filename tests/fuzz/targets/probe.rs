//! A packet of a failure detector: what is read writes, reads back as the same, and no rumour takes more room than
//! is counted for it.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_mesh::detector::message::{Body, MemberClaim, Packet, Rumour};
use beatmesh_mesh::id::{Generation, Incarnation};
use beatmesh_mesh::member::{Claim, Liveness};
use beatmesh_mesh::wire::probe;
use libfuzzer_sys::fuzz_target;

fn golden() -> Vec<Vec<u8>> {
    let name = |name: &str| name.parse().expect("a label");
    let claim =
        Claim { generation: Generation(300), incarnation: Incarnation(2), liveness: Liveness::Suspect };
    let addr = "[::1]:7946".parse().expect("an address");
    let member = MemberClaim { node: name("n"), claim, addr, by: name("m") };
    let bodies = [
        Body::Ping { seq: 1 },
        Body::PingReq { seq: 2, target: name("t") },
        Body::Ack { seq: 3 },
        Body::Nack { seq: 4 },
        Body::News,
        Body::Table,
    ];
    let packet = |body| Packet {
        incarnation: Incarnation(9),
        body,
        rumours: vec![Rumour::Member(member.clone()), Rumour::Topic { topic: 1, value: 7 }],
    };
    bodies.into_iter().map(|body| probe::encode(&packet(body))).collect()
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let Ok(packet) = probe::decode(data) else { return };
    assert!(packet.rumours.len() <= 128);
    let written = probe::encode(&packet);
    assert!(written.len() <= data.len(), "the shortest form is written");
    assert_eq!(probe::decode(&written).as_ref(), Ok(&packet));
    let bare = probe::encode(&Packet { rumours: Vec::new(), ..packet.clone() });
    let room: usize = packet.rumours.iter().map(Rumour::room).sum();
    // The number of rumours takes one byte also for the largest packet.
    assert!(written.len() <= bare.len() + room, "{packet:?}");
});
