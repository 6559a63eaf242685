//! One line of a node's log: JSON from its stderr becomes a line for people, with the node's name in
//! front. What is no JSON, for example the message of a panic, is shown as it is.

use serde_json::{Map, Value};

/// Told apart at a glance; chosen to be readable on light and dark grounds.
const NODE_COLOURS: [u8; 6] = [36, 35, 34, 33, 32, 31];

/// Fields that have their own place in the line, or say nothing to people.
const PLACED: [&str; 4] = ["timestamp", "level", "message", "target"];

/// The line as it is shown.
pub(in crate::cli) fn render(index: usize, node: &str, line: &str, colours: bool) -> String {
    let paint = |code: u8, text: &str| {
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let node = paint(NODE_COLOURS[index % NODE_COLOURS.len()], node);
    let Some(fields) = fields_of(line) else { return format!("{node} {}", clean(line)) };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or("");
    // `2026-01-31T12:00:00.123456Z`: the time of day is what changes.
    let time = clean(text("timestamp").get(11..23).unwrap_or(""));
    let level = match text("level") {
        "ERROR" => paint(31, "ERROR"),
        "WARN" => paint(33, "WARN "),
        other => format!("{:<5}", clean(other)),
    };
    let mut shown = format!("{time} {node} {level} {}", clean(text("message")));
    for (key, value) in fields.iter().filter(|(key, _)| !PLACED.contains(&key.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        shown.push_str(&format!(" {}={}", clean(key), clean(&value)));
    }
    shown
}

/// Whether the line is worth showing while the mesh is still starting.
pub(in crate::cli) fn is_trouble(line: &str) -> bool {
    fields_of(line).is_none_or(
        |fields| matches!(fields.get("level"), Some(Value::String(l)) if l == "ERROR" || l == "WARN"),
    )
}

fn fields_of(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) if fields.contains_key("level") => Some(fields),
        _ => None,
    }
}

/// Nothing in a log may move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-01-31T12:00:00.123456Z","level":"WARN","message":"a peer is silent","target":"beatmesh_mesh","peer":"node-2","rtt_ms":12}"#;

    #[test]
    fn a_line_shows_time_node_level_message_and_fields() {
        insta::assert_snapshot!(render(0, "node-1", LINE, false), @r"12:00:00.123 node-1 WARN  a peer is silent peer=node-2 rtt_ms=12");
        assert!(render(0, "node-1", LINE, true).contains("\x1b[36mnode-1"));
        assert!(is_trouble(LINE));
        assert!(!is_trouble(r#"{"level":"INFO","message":"ready"}"#));
    }

    #[test]
    fn nothing_in_a_line_moves_the_cursor() {
        let line = r#"{"timestamp":"2026-01-31T\u001b[2J12:00:00.123","level":"\u001b[H","message":"\n","\u0007":"\r"}"#;
        assert!(!render(0, "node-1", line, false).contains(|c: char| c.is_control()));
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        assert_eq!(render(1, "node-2", "thread panicked\x1b[2J", false), "node-2 thread panicked\u{fffd}[2J");
        assert_eq!(render(1, "node-2", "[1]", false), "node-2 [1]");
        assert!(is_trouble("error: it cannot start"));
    }
}
