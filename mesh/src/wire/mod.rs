//! What stands on the wire: a frame of fixed shape around messages that are frozen per version.
//!
//! ```text
//! magic u16 | version u8 | kind u8 | length u32 | payload       all big-endian
//! ```
//!
//! The length is checked against a limit before anything is allocated. A change to a message is a new
//! kind, never a new field: bincode has no optional fields, and an old node must be able to say that it
//! does not know a kind. Payloads of users travel as raw bytes in frames of their own.

pub mod dialect;
pub mod message;
pub mod probe;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First bytes of every frame.
pub const MAGIC: u16 = 0xBEA7;
/// The version of the frame and of all messages in it.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER: usize = 8;

/// Why bytes are not a frame or a message. The bytes themselves are never repeated: they may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Something else speaks on this connection.
    #[error("these are not frames of beatmesh")]
    NotOurs,
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here, only {VERSION}")]
    Version(u8),
    /// Longer than the reader allows.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// What the frame says.
        length: usize,
        /// What the reader allows.
        limit: usize,
    },
    /// Fewer bytes than the frame says.
    #[error("a frame is cut short")]
    Short,
    /// The payload is not the message that its kind says.
    #[error("a frame of kind {0} does not hold its message")]
    Malformed(u8),
}

/// One frame: its kind and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is; see [`message::kind`].
    pub kind: u8,
    /// At most as long as the reader's limit.
    pub payload: Bytes,
}

/// A whole frame as bytes.
#[must_use]
pub fn encode(kind: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
    bytes.put_slice(&header(kind, payload.len()));
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The eight bytes before a payload of `length` bytes.
#[must_use]
pub fn header(kind: u8, length: usize) -> [u8; HEADER] {
    header_of(VERSION, kind, length)
}

pub(crate) fn header_of(version: u8, kind: u8, length: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..2].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[2] = version;
    bytes[3] = kind;
    let length = u32::try_from(length).expect("payloads are limited far below 4 GiB");
    bytes[4..].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads a header: the kind and the payload's length, which is at most `limit`.
///
/// # Errors
/// [`WireError::NotOurs`], [`WireError::Version`], [`WireError::TooLong`].
pub fn parse_header(bytes: &[u8; HEADER], limit: usize) -> Result<(u8, usize), WireError> {
    parse_header_of(VERSION, bytes, limit)
}

pub(crate) fn parse_header_of(
    version: u8,
    bytes: &[u8; HEADER],
    limit: usize,
) -> Result<(u8, usize), WireError> {
    if bytes[..2] != MAGIC.to_be_bytes() {
        return Err(WireError::NotOurs);
    }
    if bytes[2] != version {
        return Err(WireError::Version(bytes[2]));
    }
    let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if length > limit {
        return Err(WireError::TooLong { length, limit });
    }
    Ok((bytes[3], length))
}

/// Reads bytes that must be exactly one frame: a datagram or a whole one-way stream.
///
/// # Errors
/// Those of [`parse_header`], and [`WireError::Short`] when the length does not match.
pub fn decode(bytes: &Bytes, limit: usize) -> Result<Frame, WireError> {
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(WireError::Short)?;
    let (kind, length) = parse_header(header, limit)?;
    if bytes.len() != HEADER + length {
        return Err(WireError::Short);
    }
    Ok(Frame { kind, payload: bytes.slice(HEADER..) })
}

/// A message as the payload of its frame.
pub fn to_payload<M: Serialize>(message: &M) -> Vec<u8> {
    bincode::serde::encode_to_vec(message, bincode::config::standard())
        .expect("messages hold only types that bincode can write")
}

/// The largest message. bincode without a limit reserves whatever a few bytes ask for.
const MESSAGE_LIMIT: usize = 512 * 1024;

/// Reads a message that must fill the whole payload.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn from_payload<M: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<M, WireError> {
    let config = bincode::config::standard().with_limit::<MESSAGE_LIMIT>();
    match bincode::serde::decode_from_slice(payload, config) {
        Ok((message, used)) if used == payload.len() => Ok(message),
        _ => Err(WireError::Malformed(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_reads_back() {
        let bytes = encode(7, b"abc");
        assert_eq!(&bytes[..], b"\xBE\xA7\x01\x07\x00\x00\x00\x03abc");
        assert_eq!(decode(&bytes, 3), Ok(Frame { kind: 7, payload: Bytes::from_static(b"abc") }));
    }

    #[test]
    fn what_is_not_a_frame_is_refused_with_the_reason() {
        let frame = |bytes: &'static [u8]| decode(&Bytes::from_static(bytes), 8);
        assert_eq!(frame(b""), Err(WireError::Short));
        assert_eq!(frame(b"GET / HTTP/1.1\r\n"), Err(WireError::NotOurs));
        assert_eq!(frame(b"\xBE\xA7\x02\x07\x00\x00\x00\x00"), Err(WireError::Version(2)));
        assert_eq!(
            frame(b"\xBE\xA7\x01\x07\x00\x00\x00\x09"),
            Err(WireError::TooLong { length: 9, limit: 8 })
        );
        assert_eq!(frame(b"\xBE\xA7\x01\x07\x00\x00\x00\x02a"), Err(WireError::Short));
        assert_eq!(frame(b"\xBE\xA7\x01\x07\x00\x00\x00\x01ab"), Err(WireError::Short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_reserve_memory(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&Bytes::from(bytes.clone()), 1024);
            let _ = from_payload::<message::Hello>(1, &bytes);
            let _ = from_payload::<message::FactsUpdate>(1, &bytes);
        }
    }
}
