//! The short messages between nodes: hints that save polling. Each may be lost, late or repeated, and
//! nothing but speed depends on any of them.

use bytes::Bytes;
use uuid::Uuid;

use crate::queue::task::TaskId;

/// Topics of the mesh's news: of each only the highest value counts, so they reach everybody in a mesh of any
/// size and are repeated to nobody.
pub mod topic {
    /// The catalogue's revision.
    pub const CATALOGUE: u16 = 1;
}

/// A hint from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is work in the queue's store.
    Work,
    /// Tasks that you may be waiting for have ended; at least one, at most [`MOST_ENDED`].
    Ended(Vec<TaskId>),
}

/// Bytes of an id.
const ID: usize = 16;

/// Tasks in one hint: with what QUIC and the mesh put around them they fit into a datagram of 1,200 bytes, which
/// passes everywhere.
pub const MOST_ENDED: usize = 64;
const _: () = assert!(MOST_ENDED * ID <= 1_024);

impl Notice {
    /// As bytes: a kind, then what belongs to it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Work => vec![1],
            Self::Ended(ids) => {
                let mut bytes = vec![2];
                ids.iter().for_each(|id| bytes.extend_from_slice(id.0.as_bytes()));
                bytes
            }
        }
    }

    /// From bytes; `None` for what a later version may mean.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        match bytes.split_first()? {
            (1, []) => Some(Self::Work),
            (2, ids) if !ids.is_empty() && ids.len().is_multiple_of(ID) && ids.len() <= ID * MOST_ENDED => {
                let ids = ids.chunks(ID).map(|id| Uuid::from_slice(id).ok().map(TaskId));
                Some(Self::Ended(ids.collect::<Option<_>>()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back_and_nonsense_does_not() {
        let ids = |count| (0..count).map(|id| TaskId(Uuid::from_u128(id))).collect::<Vec<_>>();
        for notice in [Notice::Work, Notice::Ended(ids(1)), Notice::Ended(ids(MOST_ENDED as u128))] {
            assert_eq!(Notice::decode(&notice.encode().into()), Some(notice));
        }
        let too_many = Notice::Ended(ids(MOST_ENDED as u128 + 1)).encode();
        for bytes in [&b""[..], b"\x01x", b"\x02", b"\x02short", b"\xff", &too_many] {
            assert_eq!(Notice::decode(&Bytes::copy_from_slice(bytes)), None);
        }
    }
}
