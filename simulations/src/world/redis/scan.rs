//! The product's own scan, run to its end over what a server holds, without a node in between.

use std::time::Duration;

use beatmesh_node::queue::redis::scripts;

use super::hosts::RedisHosts;
use super::resp::{Command, Reply};
use super::server::Server;

/// Keys, entries or tasks in one piece.
const AT_ONCE: &str = "100";

impl RedisHosts {
    /// Everything that the master's keys disagree about, in words; it is put right with that.
    ///
    /// # Errors
    /// The script failed.
    pub fn scan(&self, now: Duration) -> Result<Vec<String>, String> {
        self.with_master(|server, prefix| {
            let mut repairs = Vec::new();
            for step in ["keys", "count"] {
                let mut cursor = "0".to_owned();
                loop {
                    let piece = piece(server, now, prefix, &[step, &cursor, AT_ONCE])?;
                    repairs.extend(piece.repairs);
                    for place in piece.places {
                        let (name, mut at) = place;
                        loop {
                            let piece = self::piece(server, now, prefix, &["place", &at, AT_ONCE, &name])?;
                            repairs.extend(piece.repairs);
                            at = piece.next;
                            if at == "0" {
                                break;
                            }
                        }
                    }
                    cursor = piece.next;
                    if cursor == "0" {
                        break;
                    }
                }
            }
            Ok(repairs)
        })
    }
}

struct Piece {
    next: String,
    places: Vec<(String, String)>,
    repairs: Vec<String>,
}

fn piece(server: &mut Server, now: Duration, prefix: &str, args: &[&str]) -> Result<Piece, String> {
    let script = scripts().into_iter().find(|script| script.name == "scan").expect("there is one");
    let words = ["EVAL", &script.text, "1", prefix].into_iter().chain(args.iter().copied());
    let words: Command = words.map(|word| word.as_bytes().to_vec()).collect();
    let reply = server.execute(now, &words).reply;
    let read = |reply: &Reply| {
        let Reply::Array(parts) = reply else { return None };
        let [Reply::Bulk(next), places, repairs] = parts.as_slice() else { return None };
        let repairs = pairs(repairs)?.into_iter().map(|(kind, what)| format!("{kind}: {what}"));
        let next = String::from_utf8(next.clone()).ok()?;
        Some(Piece { next, places: pairs(places)?, repairs: repairs.collect() })
    };
    read(&reply).ok_or_else(|| format!("the scan answered {reply:?}"))
}

/// Texts two by two.
pub(super) fn pairs(reply: &Reply) -> Option<Vec<(String, String)>> {
    let Reply::Array(items) = reply else { return None };
    let text = |item: &Reply| match item {
        Reply::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    items.chunks_exact(2).map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
}
