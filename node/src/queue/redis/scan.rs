//! Looks through all keys of the mesh, a bounded number in each script: see `lua/scan.lua`.
//!
//! First every task against its places and every place against its tasks, then all tasks are counted anew.

use redis::Value;

use super::RedisQueue;
use super::codec::{list, text};
use super::error::odd;
use super::scripts;
use super::tasks::Args;
use crate::queue::StoreError;
use crate::queue::scan::{Repair, RepairKind, ScanCursor, Scanned};

/// Keys, or entries of a place, looked at in one script: about a millisecond of the server's time.
const AT_ONCE: usize = 100;

/// Tasks counted in one script. Each costs one reading.
const COUNTED_AT_ONCE: usize = 250;

/// What the next script is to do; as the beginning of a cursor's text.
const KEYS: &str = "keys";
const COUNT: &str = "count";
/// One of the places that were left.
const PLACE: &str = "place";

/// The cursor with which every walk of Redis begins and ends.
const ENDS: &str = "0";

impl RedisQueue {
    pub(super) async fn scan_keys(&self, from: ScanCursor) -> Result<Scanned, StoreError> {
        let ScanCursor { at, mut rest } = from;
        let step = if at.starts_with(COUNT) { COUNT } else { KEYS };
        let cursor = at.split_once(' ').map_or(ENDS, |(_, cursor)| cursor).to_owned();
        let (what, cursor, place) = match rest.pop() {
            Some((place, cursor)) => (PLACE, cursor, place),
            None => (step, cursor, String::new()),
        };
        let mut args = Args::default();
        args.add(what);
        args.add(cursor);
        args.number(if what == COUNT { COUNTED_AT_ONCE } else { AT_ONCE });
        args.add(place.clone());
        let answer = self.quick.run(&scripts::SCAN, &args.slices(), false).await?;
        let (next, places, repaired) = read(&answer).ok_or_else(|| odd("scan"))?;
        rest.extend(places);
        let at = match (what, next.as_str()) {
            (PLACE, ENDS) => at,
            (PLACE, _) => {
                rest.push((place, next));
                at
            }
            (KEYS, ENDS) => format!("{COUNT} {ENDS}"),
            (COUNT, ENDS) => return Ok(Scanned { next: None, repaired }),
            (_, _) => format!("{step} {next}"),
        };
        Ok(Scanned { next: Some(ScanCursor { at, rest }), repaired })
    }
}

/// The next cursor, places with theirs, repairs.
type Piece = (String, Vec<(String, String)>, Vec<Repair>);

fn read(answer: &Value) -> Option<Piece> {
    let [next, places, repairs] = list(answer)? else { return None };
    let repair = |kind: String, what| {
        let kind = RepairKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some(Repair { kind, what })
    };
    let repairs = pairs(repairs)?.into_iter().map(|(kind, what)| repair(kind, what));
    Some((text(next)?.to_owned(), pairs(places)?, repairs.collect::<Option<_>>()?))
}

/// Texts two by two. What people write into a store need not be UTF-8.
fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let text = |value| super::codec::bytes(value).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    list(value)?.chunks_exact(2).map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
}
