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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is work in the queue's store.
    Work,
    /// A task that you may be waiting for has ended.
    Ended(TaskId),
}

impl Notice {
    /// As bytes: a kind, then what belongs to it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Work => vec![1],
            Self::Ended(id) => [&[2], &id.0.as_bytes()[..]].concat(),
        }
    }

    /// From bytes; `None` for what a later version may mean.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        match bytes.split_first()? {
            (1, []) => Some(Self::Work),
            (2, id) => Some(Self::Ended(TaskId(Uuid::from_slice(id).ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_read_back_and_nonsense_does_not() {
        let id = TaskId(Uuid::from_u128(7));
        for notice in [Notice::Work, Notice::Ended(id)] {
            assert_eq!(Notice::decode(&notice.encode().into()), Some(notice));
        }
        for bytes in [&b""[..], b"\x01x", b"\x02short", b"\xff"] {
            assert_eq!(Notice::decode(&Bytes::copy_from_slice(bytes)), None);
        }
    }
}
