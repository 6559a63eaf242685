use super::*;

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn ready(version: u64) -> Facts {
    Facts { version, entries: [("ready".to_owned(), "1".to_owned())].into() }
}

fn member(name: &str) -> Member {
    Member {
        id: id(name),
        generation: Generation(1),
        process: Some(ProcessId(0)),
        incarnation: Incarnation(0),
        liveness: Liveness::Alive,
        since: UnixMs(0),
        addr: addr(1),
        facts: ready(1),
    }
}

struct World {
    now: Instant,
    roster: Roster,
    actions: Vec<RosterAction>,
}

impl World {
    fn new() -> Self {
        let now = crate::env::Clock::now(&crate::system::SystemClock);
        Self { now, roster: Roster::new(now, member("a")), actions: Vec::new() }
    }

    fn event(&mut self, event: RosterEvent) -> Vec<RosterAction> {
        self.actions.clear();
        self.roster.on_event(self.now, UnixMs(0), event, &mut self.actions);
        self.actions.clone()
    }

    /// Time passes, and no link is in the table.
    fn after(&mut self, span: Duration) -> Vec<RosterAction> {
        self.now += span;
        self.event(RosterEvent::TimePassed { linked: BTreeSet::new() })
    }

    fn up(&mut self, name: &str, generation: u64) {
        self.event(RosterEvent::LinkUp {
            node: id(name),
            generation: Generation(generation),
            process: ProcessId(generation),
            addr: addr(2),
            facts: ready(1),
        });
    }

    fn down(&mut self, name: &str, generation: u64, goodbye: bool) {
        self.event(RosterEvent::LinkDown { node: id(name), generation: Generation(generation), goodbye });
    }

    fn hear(&mut self, names: &[(&str, u64)]) -> Vec<RosterAction> {
        let heard = names
            .iter()
            .map(|(name, generation)| Heard {
                node: id(name),
                generation: Generation(*generation),
                addr: addr(2),
                facts: ready(1),
            })
            .collect();
        self.event(RosterEvent::GossipHeard(heard))
    }

    fn standing(&self, name: &str) -> (Liveness, u64) {
        let view = self.roster.view();
        let member = &view.members[&id(name)];
        (member.liveness, member.generation.0)
    }

    fn ring(&self) -> Vec<String> {
        self.roster.view().ring.members().iter().map(|(id, _)| id.to_string()).collect()
    }
}

#[test]
fn a_linked_member_is_alive_and_owns_keys_when_ready() {
    let mut world = World::new();
    world.up("b", 1);
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
    assert_eq!(world.ring(), ["a", "b"]);
    let not_ready = Facts { version: 2, entries: BTreeMap::new() };
    world.event(RosterEvent::FactsStated { node: id("b"), generation: Generation(1), facts: not_ready });
    assert_eq!(world.ring(), ["a"]);
}

#[test]
fn a_member_whose_link_broke_is_suspected_then_dead_but_keeps_its_keys_meanwhile() {
    let mut world = World::new();
    world.up("b", 1);
    world.down("b", 1, false);
    assert_eq!(world.standing("b"), (Liveness::Suspect, 1));
    assert_eq!(world.ring(), ["a", "b"]);
    world.after(SUSPECT_FOR);
    assert_eq!(world.standing("b"), (Liveness::Dead, 1));
    assert_eq!(world.ring(), ["a"]);
}

#[test]
fn a_refuted_suspect_stays_alive() {
    let mut world = World::new();
    world.up("b", 1);
    world.down("b", 1, false);
    world.up("b", 1);
    world.after(SUSPECT_FOR * 2);
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
}

#[test]
fn a_dead_member_that_answers_again_is_alive() {
    let mut world = World::new();
    world.up("b", 1);
    world.down("b", 1, false);
    world.after(SUSPECT_FOR);
    let dialled = world.after(REDIAL_DEAD);
    assert!(dialled.contains(&RosterAction::Connect(addr(2))), "a dead member is dialled now and then");
    world.up("b", 1);
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
}

#[test]
fn a_new_generation_replaces_an_old_one_and_never_the_other_way() {
    let mut world = World::new();
    world.up("b", 2);
    world.down("b", 2, false);
    world.after(SUSPECT_FOR);
    world.up("b", 3);
    assert_eq!(world.standing("b"), (Liveness::Alive, 3));
    world.up("b", 2);
    world.down("b", 2, true);
    world.hear(&[("b", 2)]);
    assert_eq!(world.standing("b"), (Liveness::Alive, 3));
}

#[test]
fn whoever_left_stays_left_in_that_generation() {
    let mut world = World::new();
    world.up("b", 1);
    world.down("b", 1, true);
    assert_eq!(world.standing("b"), (Liveness::Left, 1));
    assert_eq!(world.ring(), ["a"]);
    world.up("b", 1);
    world.hear(&[("b", 1)]);
    assert_eq!(world.standing("b"), (Liveness::Left, 1));
    world.up("b", 2);
    assert_eq!(world.standing("b"), (Liveness::Alive, 2));
}

#[test]
fn a_member_known_from_gossip_is_dialled() {
    let mut world = World::new();
    let actions = world.hear(&[("b", 1)]);
    assert!(actions.contains(&RosterAction::Connect(addr(2))));
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
}

#[test]
fn whom_others_still_hear_is_not_dead_only_out_of_sight() {
    let mut world = World::new();
    world.up("b", 1);
    world.hear(&[("b", 1)]);
    world.down("b", 1, false);
    world.after(SUSPECT_FOR * 10);
    assert_eq!(world.standing("b"), (Liveness::Suspect, 1));
    world.hear(&[]);
    world.after(TICK);
    assert_eq!(world.standing("b"), (Liveness::Dead, 1));
}

#[test]
fn old_facts_do_not_replace_new_ones() {
    let mut world = World::new();
    world.up("b", 1);
    let stated = |version, value: &str| RosterEvent::FactsStated {
        node: id("b"),
        generation: Generation(1),
        facts: Facts { version, entries: [("ready".to_owned(), value.to_owned())].into() },
    };
    world.event(stated(5, "1"));
    world.event(stated(4, "0"));
    assert_eq!(world.ring(), ["a", "b"]);
}

#[test]
fn the_dead_are_forgotten_in_the_end_and_nobody_can_bury_this_node() {
    let mut world = World::new();
    world.up("b", 1);
    world.down("b", 1, true);
    world.after(REMEMBERED);
    assert!(!world.roster.view().members.contains_key(&id("b")));
    world.up("a", 9);
    world.down("a", 1, true);
    assert_eq!(world.standing("a"), (Liveness::Alive, 1));
}

#[test]
fn a_late_word_of_a_lost_link_does_not_bury_a_linked_member() {
    let mut world = World::new();
    world.up("b", 1);
    world.up("b", 1);
    world.down("b", 1, false);
    world.now += SUSPECT_FOR * 2;
    world.event(RosterEvent::TimePassed { linked: [(id("b"), Generation(1))].into() });
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
    // A link of an earlier life says nothing about this one.
    world.up("b", 2);
    world.down("b", 2, false);
    world.now += SUSPECT_FOR * 2;
    world.event(RosterEvent::TimePassed { linked: [(id("b"), Generation(1))].into() });
    assert_eq!(world.standing("b"), (Liveness::Dead, 2));
}

#[test]
fn a_generation_from_the_far_future_is_not_believed_from_hearsay() {
    let mut world = World::new();
    world.up("b", 1);
    world.hear(&[("b", u64::MAX), ("c", u64::MAX)]);
    assert_eq!(world.standing("b"), (Liveness::Alive, 1));
    assert!(!world.roster.view().members.contains_key(&id("c")));
}
