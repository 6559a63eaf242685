//! M5: a node id is one process. Somebody may start a copy of a node's machine; soon one of the two has ended, and
//! until the copy is switched off there are never two of them for long. Where packets to or from one of them are
//! lost they need not know of each other; a process that is stopped acts for nobody.
//!
//! And one of them remains: a process ends because another one is its node only where another one is, and not where
//! that one has ended for the same reason. What ended is started again by its machine, so some process of each node
//! is there at the end; that every machine is up then, each run demands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::{Event, Record};

/// This file's property.
pub const PROPERTY: Property = Property { name: "M5 a node id is one process", check };

/// One that starts asks the other one within a second. Two that were cut from each other find out when the
/// next probe of a member that was held for dead arrives, or the next look into the node table of one that
/// is alone: one or two seconds each, and the dials. Whoever is refused then asks again after three seconds, in
/// which a dead one would be noticed.
const WITHIN: Duration = Duration::from_secs(8);

/// The process that another one has ended for may have ended itself since it was heard of last.
const NOTICED: Duration = Duration::from_secs(4);

/// How a process ends that says that another one is its node.
const GAVE_WAY: &str = "identity_taken";

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut scene = Scene::default();
    let mut violations = Vec::new();
    for record in evidence.history {
        violations.extend(scene.overdue(record.at));
        violations.extend(scene.for_nobody(record));
        scene.take(record);
    }
    violations
}

/// Which processes run and can be heard, as history goes on.
#[derive(Default)]
struct Scene<'a> {
    /// The copies, by machine, with the node that each is a copy of.
    copies: BTreeMap<&'a str, &'a str>,
    /// Since when.
    running: BTreeMap<&'a str, UnixMs>,
    /// When and how processes have ended last.
    ended: BTreeMap<&'a str, (UnixMs, &'static str)>,
    paused: BTreeSet<&'a str>,
    /// Machines to or from which packets are lost, by the numbers of the faults.
    deaf: BTreeMap<usize, BTreeSet<&'a str>>,
    /// Since when machines that were stopped or cut off are so no more.
    back: BTreeMap<&'a str, UnixMs>,
    /// Pairs that were told of, with their beginning.
    told: BTreeSet<(&'a str, UnixMs)>,
}

impl<'a> Scene<'a> {
    fn take(&mut self, record: &'a Record) {
        match &record.event {
            Event::Cloned { machine, of } => drop(self.copies.insert(machine, of)),
            Event::NodeReady { node, .. } => drop(self.running.insert(node, record.at)),
            Event::NodeDown { node, how } => {
                self.running.remove(node.as_str());
                self.ended.insert(node, (record.at, how));
                self.paused.remove(node.as_str());
            }
            Event::Paused { node } => drop(self.paused.insert(node)),
            Event::Resumed { node } => {
                self.paused.remove(node.as_str());
                self.back.insert(node, record.at);
            }
            Event::WaysLossy { number, ways, .. } => {
                let ends = ways.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]);
                self.deaf.entry(*number).or_default().extend(ends);
            }
            Event::FaultEnded { number, .. } => {
                let heard = self.deaf.remove(number).unwrap_or_default();
                self.back.extend(heard.into_iter().map(|node| (node, record.at)));
            }
            _ => {}
        }
    }

    /// Pairs that have been two for too long by now and were not told of.
    fn overdue(&mut self, now: UnixMs) -> Vec<Violation> {
        let pairs = self.copies.iter().filter_map(|(copy, of)| {
            let since = self.acts_since(copy)?.max(self.acts_since(of)?);
            (now > since.plus(WITHIN)).then_some((*copy, *of, since))
        });
        let pairs: Vec<_> = pairs.filter(|(copy, _, since)| !self.told.contains(&(copy, *since))).collect();
        self.told.extend(pairs.iter().map(|(copy, _, since)| (*copy, *since)));
        let tell = |(copy, of, since): (&str, &str, UnixMs)| {
            let what = format!(
                "{of} and its copy on {copy} run beside each other for {} ms",
                now.millis_since(since)
            );
            Violation::at(now, what)
        };
        pairs.into_iter().map(tell).collect()
    }

    /// A process that ends for another one where there is none.
    fn for_nobody(&self, record: &Record) -> Option<Violation> {
        let Event::NodeDown { node, how: GAVE_WAY } = &record.event else { return None };
        let id = self.copies.get(node.as_str()).copied().unwrap_or(node);
        let machines = self.copies.iter().filter(|(_, of)| **of == id).map(|(copy, _)| *copy);
        let is_there = |machine: &str| {
            let ended = self.ended.get(machine).filter(|(at, how)| {
                *how != GAVE_WAY && record.at.millis_since(*at) <= NOTICED.as_millis() as i64
            });
            self.running.contains_key(machine) || ended.is_some()
        };
        let is_alone = !machines.chain([id]).any(|machine| machine != node && is_there(machine));
        is_alone.then(|| {
            Violation::at(
                record.at,
                format!("{id} on {node} has ended for another process, and there is none"),
            )
        })
    }

    /// Since when the process on a machine runs and can hear and be heard, if it does.
    fn acts_since(&self, machine: &str) -> Option<UnixMs> {
        let began = *self.running.get(machine)?;
        let is_away =
            self.paused.contains(machine) || self.deaf.values().any(|machines| machines.contains(machine));
        (!is_away).then(|| self.back.get(machine).map_or(began, |back| began.max(*back)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(events: Vec<(i64, Event)>) -> usize {
        let history: Vec<_> =
            events.into_iter().map(|(at, event)| Record { at: UnixMs(at), event }).collect();
        let mut scene = Scene::default();
        let mut count = 0;
        for record in &history {
            count += scene.overdue(record.at).len();
            count += usize::from(scene.for_nobody(record).is_some());
            scene.take(record);
        }
        count
    }

    fn ready(at: i64, node: &str) -> (i64, Event) {
        (at, Event::NodeReady { node: node.to_owned(), life: 1, generation: 1 })
    }

    fn pair() -> Vec<(i64, Event)> {
        let cloned = Event::Cloned { machine: "copy".to_owned(), of: "n".to_owned() };
        vec![ready(0, "n"), ready(0, "other"), (1_000, cloned), ready(1_000, "copy")]
    }

    #[test]
    fn two_for_longer_than_it_takes_to_find_out_are_one_too_many() {
        let until = |at| [pair(), vec![ready(at, "other")]].concat();
        assert_eq!(violations(until(9_000)), 0);
        assert_eq!(violations([until(9_001), until(12_000)].concat()), 1, "and it is told once");
        let down = (3_000, Event::NodeDown { node: "copy".to_owned(), how: "identity_taken" });
        assert_eq!(violations([pair(), vec![down, ready(60_000, "other")]].concat()), 0);
    }

    #[test]
    fn who_ends_for_another_one_leaves_another_one() {
        let down = |at, node: &str, how| (at, Event::NodeDown { node: node.to_owned(), how });
        let first = down(3_000, "copy", GAVE_WAY);
        assert_eq!(violations([pair(), vec![first.clone()]].concat()), 0);
        assert_eq!(violations([pair(), vec![first, down(3_005, "n", GAVE_WAY)]].concat()), 1, "both");
        let crashed = down(3_000, "n", "crash");
        let after = |at| [pair(), vec![crashed.clone(), down(at, "copy", GAVE_WAY)]].concat();
        assert_eq!((violations(after(6_999)), violations(after(7_001))), (0, 1));
        assert_eq!(violations(vec![ready(0, "n"), down(9_000, "n", GAVE_WAY)]), 1, "there never was one");
    }

    #[test]
    fn who_is_stopped_or_cut_off_has_time_from_when_it_is_back() {
        let paused = (900, Event::Paused { node: "n".to_owned() });
        let resumed = (20_000, Event::Resumed { node: "n".to_owned() });
        let after = |at| vec![ready(at, "other")];
        assert_eq!(violations([vec![paused], pair(), vec![resumed], after(28_000)].concat()), 0);
        let ways = vec![("other".to_owned(), "n".to_owned())];
        let cut = (900, Event::WaysLossy { number: 3, percent: 100, ways });
        let kind = "partition";
        let healed = Event::FaultEnded { fault: String::new(), number: 3, kind, nodes: Vec::new() };
        let story = [vec![cut], pair(), vec![(20_000, healed)]].concat();
        assert_eq!(violations([story.clone(), after(28_000)].concat()), 0);
        assert_eq!(violations([story, after(28_001)].concat()), 1);
    }
}
