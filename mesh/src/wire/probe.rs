//! The detector's messages as bytes. The body and each rumour stand in envelopes of their own kind and length, so
//! that a node skips those of a later version and reads the rest.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::message::kind;
use super::{WireError, from_payload, to_payload};
use crate::detector::message::{Body, MemberClaim, Packet, Rumour};
use crate::id::{Generation, Incarnation, NodeId};
use crate::member::{Claim, Liveness};

/// Rumours in one message at most; [`crate::detector::message::ROOM`] lets through fewer.
const MOST_RUMOURS: usize = 128;

/// A message between detectors. Frozen: what is new comes as a new kind of envelope.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Probe {
    incarnation: Incarnation,
    body: Envelope,
    rumours: Vec<Envelope>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Envelope {
    kind: u8,
    letter: Vec<u8>,
}

/// What the [`Envelope`] of a body holds.
mod body {
    pub(super) const PING: u8 = 1;
    pub(super) const PING_REQ: u8 = 2;
    pub(super) const ACK: u8 = 3;
    pub(super) const NACK: u8 = 4;
    pub(super) const NEWS: u8 = 5;
    pub(super) const TABLE: u8 = 6;
    /// Not of this version.
    pub(super) const LATER: u8 = 200;
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SeqLetter {
    seq: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PingReqLetter {
    seq: u32,
    target: NodeId,
}

/// What the [`Envelope`] of a rumour holds.
mod rumour {
    pub(super) const MEMBER: u8 = 1;
    pub(super) const TOPIC: u8 = 2;
    /// Not of this version.
    pub(super) const LATER: u8 = 200;
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MemberLetter {
    node: NodeId,
    generation: Generation,
    incarnation: Incarnation,
    liveness: Liveness,
    addr: SocketAddr,
    by: NodeId,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TopicLetter {
    topic: u16,
    value: u64,
}

/// The payload of a [`kind::PROBE`] frame.
#[must_use]
pub fn encode(packet: &Packet) -> Vec<u8> {
    to_payload(&probe(packet))
}

/// As [`encode`], with a rumour in front that this version does not know; without `is_body_known` the body is
/// unknown as well.
pub(super) fn encode_later(packet: &Packet, is_body_known: bool) -> Vec<u8> {
    let later = |kind| Envelope { kind, letter: vec![1, 2, 3] };
    let mut probe = probe(packet);
    probe.rumours.insert(0, later(rumour::LATER));
    if !is_body_known {
        probe.body = later(body::LATER);
    }
    to_payload(&probe)
}

/// Reads the payload of a [`kind::PROBE`] frame. Rumours of an unknown kind are left out; of a message with an
/// unknown body the rest still counts.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode(payload: &[u8]) -> Result<Packet, WireError> {
    let probe: Probe = from_payload(kind::PROBE, payload)?;
    if probe.rumours.len() > MOST_RUMOURS {
        return Err(WireError::Malformed(kind::PROBE));
    }
    let body = open_body(&probe.body)?;
    let rumours = probe.rumours.iter().filter_map(|envelope| open(envelope).transpose());
    let rumours = rumours.collect::<Result<_, _>>()?;
    Ok(Packet { incarnation: probe.incarnation, body, rumours })
}

fn probe(packet: &Packet) -> Probe {
    let rumours = packet.rumours.iter().map(seal).collect();
    Probe { incarnation: packet.incarnation, body: seal_body(&packet.body), rumours }
}

fn seal_body(body: &Body) -> Envelope {
    let (kind, letter) = match body {
        Body::Ping { seq } => (body::PING, to_payload(&SeqLetter { seq: *seq })),
        Body::PingReq { seq, target } => {
            (body::PING_REQ, to_payload(&PingReqLetter { seq: *seq, target: target.clone() }))
        }
        Body::Ack { seq } => (body::ACK, to_payload(&SeqLetter { seq: *seq })),
        Body::Nack { seq } => (body::NACK, to_payload(&SeqLetter { seq: *seq })),
        Body::News => (body::NEWS, Vec::new()),
        Body::Table => (body::TABLE, Vec::new()),
    };
    Envelope { kind, letter }
}

fn open_body(envelope: &Envelope) -> Result<Body, WireError> {
    let seq = || from_payload(kind::PROBE, &envelope.letter).map(|SeqLetter { seq }| seq);
    Ok(match envelope.kind {
        body::PING => Body::Ping { seq: seq()? },
        body::PING_REQ => {
            let PingReqLetter { seq, target } = from_payload(kind::PROBE, &envelope.letter)?;
            Body::PingReq { seq, target }
        }
        body::ACK => Body::Ack { seq: seq()? },
        body::NACK => Body::Nack { seq: seq()? },
        body::TABLE => Body::Table,
        // Also what a later version asks for: nobody answers, but its news and its incarnation count.
        _ => Body::News,
    })
}

fn seal(rumour: &Rumour) -> Envelope {
    match rumour {
        Rumour::Member(MemberClaim { node, claim, addr, by }) => {
            let letter = MemberLetter {
                node: node.clone(),
                generation: claim.generation,
                incarnation: claim.incarnation,
                liveness: claim.liveness,
                addr: *addr,
                by: by.clone(),
            };
            Envelope { kind: rumour::MEMBER, letter: to_payload(&letter) }
        }
        Rumour::Topic { topic, value } => {
            let letter = TopicLetter { topic: *topic, value: *value };
            Envelope { kind: rumour::TOPIC, letter: to_payload(&letter) }
        }
    }
}

/// `None` for a kind of a later version.
fn open(envelope: &Envelope) -> Result<Option<Rumour>, WireError> {
    Ok(match envelope.kind {
        rumour::MEMBER => {
            let letter: MemberLetter = from_payload(kind::PROBE, &envelope.letter)?;
            let MemberLetter { node, generation, incarnation, liveness, addr, by } = letter;
            let claim = Claim { generation, incarnation, liveness };
            Some(Rumour::Member(MemberClaim { node, claim, addr, by }))
        }
        rumour::TOPIC => {
            let TopicLetter { topic, value } = from_payload(kind::PROBE, &envelope.letter)?;
            Some(Rumour::Topic { topic, value })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rumours() -> Vec<Rumour> {
        let claim =
            Claim { generation: Generation(300), incarnation: Incarnation(2), liveness: Liveness::Suspect };
        let addr = "127.0.0.1:7946".parse().unwrap();
        let member = MemberClaim { node: "n".parse().unwrap(), claim, addr, by: "m".parse().unwrap() };
        vec![Rumour::Member(member), Rumour::Topic { topic: 1, value: 7 }]
    }

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let target = "t".parse().unwrap();
        let bodies = [
            Body::Ping { seq: 1 },
            Body::PingReq { seq: 2, target },
            Body::Ack { seq: 3 },
            Body::Nack { seq: 4 },
            Body::News,
            Body::Table,
        ];
        let mut shown = Vec::new();
        for (index, body) in bodies.into_iter().enumerate() {
            let rumours = if index == 0 { rumours() } else { Vec::new() };
            let packet = Packet { incarnation: Incarnation(9), body, rumours };
            let bytes = encode(&packet);
            assert_eq!(decode(&bytes), Ok(packet));
            shown.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        assert_eq!(shown, GOLDEN);
    }

    const GOLDEN: [&str; 6] = [
        "09010101020111016efb2c010201007f000001fb0a1f016d02020107",
        "09020302017400",
        "0903010300",
        "0904010400",
        "09050000",
        "09060000",
    ];

    #[test]
    fn a_rumour_of_a_later_version_is_left_out_and_a_broken_one_is_not() {
        let with = |envelopes| {
            let body = seal_body(&Body::News);
            to_payload(&Probe { incarnation: Incarnation(0), body, rumours: envelopes })
        };
        let later = Envelope { kind: 200, letter: vec![1, 2, 3] };
        let known = seal(&rumours()[1]);
        let packet = decode(&with(vec![later, known])).unwrap();
        assert_eq!(packet.rumours, [Rumour::Topic { topic: 1, value: 7 }]);
        let broken = Envelope { kind: rumour::MEMBER, letter: vec![1, 2, 3] };
        assert_eq!(decode(&with(vec![broken])), Err(WireError::Malformed(kind::PROBE)));
        let many = (0..=MOST_RUMOURS).map(|_| Envelope { kind: 200, letter: Vec::new() }).collect();
        assert_eq!(decode(&with(many)), Err(WireError::Malformed(kind::PROBE)));
    }

    #[test]
    fn of_a_message_of_a_later_version_what_is_known_counts() {
        let packet = Packet { incarnation: Incarnation(9), body: Body::Ping { seq: 1 }, rumours: rumours() };
        assert_eq!(decode(&encode_later(&packet, true)), Ok(packet.clone()));
        let news = Packet { body: Body::News, ..packet.clone() };
        assert_eq!(decode(&encode_later(&packet, false)), Ok(news));
        let broken = Envelope { kind: body::PING, letter: vec![1, 2] };
        let broken = Probe { incarnation: Incarnation(0), body: broken, rumours: Vec::new() };
        assert_eq!(decode(&to_payload(&broken)), Err(WireError::Malformed(kind::PROBE)));
    }

    #[test]
    fn a_rumour_takes_no_more_room_than_was_counted() {
        let longest: NodeId = "x".repeat(63).parse().unwrap();
        let claim = Claim {
            generation: Generation(u64::MAX),
            incarnation: Incarnation(u64::MAX),
            liveness: Liveness::Dead,
        };
        let addr = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let member = Rumour::Member(MemberClaim { node: longest.clone(), claim, addr, by: longest });
        for rumour in [member, Rumour::Topic { topic: u16::MAX, value: u64::MAX }] {
            assert!(to_payload(&seal(&rumour)).len() <= rumour.room(), "{rumour:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = decode(&bytes);
        }
    }
}
