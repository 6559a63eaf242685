//! M5: a node id is one process. Somebody may start a copy of a node's machine; soon one of the two has ended, and
//! until the copy is switched off there are never two of them for long. Where packets to or from one of them are
//! lost they need not know of each other; a process that is stopped acts for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::{Event, Record};

/// This file's property.
pub const PROPERTY: Property = Property { name: "M5 a node id is one process", check };

/// One that starts asks the other one within a second. Two that were cut from each other find out when the
/// next probe of a member that was held for dead arrives, or the next look into the node table of one that
/// is alone: one or two seconds each, and the dials.
const WITHIN: Duration = Duration::from_secs(5);

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut scene = Scene::default();
    let mut violations = Vec::new();
    for record in evidence.history {
        violations.extend(scene.overdue(record.at));
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
            Event::NodeDown { node, .. } => {
                self.running.remove(node.as_str());
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
        assert_eq!(violations(until(6_000)), 0);
        assert_eq!(violations([until(6_001), until(9_000)].concat()), 1, "and it is told once");
        let down = (3_000, Event::NodeDown { node: "copy".to_owned(), how: "identity_taken" });
        assert_eq!(violations([pair(), vec![down, ready(60_000, "other")]].concat()), 0);
    }

    #[test]
    fn who_is_stopped_or_cut_off_has_time_from_when_it_is_back() {
        let paused = (900, Event::Paused { node: "n".to_owned() });
        let resumed = (20_000, Event::Resumed { node: "n".to_owned() });
        let after = |at| vec![ready(at, "other")];
        assert_eq!(violations([vec![paused], pair(), vec![resumed], after(25_000)].concat()), 0);
        let ways = vec![("other".to_owned(), "n".to_owned())];
        let cut = (900, Event::WaysLossy { number: 3, percent: 100, ways });
        let kind = "partition";
        let healed = Event::FaultEnded { fault: String::new(), number: 3, kind, nodes: Vec::new() };
        let story = [vec![cut], pair(), vec![(20_000, healed)]].concat();
        assert_eq!(violations([story.clone(), after(25_000)].concat()), 0);
        assert_eq!(violations([story, after(25_001)].concat()), 1);
    }
}
