//! The trace of a run: its events and its packets in one order. Two runs of a seed have the same trace, byte
//! for byte; where they do not, [`first_difference`] names the first event or packet that differs.
//!
//! A packet is a UDP datagram as it leaves a node. HTTP and requests to the store have no lines of their own:
//! what they do shows in the events.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::history::{Record, line};

/// One datagram; its bytes go by their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// How many events were before it.
    pub after: usize,
    /// When it left, since the world's start.
    pub at: Duration,
    /// Whose host.
    pub from: IpAddr,
    /// Where to.
    pub to: SocketAddr,
    /// How many bytes.
    pub len: usize,
    /// Which bytes.
    pub hash: u64,
}

/// A packet as people read it.
#[derive(Serialize)]
struct Shown {
    at_ns: u128,
    packet: &'static str,
    from: IpAddr,
    to: SocketAddr,
    len: usize,
    hash: String,
}

impl Packet {
    /// A datagram that leaves now.
    #[must_use]
    pub fn new(after: usize, at: Duration, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> Self {
        Self { after, at, from, to, len: bytes.len(), hash: xxh3_64(bytes) }
    }

    fn line(&self) -> String {
        let &Self { at, from, to, len, hash, .. } = self;
        let hash = format!("{hash:016x}");
        let shown = Shown { at_ns: at.as_nanos(), packet: "udp", from, to, len, hash };
        serde_json::to_string(&shown).expect("it holds only texts and numbers")
    }
}

/// An event or a packet.
enum Entry<'a> {
    Event(&'a Record),
    Packet(&'a Packet),
}

/// Both in the order in which they happened.
fn entries<'a>(events: &'a [Record], packets: &'a [Packet]) -> impl Iterator<Item = Entry<'a>> {
    let (mut events, mut packets) = (events.iter().enumerate().peekable(), packets.iter().peekable());
    std::iter::from_fn(move || {
        let next = events.peek().map_or(usize::MAX, |(number, _)| *number);
        match packets.next_if(|packet| packet.after <= next) {
            Some(packet) => Some(Entry::Packet(packet)),
            None => events.next().map(|(_, event)| Entry::Event(event)),
        }
    })
}

/// A trace as lines of JSON.
pub fn lines<'a>(events: &'a [Record], packets: &'a [Packet]) -> impl Iterator<Item = String> + 'a {
    entries(events, packets).map(|entry| match entry {
        Entry::Event(event) => line(event),
        Entry::Packet(packet) => packet.line(),
    })
}

/// Equal for equal traces; differs, but for a collision of 64 bits, for others.
#[must_use]
pub fn hash(events: &[Record], packets: &[Packet]) -> u64 {
    let mut hash = Xxh3::new();
    for entry in entries(events, packets) {
        match entry {
            Entry::Event(event) => hash.update(line(event).as_bytes()),
            Entry::Packet(packet) => {
                hash.update(&packet.at.as_nanos().to_le_bytes());
                hash.update(format!("{}>{}", packet.from, packet.to).as_bytes());
                hash.update(&packet.len.to_le_bytes());
                hash.update(&packet.hash.to_le_bytes());
            }
        }
        hash.update(b"\n");
    }
    hash.digest()
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the line, from 1.
    pub line: usize,
    /// The last line that both have.
    pub before: Option<String>,
    /// How the one goes on; `None` at its end.
    pub one: Option<String>,
    /// How the other goes on.
    pub other: Option<String>,
}

/// The first line that differs; `None` for equal traces.
pub fn first_difference(
    one: impl IntoIterator<Item = String>,
    other: impl IntoIterator<Item = String>,
) -> Option<Difference> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut before = None;
    for line in 1.. {
        match (one.next(), other.next()) {
            (None, None) => return None,
            (here, there) if here == there => before = here,
            (one, other) => return Some(Difference { line, before, one, other }),
        }
    }
    None
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |line: &Option<String>| line.clone().unwrap_or_else(|| "(the end)".to_owned());
        writeln!(f, "  line {} differs", self.line)?;
        writeln!(f, "    after:    {}", self.before.as_deref().unwrap_or("(the beginning)"))?;
        writeln!(f, "    one run:  {}", shown(&self.one))?;
        write!(f, "    another:  {}", shown(&self.other))
    }
}

#[cfg(test)]
mod tests {
    use beatmesh_mesh::env::UnixMs;

    use super::*;
    use crate::history::Event;

    fn event(at: i64) -> Record {
        let (fault, nodes) = ("planted".to_owned(), Vec::new());
        Record { at: UnixMs(at), event: Event::FaultBegan { fault, number: 0, kind: "crash", nodes } }
    }

    fn packet(after: usize, bytes: &[u8]) -> Packet {
        let from = IpAddr::from([192, 168, 0, 1]);
        Packet::new(after, Duration::from_millis(1), from, SocketAddr::new(from, 1), bytes)
    }

    #[test]
    fn one_other_byte_in_one_packet_is_another_trace_and_is_named() {
        let events = [event(1), event(2)];
        let (one, other) = ([packet(1, b"a"), packet(2, b"b")], [packet(1, b"a"), packet(2, b"c")]);
        assert_eq!(hash(&events, &one), hash(&events, &one));
        assert_ne!(hash(&events, &one), hash(&events, &other));
        assert_eq!(first_difference(lines(&events, &one), lines(&events, &one)), None);
        let found = first_difference(lines(&events, &one), lines(&events, &other)).unwrap();
        assert_eq!((found.line, found.before), (4, Some(line(&events[1]))));
        assert!(found.one.is_some_and(|line| line.contains("udp")));
    }

    #[test]
    fn a_trace_that_ends_early_differs_at_its_end() {
        let events = [event(1), event(2)];
        let found = first_difference(lines(&events, &[]), lines(&events[..1], &[])).unwrap();
        assert_eq!((found.line, found.other), (2, None));
    }
}
