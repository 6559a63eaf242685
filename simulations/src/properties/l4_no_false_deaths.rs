//! L4: nobody is held for dead who runs and can be heard, directly or through one other node. Loss of up to five
//! in a hundred is no excuse, nor is it that the observer was stopped itself; nor, for a cut between two, that
//! one hears the other only through a third. A process of an earlier life than one that was there is let in by
//! nobody: it hears nobody, and what it holds of the others is not the mesh's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::{Event, Record};

/// This file's property.
pub const PROPERTY: Property = Property { name: "L4 nobody is held for dead who can be heard", check };

/// A verdict may come so long after its cause has gone. On a node in the worst health, which is where a cut brings
/// it, all takes five times as long: a probe that was sent just before the end is given up after 1 s (80 ms and
/// 120 ms), and then the suspect has three times 400 ms. Meshes of up to ten have that; refutations make it shorter
/// mostly.
const ECHO: Duration = Duration::from_secs(7);

/// So many lost in a hundred must kill nobody.
const BORNE: u8 = 5;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut scene = Scene::default();
    evidence.history.iter().filter_map(|record| scene.take(record)).collect()
}

/// How often it happened.
#[must_use]
pub fn count(history: &[Record]) -> u64 {
    let mut scene = Scene::default();
    history.iter().filter_map(|record| scene.take(record)).count() as u64
}

/// A way from one node to another.
type Way<'a> = (&'a str, &'a str);

/// Who could be heard, as history goes on.
#[derive(Default)]
struct Scene<'a> {
    /// The generation of each that runs.
    running: BTreeMap<&'a str, u64>,
    /// The latest generation of each that was ever ready.
    latest: BTreeMap<&'a str, u64>,
    /// Those that are not of the mesh, or are another's copy: they run, and nobody is heard through them.
    others: BTreeSet<&'a str>,
    paused: BTreeSet<&'a str>,
    /// Since when those that had been stopped, or had not run, go on.
    resumed: BTreeMap<&'a str, UnixMs>,
    /// Ways on which more is lost than must be borne, by the numbers of the faults.
    closed: BTreeMap<usize, Vec<Way<'a>>>,
    /// Since when ways that had been closed are so no more.
    opened: BTreeMap<Way<'a>, UnixMs>,
}

impl<'a> Scene<'a> {
    /// Takes what happened; answers what is wrong with it.
    fn take(&mut self, record: &'a Record) -> Option<Violation> {
        match &record.event {
            Event::Stranger { node, .. } | Event::Cloned { machine: node, .. } => {
                self.others.insert(node);
            }
            Event::NodeReady { node, .. } if self.others.contains(node.as_str()) => {}
            Event::NodeReady { node, generation, .. } => {
                self.running.insert(node, *generation);
                let latest = self.latest.entry(node).or_default();
                *latest = (*latest).max(*generation);
                self.resumed.insert(node, record.at);
            }
            Event::NodeDown { node, .. } => {
                self.running.remove(node.as_str());
                self.paused.remove(node.as_str());
            }
            Event::Paused { node } => drop(self.paused.insert(node)),
            Event::Resumed { node } => {
                self.paused.remove(node.as_str());
                self.resumed.insert(node, record.at);
            }
            Event::WaysLossy { number, percent, ways } if *percent > BORNE => {
                let ways = ways.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
                self.closed.insert(*number, ways);
            }
            Event::FaultEnded { number, .. } => {
                let opened = self.closed.remove(number).unwrap_or_default();
                self.opened.extend(opened.into_iter().map(|way| (way, record.at)));
            }
            Event::MemberSeen { observer, member, generation, liveness: "dead", .. } => {
                let runs = self.running.get(member.as_str()) == Some(generation);
                if runs && !self.is_outdated(observer) && self.hears(observer, member, record.at) {
                    let what = format!("{observer} holds {member} for dead, which runs and can be heard");
                    return Some(Violation::at(record.at, what));
                }
            }
            _ => {}
        }
        None
    }

    fn is_outdated(&self, observer: &str) -> bool {
        self.running.get(observer).is_some_and(|runs| Some(runs) < self.latest.get(observer))
    }

    /// Whether a question and its answer come through between the two, on their own or by way of one other.
    fn hears(&self, observer: &str, member: &str, at: UnixMs) -> bool {
        let is_echo = |since: Option<&UnixMs>| since.is_some_and(|since| at <= since.plus(ECHO));
        let speaks = |node: &str| {
            self.running.contains_key(node) && !self.paused.contains(node) && !is_echo(self.resumed.get(node))
        };
        let is_open = |from: &str, to: &str| {
            let is_closed = self.closed.values().flatten().any(|way| *way == (from, to));
            !is_closed && !is_echo(self.opened.get(&(from, to)))
        };
        let both_ways = |one: &str, other: &str| is_open(one, other) && is_open(other, one);
        let through = |third: &&str| {
            speaks(third)
                && **third != *observer
                && **third != *member
                && both_ways(observer, third)
                && both_ways(third, member)
        };
        speaks(member) && (both_ways(observer, member) || self.running.keys().any(through))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaths(events: Vec<(i64, Event)>) -> u64 {
        let history: Vec<_> =
            events.into_iter().map(|(at, event)| Record { at: UnixMs(at), event }).collect();
        count(&history)
    }

    fn ready(node: &str) -> (i64, Event) {
        (0, Event::NodeReady { node: node.to_owned(), life: 1, generation: 1 })
    }

    fn dead(at: i64, observer: &str, member: &str, generation: u64) -> (i64, Event) {
        let (observer, member) = (observer.to_owned(), member.to_owned());
        (at, Event::MemberSeen { observer, life: 1, member, generation, liveness: "dead" })
    }

    fn lossy(at: i64, percent: u8, ways: &[(&str, &str)]) -> (i64, Event) {
        let ways = ways.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        (at, Event::WaysLossy { number: 0, percent, ways })
    }

    #[test]
    fn who_runs_and_can_be_heard_must_not_be_held_for_dead() {
        assert_eq!(deaths(vec![ready("a"), dead(9_000, "o", "a", 1)]), 1);
        assert_eq!(deaths(vec![ready("a"), dead(9_000, "o", "a", 0)]), 0, "of an earlier life");
        assert_eq!(deaths(vec![ready("a"), dead(1_000, "o", "a", 1)]), 0, "it has only just begun");
        let down = (1, Event::NodeDown { node: "a".to_owned(), how: "crash" });
        assert_eq!(deaths(vec![ready("a"), down, dead(9_000, "o", "a", 1)]), 0);
        let paused = (1, Event::Paused { node: "a".to_owned() });
        let resumed = (20_000, Event::Resumed { node: "a".to_owned() });
        let stopped = vec![ready("a"), paused, dead(9_000, "o", "a", 1), resumed, dead(20_001, "o", "a", 1)];
        assert_eq!(deaths(stopped.clone()), 0, "and an echo of the stop");
        assert_eq!(deaths([stopped, vec![dead(40_000, "o", "a", 1)]].concat()), 1);
    }

    #[test]
    fn a_process_of_an_earlier_life_judges_nobody() {
        let observer = |generation| (0, Event::NodeReady { node: "o".to_owned(), life: 1, generation });
        assert_eq!(deaths(vec![ready("a"), observer(2), observer(3), dead(9_000, "o", "a", 1)]), 1);
        assert_eq!(deaths(vec![ready("a"), observer(3), observer(2), dead(9_000, "o", "a", 1)]), 0);
    }

    #[test]
    fn a_cut_excuses_only_when_nobody_else_hears_both() {
        let cut = [("a", "o"), ("o", "a")];
        let of = |others: &[&str], percent, ways: &[_]| {
            let mut events = vec![ready("a"), ready("o"), lossy(1, percent, ways), dead(9_000, "o", "a", 1)];
            events.splice(0..0, others.iter().map(|other| ready(other)));
            deaths(events)
        };
        assert_eq!(of(&[], 100, &cut), 0);
        assert_eq!(of(&[], 100, &cut[..1]), 0, "one way is enough");
        assert_eq!(of(&[], 5, &cut), 1, "so little must be borne");
        assert_eq!(of(&["x"], 100, &cut), 1);
        assert_eq!(of(&["x"], 100, &[&cut[..], &[("x", "a")]].concat()), 0);
    }
}
