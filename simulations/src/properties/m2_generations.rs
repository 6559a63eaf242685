//! M2: no resurrection. A node's generations grow with each start; no observer sees a member's generation
//! go back within one life of the observer; a generation that has left does not come back.
//!
//! A disk that lost what it had promised to keep can make a node begin an old generation, when its clock was set
//! back as well. Nobody can prevent that; no other node may take it for a member, it ends by itself, and soon it
//! is ahead again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "M2 generations never go back", check };

/// A node that asks somebody who has missed a few of its lives learns of a generation that was not the last.
const MOST_OUTDATED: u32 = 3;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut started: BTreeMap<&str, u64> = BTreeMap::new();
    // How often each ended since its disk lied.
    let mut outdated: BTreeMap<&str, u32> = BTreeMap::new();
    // By their disks, since their last start.
    let mut lied_to: BTreeSet<&str> = BTreeSet::new();
    let mut seen: BTreeMap<(&str, u64, &str), (u64, &str)> = BTreeMap::new();
    for record in evidence.history {
        match &record.event {
            Event::NodeReady { node, generation, .. } => {
                let latest = started.get(node.as_str()).copied();
                started.insert(node, latest.map_or(*generation, |latest| latest.max(*generation)));
                let is_excused = lied_to.contains(node.as_str());
                if latest.is_none_or(|latest| latest < *generation) {
                    lied_to.remove(node.as_str());
                } else if let Some(before) = latest.filter(|_| !is_excused) {
                    let what = format!("{node} started with generation {generation} after {before}");
                    violations.push(Violation::at(record.at, what));
                }
            }
            Event::NodeDown { node, how: "power_cut" } => {
                lied_to.insert(node);
                outdated.insert(node, 0);
            }
            Event::NodeDown { node, how: "outdated" } => {
                let times = outdated.entry(node).or_default();
                *times += 1;
                if *times > MOST_OUTDATED {
                    let what = format!("{node} has ended {times} times because a later generation was seen");
                    violations.push(Violation::at(record.at, what));
                }
            }
            Event::MemberSeen { observer, life, member, generation, liveness } => {
                let before = seen.insert((observer, *life, member), (*generation, liveness));
                let Some((old, standing)) = before else { continue };
                let resurrected = old == *generation && standing == "left" && *liveness != "left";
                if old > *generation || resurrected {
                    let what = format!(
                        "{observer} saw {member} as {liveness} in generation {generation} after {standing} in {old}"
                    );
                    violations.push(Violation::at(record.at, what));
                }
            }
            _ => {}
        }
    }
    violations
}
