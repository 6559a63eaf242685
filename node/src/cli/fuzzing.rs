//! What the command line reads from nodes, for the fuzz targets.

use super::dev;
use super::sse::Reader;

/// The events in a stream that comes in these pieces, until one is too long.
#[must_use]
pub fn events(pieces: &[&[u8]]) -> Vec<(String, String, String)> {
    let mut reader = Reader::default();
    let events = pieces.iter().map_while(|piece| reader.read(piece)).flatten();
    events.map(|event| (event.id, event.name, event.data)).collect()
}

/// A line of a node's log as `dev` shows it, and whether it is trouble.
#[must_use]
pub fn log_line(line: &str) -> (String, bool) {
    (dev::render(0, "node-1", line, false), dev::is_trouble(line))
}
