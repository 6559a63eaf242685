//! The messages of protocol version 1. Frozen: a change is a new kind with a new struct.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, MeshName, NodeId, ProcessId};
use crate::member::Facts;

/// What a frame's payload is.
pub mod kind {
    /// [`super::Hello`]: first frame of a connection's first stream.
    pub const HELLO: u8 = 1;
    /// [`super::Hello`] of the other side: the link is up.
    pub const WELCOME: u8 = 2;
    /// [`super::Refusal`]: the link is not wanted.
    pub const REFUSED: u8 = 3;
    /// A chitchat message in chitchat's own encoding.
    pub const GOSSIP: u8 = 4;
    /// [`super::Goodbye`].
    pub const GOODBYE: u8 = 5;
    /// [`super::FactsUpdate`]: facts that are urgent, ahead of gossip.
    pub const FACTS: u8 = 6;
    /// A short text of the product; the mesh does not look inside.
    pub const NOTICE: u8 = 7;
    /// [`super::Open`]: first frame of a channel.
    pub const OPEN: u8 = 8;
    /// A message between failure detectors; see [`super::super::probe`].
    pub const PROBE: u8 = 9;
    /// Nothing: its acknowledgement by QUIC is all that is wanted.
    pub const SIGN_OF_LIFE: u8 = 10;
    /// From here on kinds belong to whoever opened the channel.
    pub const FIRST_OF_CHANNEL: u8 = 32;
}

/// Says who is calling. Sent by the side that dialled, answered in kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Must be equal on both sides.
    pub mesh: MeshName,
    /// The random id that lives in the common store; must be equal on both sides.
    pub store: String,
    /// Must be the name in the certificate.
    pub node: NodeId,
    /// Which start of the node.
    pub generation: Generation,
    /// Which process.
    pub process: ProcessId,
    /// Where this side takes connections.
    pub advertise: SocketAddr,
    /// What it says about itself.
    pub facts: Facts,
}

/// Why a link is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A node dialled its own address.
    #[error("this is the node itself")]
    Myself,
    /// Another mesh.
    #[error("it does not belong to mesh `{0}`: nodes of one mesh have one mesh.name")]
    OtherMesh(MeshName),
    /// Nodes on different stores would each fire every schedule.
    #[error(
        "it uses another store (id {0}): nodes of one mesh share one store; give all of them the same --db"
    )]
    OtherStore(String),
    /// Two processes with one node id.
    #[error("process {0} has the same node id: two nodes must not share a name or a data directory")]
    SameIdentity(ProcessId),
    /// The certificate is valid, but for another node id.
    #[error("its certificate does not belong to the node id that it claims")]
    NotItsCertificate,
    /// A later start of this node is known already.
    #[error("generation {0} of this node is known, which is newer")]
    OldGeneration(Generation),
    /// Facts over the limits, or an address that cannot be reached.
    #[error("what it says about itself is not valid")]
    Malformed,
    /// One mesh cannot hold more members.
    #[error("the mesh has {0} members, which is the most that one mesh can hold")]
    Full(u32),
    /// A peer on another machine would look for it on its own.
    #[error(
        "it advertises {0}, which on every machine is that machine itself: start it with --advertise and an address that others reach"
    )]
    OnlyItsOwn(SocketAddr),
}

/// A member leaves; its generation is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Which life.
    pub generation: Generation,
}

/// A member's own facts, sent directly when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsUpdate {
    /// Which life.
    pub generation: Generation,
    /// All facts, not only the changed ones.
    pub facts: Facts,
}

/// Opens a channel to a service of the other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which service.
    pub service: u16,
    /// The service's own header.
    pub header: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{from_payload, to_payload};

    fn hello() -> Hello {
        Hello {
            mesh: "m".parse().unwrap(),
            store: "s".into(),
            node: "n".parse().unwrap(),
            generation: Generation(300),
            process: ProcessId(4),
            advertise: "127.0.0.1:7946".parse().unwrap(),
            facts: Facts { version: 5, entries: [("ready".to_owned(), "1".to_owned())].into() },
        }
    }

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let refusals = [
            Refusal::Myself,
            Refusal::OtherMesh("m".parse().unwrap()),
            Refusal::OtherStore("s".into()),
            Refusal::SameIdentity(ProcessId(4)),
            Refusal::NotItsCertificate,
            Refusal::OldGeneration(Generation(7)),
            Refusal::Malformed,
            Refusal::Full(9),
            Refusal::OnlyItsOwn("127.0.0.1:7946".parse().unwrap()),
        ];
        let others = [
            ("hello", to_payload(&hello())),
            ("goodbye", to_payload(&Goodbye { generation: Generation(7) })),
            ("open", to_payload(&Open { service: 2, header: vec![1, 2] })),
        ];
        let golden = refusals.iter().map(|refusal| ("refusal", to_payload(refusal))).chain(others);
        let shown: Vec<_> = golden.map(|(name, bytes)| format!("{name} {}", hex(&bytes))).collect();
        assert_eq!(shown, GOLDEN);
    }

    const GOLDEN: [&str; 12] = [
        "refusal 00",
        "refusal 01016d",
        "refusal 020173",
        "refusal 0304",
        "refusal 04",
        "refusal 0507",
        "refusal 06",
        "refusal 0709",
        "refusal 08007f000001fb0a1f",
        "hello 016d0173016efb2c0104007f000001fb0a1f05010572656164790131",
        "goodbye 07",
        "open 02020102",
    ];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_hello_reads_back_and_a_cut_or_longer_one_does_not() {
        let bytes = to_payload(&hello());
        assert_eq!(from_payload::<Hello>(1, &bytes), Ok(hello()));
        for cut in 0..bytes.len() {
            assert!(from_payload::<Hello>(1, &bytes[..cut]).is_err());
        }
        assert!(from_payload::<Hello>(1, &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_node_id_on_the_wire_is_checked_like_any_other() {
        #[derive(Serialize)]
        struct Forged<'a>(&'a str);
        assert!(from_payload::<NodeId>(1, &to_payload(&Forged("../etc"))).is_err());
    }
}
