//! False deaths: a node is held for dead that runs and could be heard. Not false is what a cut between the two
//! makes look like a death, or that the process was stopped, nor what was said of a life that has ended. Loss is
//! no excuse, and neither is that the observer was stopped itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use crate::history::{Event, Record};

/// A verdict may come so long after its cause has gone.
const ECHO: Duration = Duration::from_secs(5);

/// How often a member that ran, and that nothing kept from being heard, was held for dead.
pub(super) fn false_deaths(history: &[Record]) -> u64 {
    let mut scene = Scene::default();
    history.iter().filter(|record| scene.take(record)).count() as u64
}

/// Who could be heard, as history goes on.
#[derive(Default)]
struct Scene<'a> {
    /// The generation of each that runs.
    running: BTreeMap<&'a str, u64>,
    paused: BTreeSet<&'a str>,
    /// Since when those that had been stopped go on.
    resumed: BTreeMap<&'a str, UnixMs>,
    /// Cuts by their numbers, with the nodes concerned.
    cuts: BTreeMap<usize, &'a [String]>,
    /// Since when nodes that had been concerned are so no more.
    healed: BTreeMap<&'a str, UnixMs>,
}

impl<'a> Scene<'a> {
    /// Takes what happened; answers whether it is a false death.
    fn take(&mut self, record: &'a Record) -> bool {
        match &record.event {
            Event::NodeReady { node, generation, .. } => drop(self.running.insert(node, *generation)),
            Event::NodeDown { node, .. } => {
                self.running.remove(node.as_str());
                self.paused.remove(node.as_str());
            }
            Event::Paused { node } => drop(self.paused.insert(node)),
            Event::Resumed { node } => {
                self.paused.remove(node.as_str());
                self.resumed.insert(node, record.at);
            }
            Event::FaultBegan { number, kind: "partition", nodes, .. } => {
                self.cuts.insert(*number, nodes);
            }
            Event::FaultEnded { number, .. } => {
                let healed = self.cuts.remove(number).unwrap_or_default();
                self.healed.extend(healed.iter().map(|node| (node.as_str(), record.at)));
            }
            Event::MemberSeen { observer, member, generation, liveness: "dead", .. } => {
                let runs = self.running.get(member.as_str()) == Some(generation);
                let is_stopped = self.paused.contains(member.as_str());
                let is_echo =
                    |since: Option<&UnixMs>| since.is_some_and(|since| record.at <= since.plus(ECHO));
                let is_cut = |node: &String| {
                    let is_echo = is_echo(self.healed.get(node.as_str()));
                    is_echo || self.cuts.values().any(|nodes| nodes.contains(node))
                };
                let echoes = is_echo(self.resumed.get(member.as_str()));
                return runs && !is_stopped && !echoes && !is_cut(member) && !is_cut(observer);
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaths(events: Vec<(i64, Event)>) -> u64 {
        let history: Vec<_> =
            events.into_iter().map(|(at, event)| Record { at: UnixMs(at), event }).collect();
        false_deaths(&history)
    }

    fn ready(node: &str, generation: u64) -> Event {
        Event::NodeReady { node: node.to_owned(), life: 1, generation }
    }

    fn dead(member: &str, generation: u64) -> Event {
        let (observer, member) = ("o".to_owned(), member.to_owned());
        Event::MemberSeen { observer, life: 1, member, generation, liveness: "dead" }
    }

    #[test]
    fn who_runs_and_can_be_heard_dies_falsely() {
        assert_eq!(deaths(vec![(0, ready("a", 1)), (1, dead("a", 1))]), 1);
        assert_eq!(deaths(vec![(0, ready("a", 2)), (1, dead("a", 1))]), 0, "of an earlier life");
        let down = Event::NodeDown { node: "a".to_owned(), how: "crash" };
        assert_eq!(deaths(vec![(0, ready("a", 1)), (1, down), (2, dead("a", 1))]), 0);
        let paused = Event::Paused { node: "a".to_owned() };
        let resumed = Event::Resumed { node: "a".to_owned() };
        let stopped = vec![(0, ready("a", 1)), (1, paused), (9_000, resumed), (9_001, dead("a", 1))];
        assert_eq!(deaths(stopped.clone()), 0, "an echo of the stop");
        assert_eq!(deaths([stopped.clone(), vec![(15_000, dead("a", 1))]].concat()), 1);
        let by_who_was_stopped = vec![(0, ready("b", 1)), (9_001, dead("b", 1))];
        assert_eq!(deaths([stopped, by_who_was_stopped].concat()), 1);
    }

    #[test]
    fn a_cut_excuses_those_whom_it_concerns() {
        let cut = |nodes: [&str; 2]| {
            let (fault, nodes) = ("planted".to_owned(), nodes.map(ToOwned::to_owned).to_vec());
            Event::FaultBegan { fault, number: 0, kind: "partition", nodes }
        };
        assert_eq!(deaths(vec![(0, ready("a", 1)), (1, cut(["a", "o"])), (2, dead("a", 1))]), 0);
        assert_eq!(deaths(vec![(0, ready("a", 1)), (1, cut(["b", "c"])), (2, dead("a", 1))]), 1);
    }
}
