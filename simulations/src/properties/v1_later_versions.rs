//! V1: what a later version says does no harm and is not lost: no node drops a message because there is something
//! in it that it does not know, and facts that nobody knows the meaning of are kept and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "V1 what a later version says is kept", check };

/// Facts go to all linked members at once, and by gossip, in rounds of two seconds, to whoever missed that.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    // When each value was stated, by node.
    let mut stated: BTreeMap<&str, Vec<(UnixMs, u64)>> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut running: BTreeSet<&str> = BTreeSet::new();
    let mut strangers: BTreeSet<&str> = BTreeSet::new();
    for record in evidence.history {
        match &record.event {
            Event::Stranger { node, .. } => drop(strangers.insert(node)),
            Event::NodeReady { node, .. } => drop(running.insert(node)),
            Event::NodeDown { node, .. } => {
                running.remove(node.as_str());
                seen.retain(|(observer, _), _| observer != node);
            }
            Event::FactStated { node, value } => {
                stated.entry(node).or_default().push((record.at, *value));
            }
            Event::FactSeen { observer, member, value } => drop(seen.insert((observer, member), *value)),
            Event::Refused { node, topic: "message", count } => {
                wrong.push(format!("{node} dropped {count} messages that it could not read"));
            }
            _ => {}
        }
    }
    let Some(end) = evidence.history.last().map(|record| record.at) else { return Vec::new() };
    for (member, values) in stated.iter().filter(|(member, _)| running.contains(*member)) {
        let known = values.iter().rev().find(|(at, _)| at.plus(KNOWN_WITHIN) <= end).map(|(_, value)| *value);
        for observer in running.difference(&strangers) {
            let shown = seen.get(&(observer, member)).copied();
            if shown < known {
                wrong.push(format!("{observer} shows {shown:?} of {member}, which had said {known:?}"));
            }
        }
    }
    wrong.into_iter().map(Violation::at_the_end).collect()
}
