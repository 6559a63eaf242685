//! T3: nothing fires early, by the store's clock when it took the commit. A node's clock may be as wrong as it
//! likes.

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "T3 nothing fires early", check };

/// A tick may be committed so much before its due time, in milliseconds, and no more: written down here once
/// more, so that the product cannot allow itself more.
const EARLIEST_MS: i64 = 50;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let early = evidence.history.iter().filter_map(|record| match &record.event {
        Event::TickCommitted { schedule, due, node, store_now, .. }
            if due.millis_since(*store_now) > EARLIEST_MS =>
        {
            let by = due.millis_since(*store_now);
            let what = format!("{schedule} due at {} was decided by {node} {by} ms early", due.0);
            Some(Violation::at(record.at, what))
        }
        _ => None,
    });
    early.collect()
}
