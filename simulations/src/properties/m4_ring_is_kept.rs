//! M4: a ring does not lose the greater part of its members at once because they look dead. Whoever says goodbye
//! or has looked dead for a while may go.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "M4 a ring does not lose most members at once", check };

/// Who has looked dead for longer is gone, not cut off.
const FRESH: Duration = Duration::from_secs(4);

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut rings: BTreeMap<&str, (u64, &[String])> = BTreeMap::new();
    let mut deaths: BTreeMap<(&str, &str), UnixMs> = BTreeMap::new();
    for record in evidence.history {
        match &record.event {
            Event::MemberSeen { observer, member, liveness, .. } => {
                let stood = rings.get(observer.as_str()).is_some_and(|(_, ring)| ring.contains(member));
                if *liveness != "dead" {
                    deaths.remove(&(observer.as_str(), member.as_str()));
                } else if stood {
                    deaths.insert((observer, member), record.at);
                }
            }
            Event::RingSeen { observer, life, members } => {
                let before = rings.insert(observer, (*life, members));
                if before.is_none_or(|(before, _)| before != *life) {
                    // A new life knows nothing of what the one before believed.
                    deaths.retain(|(by, _), _| by != observer);
                }
                let of_it = deaths.iter().filter(|((by, member), died)| {
                    by == observer && record.at <= died.plus(FRESH) && !members.iter().any(|id| id == member)
                });
                let gone: Vec<_> = of_it.map(|((_, member), _)| *member).collect();
                if gone.len() > members.len() {
                    let what = format!("the ring of {observer} is {members:?}, and {gone:?} left it at once");
                    violations.push(Violation::at(record.at, what));
                }
            }
            _ => {}
        }
    }
    violations
}
