//! How a call travels to another node.
//!
//! ```text
//! router                          worker
//!   ── header ──────────────────────>      function, patience
//!   <────────────────── ACCEPTED or NO ──  a slot is held, nothing runs
//!   ── BODY* GO ────────────────────>      now it runs
//!   <───────────── HEAD BODY* END | FAILED
//! ```
//!
//! The worker runs nothing before GO, and the router sends GO only while it still waits for this worker.
//! So a call whose ACCEPTED did not come in time can be given to another worker without ever running
//! twice; after GO an answer that is lost is "unknown", and nobody repeats it.

use serde::{Deserialize, Serialize};

/// The service of the mesh that takes calls.
pub const CALL_SERVICE: u16 = 1;

/// Kinds of frames on a call's channel.
pub mod kind {
    use beatmesh_mesh::wire::message::kind::FIRST_OF_CHANNEL;

    /// A slot is held.
    pub const ACCEPTED: u8 = FIRST_OF_CHANNEL;
    /// [`super::No`]: nothing has happened, try elsewhere.
    pub const NO: u8 = FIRST_OF_CHANNEL + 1;
    /// Bytes of the input, later of the answer.
    pub const BODY: u8 = FIRST_OF_CHANNEL + 2;
    /// The input is complete: run.
    pub const GO: u8 = FIRST_OF_CHANNEL + 3;
    /// [`super::Head`]: the function answers.
    pub const HEAD: u8 = FIRST_OF_CHANNEL + 4;
    /// The answer is complete.
    pub const END: u8 = FIRST_OF_CHANNEL + 5;
    /// A problem object as JSON: the function failed, before or in the middle of its answer.
    pub const FAILED: u8 = FIRST_OF_CHANNEL + 6;
}

/// First message of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeader {
    /// Names the call, as the caller sees it.
    pub id: [u8; 16],
    /// What to run.
    pub function: String,
    /// The catalogue that the router knows: the worker must not run anything older.
    pub catalogue_revision: u64,
    /// The ring by which the router chose ([`super::rings`]).
    pub ring_fingerprint: u64,
    /// The input's media type.
    pub content_type: String,
    /// The input's length; the worker refuses what is over its limit before it comes.
    pub input_length: u64,
    /// Time left for the function, in milliseconds; 0 for its own timeout.
    pub timeout_ms: u64,
    /// How long the worker may hold the call until a slot is free.
    pub patience_ms: u64,
}

/// Why a worker does not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum No {
    /// It does not know the function.
    NoSuchFunction,
    /// No slot was free in time.
    Busy,
    /// It is stopping.
    Stopping,
    /// The header makes no sense to it.
    Malformed,
    /// The input is over its limit.
    TooLarge,
    /// It does not know the function, and cannot ask the store whether there is one.
    CannotTell,
}

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The answer's media type.
    pub content_type: String,
    /// Its length, when it is known already.
    pub length: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use beatmesh_mesh::wire::{from_payload, to_payload};

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let header = CallHeader {
            id: [7; 16],
            function: "f".into(),
            catalogue_revision: 1,
            ring_fingerprint: 2,
            content_type: "t".into(),
            input_length: 3,
            timeout_ms: 4,
            patience_ms: 5,
        };
        let bytes = to_payload(&header);
        assert_eq!(bytes, [&[7; 16][..], b"\x01f\x01\x02\x01t\x03\x04\x05"].concat());
        assert_eq!(from_payload::<CallHeader>(0, &bytes), Ok(header));
        assert_eq!(to_payload(&No::TooLarge), [4]);
        assert_eq!(to_payload(&No::CannotTell), [5]);
        assert_eq!(to_payload(&Head { content_type: "t".into(), length: Some(9) }), b"\x01t\x01\x09");
    }
}
