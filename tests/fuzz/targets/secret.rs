//! The texts of a secret file (first byte even) and of a file of API keys (odd): what is wrong is said without
//! repeating any of it.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_node::config::{ApiKeys, MeshSecret};
use libfuzzer_sys::fuzz_target;

const SEEDS: [&str; 4] = [
    "0bm1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    "0000102030405060708090a0b0c0d0e0f\n",
    "1# who\n\n ci : 0123456789abcdef\nops:0123456789abcdefx:y\n",
    "1ci:short\n",
];

fuzz_target!(init: seeds(SEEDS), |data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if kind % 2 == 0 {
        if let Ok(secret) = MeshSecret::parse(text) {
            assert!(!format!("{secret:?}").contains(text.trim()), "a secret is shown");
        }
        return;
    }
    match ApiKeys::parse(text) {
        Ok(keys) => {
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, key) = line.split_once(':').expect("a line of a good file is a name and a key");
                // Two names may have one key: the later one is told.
                assert!(keys.verify(key.trim()).is_some() && keys.names().any(|known| known == name.trim()));
            }
            assert_eq!(keys.verify(""), None);
        }
        Err((line, reason)) => {
            assert!((1..=text.lines().count()).contains(&line));
            let wrong = text.lines().nth(line - 1).unwrap_or_default();
            // A name is told, and may be the same text as the key.
            let (name, secret) = wrong.split_once(':').unwrap_or(("", wrong));
            // Word by word: a "key" may be a whole sentence of ours, but none of our words is as long as a key.
            for word in secret.split_whitespace().filter(|word| word.len() >= 16) {
                assert!(!reason.contains(word) || name.contains(word), "a key is shown");
            }
        }
    }
});
