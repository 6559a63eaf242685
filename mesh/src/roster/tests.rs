#![expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::detector::pace::Pace;
use crate::id::Incarnation;
use crate::member::Claim;

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn ready(version: u64) -> Facts {
    Facts { version, entries: [("ready".to_owned(), "1".to_owned())].into() }
}

struct World {
    now: Instant,
    roster: Roster,
    actions: Vec<RosterAction>,
}

impl World {
    fn new(guarded: bool) -> Self {
        let now = Instant::now();
        let myself = Member {
            id: id("a"),
            generation: Generation(1),
            process: Some(ProcessId(0)),
            incarnation: Incarnation(0),
            liveness: Liveness::Alive,
            since: UnixMs(0),
            addr: addr(1),
            facts: ready(1),
            suspected_by: Vec::new(),
        };
        Self { now, roster: Roster::new(now, myself, guarded, Pace::LAN.at_once), actions: Vec::new() }
    }

    fn of(names: &[&str]) -> Self {
        let mut world = Self::new(true);
        names.iter().for_each(|name| world.joins(name, 1));
        world
    }

    fn event(&mut self, event: RosterEvent) {
        self.actions.clear();
        self.roster.on_event(self.now, UnixMs(0), event, &mut self.actions);
    }

    fn stands(&mut self, name: &str, generation: u64, liveness: Liveness) {
        let (generation, incarnation) = (Generation(generation), Incarnation(0));
        let claim = Claim { generation, incarnation, liveness };
        let suspected_by = if liveness == Liveness::Suspect { vec![id("z")] } else { Vec::new() };
        self.event(RosterEvent::Stands(Standing { node: id(name), claim, addr: addr(2), suspected_by }));
    }

    fn joins(&mut self, name: &str, generation: u64) {
        self.stands(name, generation, Liveness::Alive);
        let (node, generation, process) = (id(name), Generation(generation), ProcessId(generation));
        self.event(RosterEvent::Greeted { node, generation, process, facts: ready(1) });
    }

    fn states(&mut self, name: &str, generation: u64, facts: Facts, word: Word) {
        let (node, generation) = (id(name), Generation(generation));
        self.event(RosterEvent::FactsStated { node, generation, facts, word });
    }

    fn ring(&self) -> Vec<String> {
        self.roster.view().ring.members().iter().map(|(id, _)| id.to_string()).collect()
    }

    fn live_ring(&self) -> Vec<String> {
        self.roster.view().live_ring.members().iter().map(|(id, _)| id.to_string()).collect()
    }
}

#[test]
fn a_member_owns_keys_when_it_answers_and_is_ready() {
    let mut world = World::new(true);
    world.stands("b", 1, Liveness::Alive);
    assert_eq!(world.ring(), ["a"], "it has not said that it is ready");
    world.joins("b", 1);
    assert_eq!(world.ring(), ["a", "b"]);
    world.stands("b", 1, Liveness::Suspect);
    assert_eq!(world.ring(), ["a", "b"]);
    assert_eq!(world.roster.view().members[&id("b")].suspected_by, [id("z")]);
    world.stands("b", 1, Liveness::Dead);
    assert_eq!(world.ring(), ["a"]);
    world.stands("b", 1, Liveness::Alive);
    assert_eq!(world.ring(), ["a", "b"], "its facts are still known");
    let not_ready = Facts { version: 2, entries: BTreeMap::new() };
    world.states("b", 1, not_ready, Word::Own);
    assert_eq!(world.ring(), ["a"]);
}

#[test]
fn facts_belong_to_one_life_and_never_go_back() {
    let mut world = World::of(&["b"]);
    world.stands("b", 2, Liveness::Alive);
    assert_eq!(world.ring(), ["a"], "the new life has said nothing yet");
    world.states("b", 1, ready(9), Word::Own);
    assert_eq!(world.ring(), ["a"], "said of the life before");
    world.joins("b", 2);
    assert_eq!(world.ring(), ["a", "b"]);
    let old = Facts { version: 1, entries: BTreeMap::new() };
    world.states("b", 2, old, Word::Own);
    assert_eq!(world.actions, [], "nothing is new");
    assert_eq!(world.ring(), ["a", "b"]);
}

#[test]
fn nobody_silences_a_member_by_speaking_in_its_name() {
    let mut world = World::of(&["b"]);
    let version = |world: &World| world.roster.view().members[&id("b")].facts.version;
    let made_up = |version| Facts { version, entries: BTreeMap::new() };
    for (what, facts, word, wanted) in [
        ("hearsay of what has changed since", ready(3), Word::Hearsay, 3),
        ("its own word, on its way for longer, is repaired by the next hearsay", ready(2), Word::Own, 2),
        ("which it is", ready(3), Word::Hearsay, 3),
        ("hearsay of what was before", made_up(1), Word::Hearsay, 3),
        ("a version that no fact could ever follow", made_up(u64::MAX), Word::Hearsay, 3),
        ("as far as anybody can go", made_up(2 + LONGEST_LEAP), Word::Hearsay, 2 + LONGEST_LEAP),
        ("and no further from there", made_up(3 + LONGEST_LEAP), Word::Hearsay, 2 + LONGEST_LEAP),
        ("its own word counts all the same", ready(4), Word::Own, 4),
    ] {
        world.states("b", 1, facts, word);
        assert_eq!(version(&world), wanted, "{what}");
    }
    world.now += Duration::from_secs(60);
    world.states("b", 1, ready(64 + LONGEST_LEAP), Word::Hearsay);
    assert_eq!(version(&world), 64 + LONGEST_LEAP, "a minute later it may have come that far");
    world.stands("c", 1, Liveness::Alive);
    let day = LARGEST_LEAD.as_secs();
    world.states("c", 1, ready(1_000 + day + LONGEST_LEAP), Word::Hearsay);
    assert_eq!(world.ring(), ["a", "b"], "nobody's facts change so often");
    world.states("c", 1, ready(day), Word::Hearsay);
    assert_eq!(world.ring(), ["a", "b", "c"], "what it may have come to in a day may be heard");
}

#[test]
fn every_change_of_standing_is_announced_once_and_published() {
    let mut world = World::of(&["b"]);
    world.stands("b", 1, Liveness::Suspect);
    assert!(matches!(&world.actions[..], [RosterAction::Announce(_), RosterAction::Publish]));
    world.stands("b", 1, Liveness::Suspect);
    assert_eq!(world.actions, []);
    world.event(RosterEvent::Forgotten(id("b")));
    assert_eq!(world.actions, [RosterAction::Publish]);
    assert!(!world.roster.view().members.contains_key(&id("b")));
}

#[test]
fn when_most_die_at_once_the_ring_stays_for_a_while_and_the_live_one_follows() {
    let mut world = World::of(&["b", "c", "d", "e"]);
    for name in ["b", "c"] {
        world.stands(name, 1, Liveness::Dead);
    }
    assert_eq!((world.ring(), world.roster.view().is_frozen()), (world.live_ring(), false), "two of five");
    world.stands("d", 1, Liveness::Dead);
    assert!(world.actions.contains(&RosterAction::Frozen { missing: 3, of: 5 }));
    assert_eq!(world.ring(), ["a", "b", "c", "d", "e"]);
    assert_eq!(world.live_ring(), ["a", "e"]);
    world.now += Duration::from_secs(31);
    world.event(RosterEvent::TimePassed);
    assert_eq!(world.actions, [RosterAction::Thawed, RosterAction::Publish]);
    assert_eq!(world.ring(), ["a", "e"]);
}

#[test]
fn whichever_life_stood_in_the_ring_its_end_counts() {
    let mut world = World::of(&["b", "c"]);
    world.stands("b", 2, Liveness::Dead);
    assert_eq!(world.ring(), ["a", "c"], "one of three");
    world.stands("c", 1, Liveness::Dead);
    assert_eq!(world.ring(), ["a", "b", "c"]);
}

#[test]
fn a_kept_ring_holds_nobody_who_says_that_it_is_not_ready() {
    let mut world = World::of(&["b", "c", "d", "e"]);
    for name in ["c", "d", "e"] {
        world.stands(name, 1, Liveness::Dead);
    }
    assert_eq!(world.ring(), ["a", "b", "c", "d", "e"], "more than half look dead at once");
    let not_ready = Facts { version: 2, entries: BTreeMap::new() };
    world.states("b", 1, not_ready, Word::Own);
    assert_eq!(world.ring(), ["a", "c", "d", "e"], "it drains");
    world.stands("c", 2, Liveness::Alive);
    assert_eq!(world.ring(), ["a", "d", "e"], "its next life is not ready");
    world.joins("c", 2);
    assert_eq!(world.ring(), ["a", "c", "d", "e"]);
}

#[test]
fn a_kept_ring_ends_when_the_greater_part_is_back() {
    let mut world = World::of(&["b", "c", "d"]);
    for name in ["b", "c", "d"] {
        world.stands(name, 1, Liveness::Dead);
    }
    assert!(world.roster.view().is_frozen());
    world.stands("b", 1, Liveness::Alive);
    assert!(!world.roster.view().is_frozen());
    assert_eq!(world.ring(), ["a", "b"]);
}

#[test]
fn who_says_goodbye_is_out_at_once_also_when_many_do() {
    let mut world = World::of(&["b", "c", "d"]);
    for name in ["b", "c", "d"] {
        world.stands(name, 1, Liveness::Left);
    }
    assert_eq!(world.ring(), ["a"]);
}
