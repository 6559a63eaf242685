//! Server-sent events, as a node writes them (WHATWG HTML, section 9.2.6): bytes in, events out.

/// An event longer than this is not from a node: a snapshot of the largest mesh has half a megabyte.
const LONGEST: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The stream's number for it.
    pub(super) id: String,
    /// What kind of event.
    pub(super) name: String,
    /// Its content.
    pub(super) data: String,
}

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    /// The event that is being read.
    event: Event,
}

impl Reader {
    /// Takes the next bytes; answers the events that are complete now, or `None` when one is too long.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.len() + self.event.data.len() > LONGEST {
                return None;
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                events.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
            }
        }
        Some(events)
    }

    /// An empty line ends an event; one that holds no data is none.
    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.event)).filter(|event| !event.data.is_empty());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.event.id),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field that matters to browsers only.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text = ": here\n\nid: 1\nevent: snapshot\ndata: {\"mesh\":\ndata: \"mé\"}\n\n:\n\nevent: beat\r\ndata:x\r\n\r\ndata: unfin";
        let event = |id: &str, name: &str, data: &str| Event {
            id: id.to_owned(),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let wanted = [event("1", "snapshot", "{\"mesh\":\n\"mé\"}"), event("", "beat", "x")];
        for size in 1..=text.len() {
            let mut reader = Reader::default();
            let chunks = text.as_bytes().chunks(size);
            let read: Vec<Event> = chunks.flat_map(|chunk| reader.read(chunk).unwrap()).collect();
            assert_eq!(read, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..64).take_while(|_| reader.read(&piece).is_some()).count();
        assert_eq!(taken, LONGEST >> 20);
    }
}
