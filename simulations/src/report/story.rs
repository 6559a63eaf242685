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
    /// The words without the nodes' names at their end: beside a lane's name they only repeat it.
    pub(super) label: String,
    /// The nodes concerned.
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

    /// Whether a fault meets every node. Of a single node it is the node's own.
    pub(super) fn meets_all(&self, spell: &Spell) -> bool {
        self.nodes.len() > 1 && spell.nodes.len() == self.nodes.len()
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
        let mut open: BTreeMap<usize, Spell> = BTreeMap::new();
        for record in history {
            match &record.event {
                Event::FaultBegan { fault, number, kind, nodes } => {
                    let names = format!(" ({})", nodes.join(", "));
                    let spell = Spell {
                        from: seconds(record.at),
                        until: self.end,
                        kind: SpellKind::of(kind),
                        words: fault.clone(),
                        label: fault.strip_suffix(&names).unwrap_or(fault).to_owned(),
                        nodes: nodes.iter().filter_map(|node| self.lane(node)).collect(),
                    };
                    open.insert(*number, spell);
                }
                Event::FaultEnded { number, .. } => {
                    let ended = open.remove(number);
                    self.faults.extend(ended.map(|spell| Spell { until: seconds(record.at), ..spell }));
                }
                _ => {}
            }
        }
        self.faults.extend(open.into_values());
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
                Event::NodeDown { node, .. } => {
                    let lane = self.lane(node);
                    down.extend(lane.filter(|lane| !down.contains_key(lane)).map(|lane| (lane, at)));
                    lane.and_then(|lane| believing.remove_entry(&lane)).into_iter().collect::<Vec<_>>()
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
}

impl SpellKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Crash, Self::Pause, Self::Network, Self::Store, Self::Clock, Self::Other];

    /// By the fault's kind, as the history has it.
    fn of(kind: &str) -> Self {
        match kind {
            "crash" | "power_cut" | "move" | "disk" | "leave" | "clone" => Self::Crash,
            "pause" => Self::Pause,
            "partition" | "network" => Self::Network,
            "store" => Self::Store,
            "clock" => Self::Clock,
            _ => Self::Other,
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

    fn fault(began: bool, number: usize, kind: &'static str, nodes: &[&str]) -> Event {
        let fault = format!("{kind} ({})", nodes.join(", "));
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        if began {
            Event::FaultBegan { fault, number, kind, nodes }
        } else {
            Event::FaultEnded { fault, number, kind, nodes }
        }
    }

    #[test]
    fn a_crash_ends_what_a_node_believed_and_its_next_start_ends_the_gap() {
        let story = Story::of(&[
            at(100, ready("n1-a")),
            at(100, ready("n1-ab")),
            at(200, believes("n1-a", "n1-ab")),
            at(1_000, fault(true, 0, "crash", &["n1-a"])),
            at(1_000, Event::NodeDown { node: "n1-a".to_owned(), how: "crash" }),
            at(3_000, fault(false, 0, "crash", &["n1-a"])),
            at(3_500, ready("n1-a")),
            at(4_000, believes("n1-a", "n1-a")),
        ]);
        assert_eq!(story.downs, [(0, 0.0, 0.1), (1, 0.0, 0.1), (0, 1.0, 3.5)]);
        let crash = &story.faults[0];
        assert_eq!((crash.from, crash.until, crash.kind), (1.0, 3.0, SpellKind::Crash));
        assert_eq!((crash.words.as_str(), crash.label.as_str()), ("crash (n1-a)", "crash"));
        assert_eq!(crash.nodes, [0]);
        let beliefs: Vec<_> = story.beliefs.iter().map(|b| (b.node, b.from, b.until, b.beat)).collect();
        assert_eq!(beliefs, [(0, 0.2, 1.0, 1), (0, 4.0, 4.0, 0)]);
    }

    #[test]
    fn beginnings_and_ends_of_overlapping_faults_find_each_other() {
        let story = Story::of(&[
            at(0, ready("a")),
            at(0, ready("b")),
            at(1_000, fault(true, 0, "store", &["a"])),
            at(2_000, fault(true, 1, "crash", &["a"])),
            at(3_000, fault(true, 2, "partition", &["a", "b"])),
            at(4_000, fault(false, 2, "partition", &["a", "b"])),
            at(5_000, fault(false, 0, "store", &["a"])),
        ]);
        let spans: Vec<_> = story.faults.iter().map(|spell| (spell.kind, spell.until)).collect();
        let expected = [(SpellKind::Store, 5.0), (SpellKind::Crash, 5.0), (SpellKind::Network, 4.0)];
        assert_eq!(spans, expected, "what never ended lasts to the end");
        let meet_all: Vec<_> = story.faults.iter().map(|spell| story.meets_all(spell)).collect();
        assert_eq!(meet_all, [false, false, true]);
    }

    #[test]
    fn a_fault_of_the_only_node_is_its_own() {
        let story = Story::of(&[at(0, ready("a")), at(1_000, fault(true, 0, "crash", &["a"]))]);
        assert!(!story.meets_all(&story.faults[0]));
    }

    #[test]
    fn whatever_takes_a_process_down_has_the_colour_of_a_crash() {
        for kind in ["crash", "power_cut", "move", "disk", "leave", "clone"] {
            assert_eq!(SpellKind::of(kind), SpellKind::Crash, "{kind}");
        }
    }
}
