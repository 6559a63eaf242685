//! A history as what can be drawn: spans and moments on the lanes of nodes. Seconds count from the
//! world's start.
//!
//! Only the history is read, no fault plan: what a fault met is known when it begins, and the words of
//! `FaultBegan` name it. So a new kind of fault is drawn without a change here, at worst in grey.

use std::collections::{BTreeMap, BTreeSet};

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;

use crate::history::{EPOCH, Event, Record};

/// What a run looked like.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Story {
    /// By name; their places are the numbers of the lanes.
    pub(super) nodes: Vec<String>,
    /// Who is due, by name; the numbers of [`Tick::schedule`].
    pub(super) schedules: Vec<String>,
    pub(super) end: f64,
    pub(super) faults: Vec<Spell>,
    pub(super) beliefs: Vec<Belief>,
    /// When a node was not up.
    pub(super) downs: Vec<(usize, f64, f64)>,
    pub(super) ticks: Vec<Tick>,
}

/// Something was wrong for a while.
#[derive(Debug, PartialEq)]
pub(super) struct Spell {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) kind: SpellKind,
    /// In words, as the history has it.
    pub(super) words: String,
    /// The nodes that it names; all of them when it names none.
    pub(super) nodes: Vec<usize>,
}

/// What a fault is about; it decides the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SpellKind {
    Crash,
    Pause,
    Network,
    Store,
    Clock,
    Other,
}

/// A node held somebody for the Beat.
#[derive(Debug, PartialEq)]
pub(super) struct Belief {
    pub(super) node: usize,
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) beat: usize,
}

/// The store answered a commit.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    /// When it answered.
    pub(super) at: f64,
    /// The due time, of a run the last one.
    pub(super) due: f64,
    /// Who asked; `None` for what an edit gave up.
    pub(super) node: Option<usize>,
    pub(super) schedule: usize,
    pub(super) fate: Fate,
    /// Why it was skipped or refused.
    pub(super) reason: String,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fired,
    Skipped,
    Refused,
}

/// Seconds since the world's start.
pub(super) fn seconds(at: UnixMs) -> f64 {
    at.millis_since(EPOCH) as f64 / 1_000.0
}

impl Story {
    pub(super) fn of(history: &[Record]) -> Self {
        let mut nodes = BTreeSet::new();
        let mut schedules = BTreeSet::new();
        for record in history {
            match &record.event {
                Event::NodeReady { node, .. } => drop(nodes.insert(node.clone())),
                Event::MemberSeen { observer, member, .. } => {
                    nodes.extend([observer.clone(), member.clone()]);
                }
                Event::TickCommitted { schedule, .. } | Event::TickRefused { schedule, .. } => {
                    schedules.insert(schedule.to_string());
                }
                _ => {}
            }
        }
        let mut story = Self {
            nodes: nodes.into_iter().collect(),
            schedules: schedules.into_iter().collect(),
            end: history.last().map_or(1.0, |record| seconds(record.at)).max(1.0),
            ..Self::default()
        };
        history.iter().for_each(|record| story.take_tick(record));
        story.take_faults(history);
        story.take_lives(history);
        story
    }

    fn lane(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|name| name == node)
    }

    fn schedule(&self, name: &ScheduleName) -> usize {
        self.schedules.iter().position(|known| known == name.as_str()).unwrap_or(0)
    }

    fn take_tick(&mut self, record: &Record) {
        let (schedule, due, node, fate, reason) = match &record.event {
            Event::TickCommitted { schedule, due, skipped: Some(reason), node, .. } => {
                (schedule, due, node, Fate::Skipped, reason.as_str())
            }
            Event::TickCommitted { schedule, due, node, .. } => (schedule, due, node, Fate::Fired, ""),
            Event::TickRefused { schedule, due, node, reason } => {
                (schedule, due, node, Fate::Refused, *reason)
            }
            _ => return,
        };
        self.ticks.push(Tick {
            at: seconds(record.at),
            due: seconds(*due),
            node: self.lane(node),
            schedule: self.schedule(schedule),
            fate,
            reason: reason.to_owned(),
        });
    }

    fn take_faults(&mut self, history: &[Record]) {
        let mut open: Vec<Spell> = Vec::new();
        for record in history {
            match &record.event {
                Event::FaultBegan { fault } => open.push(Spell {
                    from: seconds(record.at),
                    until: self.end,
                    kind: SpellKind::of(fault),
                    words: fault.clone(),
                    nodes: self.named(fault),
                }),
                Event::FaultEnded { fault } => {
                    let (kind, nodes) = (SpellKind::of(fault), self.named(fault));
                    let same = open.iter().position(|spell| spell.kind == kind && spell.nodes == nodes);
                    let near = || open.iter().position(|spell| spell.nodes == nodes);
                    if let Some(index) = same.or_else(near) {
                        let spell = open.remove(index);
                        self.faults.push(Spell { until: seconds(record.at), ..spell });
                    }
                }
                _ => {}
            }
        }
        self.faults.append(&mut open);
        self.faults.sort_by(|a, b| a.from.total_cmp(&b.from));
    }

    /// When each node was up, and what it believed.
    fn take_lives(&mut self, history: &[Record]) {
        let mut down: BTreeMap<usize, f64> = (0..self.nodes.len()).map(|node| (node, 0.0)).collect();
        let mut believing: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
        let mut beliefs = Vec::new();
        for record in history {
            let at = seconds(record.at);
            let ended = match &record.event {
                Event::NodeReady { node, .. } => {
                    let since = self.lane(node).and_then(|lane| down.remove_entry(&lane));
                    self.downs.extend(since.map(|(lane, since)| (lane, since, at)));
                    continue;
                }
                Event::BeatSeen { observer, beat } => {
                    let Some(lane) = self.lane(observer) else { continue };
                    let before = believing.remove_entry(&lane);
                    if let Some(beat) = beat.as_ref().and_then(|beat| self.lane(beat)) {
                        believing.insert(lane, (at, beat));
                    }
                    before.into_iter().collect()
                }
                Event::FaultBegan { fault } if SpellKind::of(fault) == SpellKind::Crash => {
                    let crashed = self.named(fault);
                    for lane in &crashed {
                        down.entry(*lane).or_insert(at);
                    }
                    crashed.iter().filter_map(|lane| believing.remove_entry(lane)).collect::<Vec<_>>()
                }
                _ => continue,
            };
            beliefs.extend(ended.into_iter().map(|(node, (from, beat))| Belief {
                node,
                from,
                until: at,
                beat,
            }));
        }
        let end = self.end;
        let last = believing.into_iter().map(|(node, (from, beat))| Belief { node, from, until: end, beat });
        beliefs.extend(last);
        self.beliefs = beliefs;
        self.downs.extend(down.into_iter().map(|(lane, since)| (lane, since, end)));
    }

    /// The nodes whose names stand in a text; all of them when none does.
    fn named(&self, words: &str) -> Vec<usize> {
        let words: Vec<_> = words
            .split(|character: char| !(character.is_alphanumeric() || "-_.".contains(character)))
            .collect();
        let named = |node: &String| words.contains(&node.as_str());
        let found: Vec<_> = (0..self.nodes.len()).filter(|lane| named(&self.nodes[*lane])).collect();
        if found.is_empty() { (0..self.nodes.len()).collect() } else { found }
    }
}

impl SpellKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Crash, Self::Pause, Self::Network, Self::Store, Self::Clock, Self::Other];

    /// Both the beginning's and the end's words lead to the same kind. The order counts: a store is
    /// `cut off` and `stopped` too.
    fn of(words: &str) -> Self {
        let words = words.to_lowercase();
        let has = |some: &[&str]| some.iter().any(|word| words.contains(word));
        if has(&["store", "database"]) {
            Self::Store
        } else if has(&["clock", "drift", "skew"]) {
            Self::Clock
        } else if has(&["crash", "restart", "kill", "start", "die", "leave", "left", "join"]) {
            Self::Crash
        } else if has(&["pause", "stopped", "resume", "goes on", "froze", "hang"]) {
            Self::Pause
        } else if has(&[
            "hear",
            "cut",
            "partition",
            "lost",
            "loss",
            "lose",
            "delay",
            "packet",
            "link",
            "network",
        ]) {
            Self::Network
        } else {
            Self::Other
        }
    }

    /// As in the legend.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash or restart",
            Self::Pause => "pause",
            Self::Network => "network",
            Self::Store => "store in trouble",
            Self::Clock => "clock",
            Self::Other => "other",
        }
    }

    /// Of the colours in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Crash => "f-crash",
            Self::Pause => "f-pause",
            Self::Network => "f-network",
            Self::Store => "f-store",
            Self::Clock => "f-clock",
            Self::Other => "f-other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64, event: Event) -> Record {
        Record { at: UnixMs(EPOCH.0 + ms), event }
    }

    fn ready(node: &str) -> Event {
        Event::NodeReady { node: node.to_owned(), life: 1, generation: 1 }
    }

    fn believes(observer: &str, beat: &str) -> Event {
        Event::BeatSeen { observer: observer.to_owned(), beat: Some(beat.to_owned()) }
    }

    #[test]
    fn a_crash_ends_what_a_node_believed_and_its_next_start_ends_the_gap() {
        let story = Story::of(&[
            at(100, ready("n1-a")),
            at(100, ready("n1-ab")),
            at(200, believes("n1-a", "n1-ab")),
            at(1_000, Event::FaultBegan { fault: "crash of n1-a".to_owned() }),
            at(3_000, Event::FaultEnded { fault: "restart of n1-a".to_owned() }),
            at(3_500, ready("n1-a")),
            at(4_000, believes("n1-a", "n1-a")),
        ]);
        assert_eq!(story.downs, [(0, 0.0, 0.1), (1, 0.0, 0.1), (0, 1.0, 3.5)]);
        let crash = &story.faults[0];
        assert_eq!((crash.from, crash.until, crash.kind), (1.0, 3.0, SpellKind::Crash));
        assert_eq!(crash.nodes, [0], "a name is a whole word");
        let beliefs: Vec<_> = story.beliefs.iter().map(|b| (b.node, b.from, b.until, b.beat)).collect();
        assert_eq!(beliefs, [(0, 0.2, 1.0, 1), (0, 4.0, 4.0, 0)]);
    }

    #[test]
    fn beginnings_and_ends_of_overlapping_faults_find_each_other() {
        let fault = |ms, began: bool, words: &str| {
            let fault = words.to_owned();
            at(ms, if began { Event::FaultBegan { fault } } else { Event::FaultEnded { fault } })
        };
        let story = Story::of(&[
            at(0, ready("a")),
            at(0, ready("b")),
            fault(1_000, true, "store for a: slower by 2s"),
            fault(2_000, true, "crash of a"),
            fault(3_000, true, "a and b do not hear each other"),
            fault(4_000, false, "a and b hear each other again"),
            fault(5_000, false, "store for a: well"),
        ]);
        let spans: Vec<_> = story.faults.iter().map(|spell| (spell.kind, spell.until)).collect();
        let expected = [(SpellKind::Store, 5.0), (SpellKind::Crash, 5.0), (SpellKind::Network, 4.0)];
        assert_eq!(spans, expected, "what never ended lasts to the end");
    }
}
