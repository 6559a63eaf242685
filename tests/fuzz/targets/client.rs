//! What the command line reads from nodes: a stream of events (first byte even), the same however it is cut into
//! pieces, and a line of a log (odd), of which nothing may move the cursor.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_node::fuzzing::{events, log_line};
use libfuzzer_sys::fuzz_target;

const SEEDS: [&str; 3] = [
    "0: here\n\nid: 1\nevent: snapshot\ndata: {\"mesh\":\ndata: \"m\"}\n\n:\n\nevent: beat\r\ndata:x\r\n\r\ndata: unfin",
    r#"1{"timestamp":"2026-01-31T12:00:00.123456Z","level":"WARN","message":"a peer is silent","target":"t","peer":"n","ms":12}"#,
    "1thread panicked",
];

fuzz_target!(init: seeds(SEEDS), |data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    if kind % 2 == 0 {
        let whole = events(&[text]);
        let size = usize::from(kind >> 1) + 1;
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        assert_eq!(events(&pieces), whole);
        return;
    }
    let Ok(line) = std::str::from_utf8(text) else { return };
    let (shown, _) = log_line(line);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\t'), "{shown:?}");
});
