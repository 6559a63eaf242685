//! What of a peer's message is let through to chitchat, which trusts every message: one that lowers a version it
//! has just raised makes it panic, one about this node itself can drive this node's version to its largest, where
//! the next fact panics, 66 KB unfold to 200 MB, and more nodes than a digest holds end it (all of chitchat 0.11.2).
//!
//! ```text
//! magic u16 | 0 | 0 = SYN     | digest | mesh                 all little-endian
//! magic u16 | 0 | 1 = SYN-ACK | digest | delta
//! magic u16 | 0 | 2 = ACK     | delta
//! digest: count u16, then each: id, heartbeat u64, collected u64, version u64
//! delta: blocks (1 = zstd, 2 = plain | length u16 | bytes)* 0; together they hold operations:
//!   0 node: id, collected u64, from u64 | 1 fact: key, value, version u64, state u8 | 2 version u64
//! ```
//!
//! What is wrong is left out and the rest goes on: a message that were dropped as a whole would come again.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Buf;
use tokio::time::Instant;

use super::ids::{Count, Ids};

/// What a delta may unfold to: far above all facts of the largest mesh.
const LARGEST_DELTA: usize = 4 * 1024 * 1024;

/// Bytes before the digest or delta.
const HEAD: usize = 4;

const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;

/// The message without what chitchat must not see, and how many nodes there was no room for; `None` when it cannot
/// be read.
pub(super) fn admit(
    message: &[u8],
    me: (&str, u64),
    ids: &mut Ids,
    now: Instant,
) -> Option<(Vec<u8>, usize)> {
    let mut rest = message.get(HEAD..)?;
    let mut admitted = message[..HEAD].to_vec();
    let mut guests = Guests { ids, now, left_out: 0 };
    match message[HEAD - 1] {
        SYN => {
            copy_digest(&mut rest, &mut admitted, &mut guests)?;
            admitted.extend(rest);
            return Some((admitted, guests.left_out));
        }
        SYN_ACK => copy_digest(&mut rest, &mut admitted, &mut guests)?,
        ACK => {}
        _ => return Some((message.to_vec(), 0)),
    }
    let operations = admitted_of(&unfold(&mut rest)?, me, &mut guests)?;
    for block in operations.chunks(usize::from(u16::MAX)) {
        admitted.push(PLAIN);
        admitted.extend(u16::try_from(block.len()).ok()?.to_le_bytes());
        admitted.extend(block);
    }
    admitted.push(END);
    Some((admitted, guests.left_out))
}

/// Who is in, and who was left out of one message.
struct Guests<'a> {
    ids: &'a mut Ids,
    now: Instant,
    left_out: usize,
}

impl Guests<'_> {
    fn have_room_for(&mut self, id: &Id<'_>) -> bool {
        let has_room = self.ids.has_room(self.now, id.bytes, id.bytes.len() + DIGITS);
        self.left_out += usize::from(!has_room);
        has_room
    }
}

const END: u8 = 0;
const ZSTD: u8 = 1;
const PLAIN: u8 = 2;

/// The operations of a delta, if they are not too many.
fn unfold(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut operations = Vec::new();
    let mut block = Vec::new();
    loop {
        let kind = rest.try_get_u8().ok()?;
        if kind == END {
            return Some(operations);
        }
        let length = usize::from(rest.try_get_u16_le().ok()?);
        let bytes = take(rest, length)?;
        match kind {
            ZSTD => {
                block.resize(usize::from(u16::MAX), 0);
                let length = zstd::bulk::decompress_to_buffer(bytes, &mut block[..]).ok()?;
                operations.extend(&block[..length]);
            }
            PLAIN => operations.extend(bytes),
            _ => return None,
        }
        if operations.len() > LARGEST_DELTA {
            return None;
        }
    }
}

/// Those that are about others that have a place, and take no version back or beyond all that could follow.
fn admitted_of(operations: &[u8], me: (&str, u64), guests: &mut Guests<'_>) -> Option<Vec<u8>> {
    const NODE: u8 = 0;
    const FACT: u8 = 1;
    const VERSION: u8 = 2;

    let mut rest = operations;
    let mut admitted = Vec::with_capacity(operations.len());
    let mut about: Option<Id<'_>> = None;
    let mut highest = 0;
    while !rest.is_empty() {
        let operation = rest;
        let fits = match rest.get_u8() {
            NODE => {
                let id = read_id(&mut rest)?;
                // No fact is ever removed, so nothing was collected; a number here would have all facts forgotten.
                let collected = rest.try_get_u64_le().ok()?;
                take(&mut rest, size_of::<u64>())?;
                let is_wanted = (id.node, id.generation) != me && collected == 0 && guests.have_room_for(&id);
                about = is_wanted.then_some(id);
                highest = 0;
                true
            }
            FACT => {
                read_text(&mut rest)?;
                read_text(&mut rest)?;
                let version = rest.try_get_u64_le().ok()?;
                take(&mut rest, 1)?;
                let fits =
                    about.as_ref().is_some_and(|id| guests.ids.may_count(id.bytes, Count::Version, version));
                if fits {
                    highest = version;
                }
                fits
            }
            VERSION => {
                let version = rest.try_get_u64_le().ok()?;
                let fits = version >= highest
                    && about
                        .as_ref()
                        .is_some_and(|id| guests.ids.may_count(id.bytes, Count::Version, version));
                if fits {
                    highest = version;
                }
                fits
            }
            _ => return None,
        };
        if fits && about.is_some() {
            admitted.extend(&operation[..operation.len() - rest.len()]);
        }
    }
    Some(admitted)
}

/// What stands beside each node in a digest: heartbeat, what is collected, version.
const DIGITS: usize = 3 * size_of::<u64>();

fn copy_digest(rest: &mut &[u8], admitted: &mut Vec<u8>, guests: &mut Guests<'_>) -> Option<()> {
    let at = admitted.len();
    let mut count = 0_u16;
    admitted.extend(count.to_le_bytes());
    for _ in 0..rest.try_get_u16_le().ok()? {
        let entry = *rest;
        let id = read_id(rest)?;
        let heartbeat = rest.try_get_u64_le().ok()?;
        take(rest, DIGITS - size_of::<u64>())?;
        if guests.have_room_for(&id) && guests.ids.may_count(id.bytes, Count::Heartbeat, heartbeat) {
            admitted.extend(&entry[..entry.len() - rest.len()]);
            count += 1;
        }
    }
    admitted[at..][..size_of::<u16>()].copy_from_slice(&count.to_le_bytes());
    Some(())
}

/// A life of a node.
struct Id<'a> {
    node: &'a str,
    generation: u64,
    /// All of it, with its address.
    bytes: &'a [u8],
}

fn read_id<'a>(rest: &mut &'a [u8]) -> Option<Id<'a>> {
    const V4: u8 = 4;
    const V6: u8 = 6;

    let whole = *rest;
    let node = std::str::from_utf8(read_text(rest)?).ok()?;
    let generation = rest.try_get_u64_le().ok()?;
    let length = match rest.try_get_u8().ok()? {
        V4 => size_of::<Ipv4Addr>(),
        V6 => size_of::<Ipv6Addr>(),
        _ => return None,
    };
    take(rest, length + size_of::<u16>())?;
    Some(Id { node, generation, bytes: &whole[..whole.len() - rest.len()] })
}

fn read_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(rest.try_get_u16_le().ok()?);
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests;
