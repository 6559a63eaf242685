//! What detectors send: probes counted, bytes as they are on the wire.

use beatmesh_mesh::detector::message::{Body, Packet};
use beatmesh_mesh::wire::{HEADER, probe};

/// Around the payload of each datagram: the frame's header, QUIC (short header with a connection id of 8 bytes
/// and a packet number of 2, 11; DATAGRAM frame with its length, 3; the seal, 16), UDP and IPv4 (28). QUIC's
/// acknowledgements are not in it: they ride along or cost about as much as an empty datagram.
pub(super) const OVERHEAD: usize = HEADER + 11 + 3 + 16 + 28;

/// Since it was last set to nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Probes that began; the second ping of one is not counted again.
    pub(super) probes: u64,
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    /// Whether bytes are counted: it takes the encoding of each packet.
    pub(super) weighs: bool,
    /// The latest number of each node's probes.
    latest: Vec<Option<u32>>,
}

impl Traffic {
    pub(super) fn sent(&mut self, by: usize, packet: &Packet, is_probe: bool) {
        self.datagrams += 1;
        if self.weighs {
            self.bytes += (probe::encode(packet).len() + OVERHEAD) as u64;
        }
        if let (Body::Ping { seq }, true) = (&packet.body, is_probe) {
            if self.latest.len() <= by {
                self.latest.resize(by + 1, None);
            }
            // Numbers go up and wrap.
            if self.latest[by].is_none_or(|latest| seq.wrapping_sub(latest).cast_signed() > 0) {
                self.latest[by] = Some(*seq);
                self.probes += 1;
            }
        }
    }
}
