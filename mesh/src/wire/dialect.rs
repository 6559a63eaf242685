//! How a node talks. In production all talk alike; a test lets some of them talk as a later version would, to see
//! what the others make of it.

use bytes::Bytes;

use super::message::kind;
use super::{VERSION, encode, probe};
use crate::detector::message::Packet;

/// The way in which a node talks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of this version.
    #[default]
    Own,
    /// That of a later one that is still understood: with kinds of messages, of bodies and of rumours that this
    /// version does not know.
    Later,
    /// That of one that is not understood: its frames are others.
    Foreign,
}

/// Of no message of this version.
const UNKNOWN_KIND: u8 = 31;

impl Dialect {
    /// The version of its frames.
    pub(crate) fn version(self) -> u8 {
        if self == Self::Foreign { VERSION + 1 } else { VERSION }
    }

    /// A detector's message as frames, the one that matters first.
    pub(crate) fn frames(self, packet: &Packet) -> impl Iterator<Item = Bytes> {
        let is_later = self == Self::Later;
        let said = if is_later { probe::encode_later(packet, true) } else { probe::encode(packet) };
        let more = is_later.then(|| {
            let asked = encode(kind::PROBE, &probe::encode_later(packet, false));
            [asked, encode(UNKNOWN_KIND, b"of a later version")]
        });
        std::iter::once(encode(kind::PROBE, &said)).chain(more.into_iter().flatten())
    }
}
