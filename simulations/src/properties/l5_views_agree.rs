//! L5: within five seconds after healing all nodes see the same members alive and the same Beat, and those that
//! are stopped for good not alive; however long they were apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::{Event, Record};

/// This file's property.
pub const PROPERTY: Property = Property { name: "L5 all views agree after healing", check };

/// What one node believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Belief<'a> {
    members: BTreeMap<&'a str, (u64, &'a str)>,
    beat: Option<&'a str>,
}

/// All nodes' beliefs, as the history tells them.
#[derive(Default)]
struct Beliefs<'a> {
    lives: BTreeMap<&'a str, u64>,
    of: BTreeMap<&'a str, Belief<'a>>,
    /// Those that are stopped or have ended: nobody asks what they believe.
    gone: BTreeSet<&'a str>,
    /// Those that are not of the mesh: what they believe is their own affair.
    strangers: BTreeSet<&'a str>,
}

impl<'a> Beliefs<'a> {
    /// Takes one event; answers whether a belief changed.
    fn take(&mut self, event: &'a Event) -> bool {
        match event {
            Event::Stranger { node, .. } => drop(self.strangers.insert(node)),
            Event::MemberSeen { observer, .. } | Event::BeatSeen { observer, .. }
                if self.strangers.contains(observer.as_str()) =>
            {
                return false;
            }
            Event::MemberSeen { observer, life, member, generation, liveness } => {
                // A new life knows nothing of what the one before believed.
                if self.lives.insert(observer, *life) != Some(*life) {
                    self.of.insert(observer, Belief::default());
                }
                let belief = self.of.entry(observer).or_default();
                // Who is gone is remembered for a while by those who knew it, and by nobody who came later.
                match *liveness {
                    "dead" | "left" => belief.members.remove(member.as_str()),
                    _ => belief.members.insert(member, (*generation, liveness)),
                };
            }
            Event::BeatSeen { observer, beat } => {
                self.of.entry(observer).or_default().beat = beat.as_deref();
            }
            Event::Paused { node } | Event::NodeDown { node, .. } => drop(self.gone.insert(node)),
            Event::Resumed { node } | Event::NodeReady { node, .. } => drop(self.gone.remove(node.as_str())),
            _ => return false,
        }
        true
    }

    /// Whether somebody was observed, all believe the same, and that those are alive who are.
    fn agree(&self) -> bool {
        let mut there =
            self.of.iter().filter(|(node, _)| !self.gone.contains(*node)).map(|(_, belief)| belief);
        let Some(first) = there.next() else { return false };
        let is_right = |(member, (_, liveness)): (&&str, &(u64, &str))| {
            (*liveness == "alive") != self.gone.contains(*member)
        };
        let running = || self.of.keys().filter(|node| !self.gone.contains(**node));
        let knows_all = |belief: &Belief<'_>| running().all(|node| belief.members.contains_key(node));
        first.members.iter().all(is_right) && knows_all(first) && there.all(|belief| belief == first)
    }
}

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut beliefs = Beliefs::default();
    for record in evidence.history {
        beliefs.take(&record.event);
    }
    if beliefs.agree() {
        return late(evidence.history).into_iter().collect();
    }
    if beliefs.of.is_empty() {
        return vec![Violation::at_the_end("no node was ever observed".to_owned())];
    }
    let disagreeing = beliefs.of.iter().map(|(node, belief)| format!("{node} believes {belief:?}"));
    disagreeing.map(Violation::at_the_end).collect()
}

/// So soon.
const BUDGET: Duration = Duration::from_secs(5);

fn late(history: &[Record]) -> Option<Violation> {
    let (calm, agreed) = (calm_since(history)?, converged_at(history)?);
    let took = agreed.millis_since(calm);
    let is_late = agreed > calm.plus(BUDGET);
    is_late.then(|| Violation::at(agreed, format!("the views were equal only {took} ms after all was well")))
}

/// Since when no fault has ended and no process has begun, ended, stopped or gone on.
#[must_use]
pub fn calm_since(history: &[Record]) -> Option<UnixMs> {
    let stirs = |record: &&Record| {
        matches!(
            record.event,
            Event::FaultEnded { .. }
                | Event::NodeReady { .. }
                | Event::NodeDown { .. }
                | Event::Paused { .. }
                | Event::Resumed { .. }
        )
    };
    history.iter().rev().find(stirs).map(|record| record.at)
}

/// Since when all have agreed, up to the end; `None` when they do not.
#[must_use]
pub fn converged_at(history: &[Record]) -> Option<UnixMs> {
    let (mut beliefs, mut since) = (Beliefs::default(), None);
    for record in history {
        if beliefs.take(&record.event) {
            since = match since {
                _ if !beliefs.agree() => None,
                None => Some(record.at),
                agreed => agreed,
            };
        }
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(observer: &str, life: u64, member: &str, liveness: &'static str) -> Event {
        let (observer, member) = (observer.to_owned(), member.to_owned());
        Event::MemberSeen { observer, life, member, generation: 1, liveness }
    }

    #[test]
    fn agreement_counts_from_the_last_change_to_it() {
        let events = [
            sees("a", 1, "a", "alive"),
            sees("a", 1, "b", "alive"),
            sees("b", 1, "a", "alive"),
            sees("b", 1, "b", "alive"),
            sees("a", 1, "b", "suspect"),
            sees("a", 1, "b", "alive"),
        ];
        let records = events.into_iter().zip(1..).map(|(event, at)| Record { at: UnixMs(at), event });
        let records: Vec<_> = records.collect();
        assert_eq!(converged_at(&[]), None, "nobody agrees on anything");
        assert_eq!(converged_at(&records[..3]), None);
        assert_eq!(converged_at(&records[..4]), Some(UnixMs(4)));
        assert_eq!(converged_at(&records[..5]), None);
        assert_eq!(converged_at(&records), Some(UnixMs(6)));
    }

    #[test]
    fn who_is_stopped_is_not_asked_and_must_not_be_seen_alive() {
        let stopped = Event::Paused { node: "b".to_owned() };
        let goes_on = Event::Resumed { node: "b".to_owned() };
        let mut beliefs = Beliefs::default();
        let seen = [sees("a", 1, "a", "alive"), sees("a", 1, "b", "alive"), sees("b", 1, "b", "alive")];
        let dead = sees("a", 1, "b", "dead");
        assert!(seen.iter().all(|event| beliefs.take(event)));
        beliefs.take(&stopped);
        assert!(!beliefs.agree(), "it does not run and is held for alive");
        beliefs.take(&dead);
        assert!(beliefs.agree());
        beliefs.take(&goes_on);
        assert!(!beliefs.agree());
    }
}
