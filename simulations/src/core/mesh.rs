//! All nodes of a core run under one heap: plans, views, and one store. A node goes by its place in the order
//! of successors of the Beat's key, so place 0 is the Beat while it lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::id::{Generation, Incarnation, NodeId};
use beatmesh_mesh::member::{Claim, Liveness};
use beatmesh_mesh::ring::Ring;
use beatmesh_node::beat::driver::BEAT_KEY;
use beatmesh_node::beat::plan::{
    Action, CommitId, Event, Plan, PlannedSchedule, ReadId, STANDBY_DELAY, Standing,
};
use beatmesh_node::queue::StoreError;
use beatmesh_node::queue::task::{Attempt, TaskId};
use beatmesh_node::queue::tick::{TickCommit, TickOutcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Setting;
use super::beliefs::Beliefs;
use super::heap::Heap;
use super::movement::Movement;
use super::script::{self, Turn};
use super::view::{FIRST, View};
use crate::history::EPOCH;
use crate::measures::Distribution;
use crate::world::store::direct::DirectStore;

/// Nodes' estimates of the store's clock are wrong by up to this, either way: a slow answer's half.
const CLOCK_ERROR_MS: i64 = 20;

/// The driver's patience: an answer that was lost is "unknown" by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// One answer in so many is lost.
const LOST: u32 = 500;

/// Nodes start within this.
const START_WITHIN_MS: u64 = 500;

/// What may happen. A life that is over hears nothing more.
pub(super) enum Happening {
    Turn(Turn),
    Returns(usize),
    Refutes(usize, u32),
    Started(usize, u32),
    /// Drawn from the dice; [`super::membership`] has the detector's packets and timers.
    Noticed {
        node: usize,
        life: u32,
        member: usize,
        claim: Claim,
    },
    Woken {
        node: usize,
        life: u32,
        arming: u64,
    },
    Read {
        node: usize,
        life: u32,
        id: ReadId,
    },
    Commit {
        node: usize,
        life: u32,
        id: CommitId,
        commit: Box<TickCommit>,
    },
    Told {
        node: usize,
        life: u32,
        event: Box<Event>,
    },
    Claims {
        node: usize,
        life: u32,
    },
    Ended {
        node: usize,
        life: u32,
        task: TaskId,
        attempt: Attempt,
    },
    Sweep,
}

struct Node {
    plan: Plan,
    view: View,
    is_up: bool,
    life: u32,
    /// Only the latest wake counts.
    arming: u64,
    clock_error_ms: i64,
}

/// The world of one run.
pub(super) struct CoreMesh {
    pub(super) heap: Heap<Happening>,
    pub(super) dice: StdRng,
    pub(super) store: DirectStore,
    order: Vec<NodeId>,
    founders: Vec<bool>,
    nodes: Vec<Node>,
    /// The latest true claim about each member of which more is true than at the start.
    truth: BTreeMap<usize, Claim>,
    catalogue: Vec<Arc<PlannedSchedule>>,
    pub(super) movement: Movement,
    pub(super) beliefs: Beliefs,
    /// Deaths of the Beat.
    pub(super) beat_deaths: Vec<UnixMs>,
    /// Of those, the ones after which nobody has committed yet: when, and whose life it was.
    unfollowed: Vec<(Duration, usize, u32)>,
    pub(super) handover: Distribution,
    pub(super) reads: u64,
    pub(super) stale: u64,
}

impl CoreMesh {
    pub(super) fn new(
        setting: &Setting,
        seed: u64,
        store: DirectStore,
        catalogue: Vec<Arc<PlannedSchedule>>,
    ) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let turns = script::turns(&mut dice, setting.length);
        let joiners = turns.iter().filter(|(_, turn)| *turn == Turn::Joins).count();
        // Names decide who owns which key, so they come from the dice as well.
        let names =
            (0..setting.nodes + joiners).map(|index| format!("n{index}-{:04x}", dice.random::<u16>()));
        let ids: Vec<NodeId> = names.map(|name| name.parse().expect("letters and digits")).collect();
        let all = Ring::new(ids.iter().map(|id| (id.clone(), 1)));
        let order: Vec<_> = all.successors(BEAT_KEY).cloned().collect();
        let joiners = &ids[setting.nodes..];
        let founders: Vec<_> = order.iter().map(|id| !joiners.contains(id)).collect();
        let truth = BTreeMap::new();
        let node = |(place, id): (usize, &NodeId)| Node {
            plan: Plan::new(id.to_string(), STANDBY_DELAY),
            view: View::new(place, &founders, &truth),
            is_up: founders[place],
            life: 1,
            arming: 0,
            clock_error_ms: dice.random_range(-CLOCK_ERROR_MS..=CLOCK_ERROR_MS),
        };
        let nodes: Vec<_> = order.iter().enumerate().map(node).collect();
        let mut heap = Heap::new();
        for (at, turn) in turns {
            heap.push_in(at, Happening::Turn(turn));
        }
        for place in (0..nodes.len()).filter(|place| founders[*place]) {
            let after = Duration::from_millis(dice.random_range(0..START_WITHIN_MS));
            heap.push_in(after, Happening::Started(place, 1));
        }
        heap.push_in(Duration::ZERO, Happening::Sweep);
        Self {
            movement: Movement::new(ids[..setting.nodes].to_vec()),
            heap,
            dice,
            store,
            order,
            founders,
            nodes,
            truth,
            catalogue,
            beliefs: Beliefs::default(),
            beat_deaths: Vec::new(),
            unfollowed: Vec::new(),
            handover: Distribution::default(),
            reads: 0,
            stale: 0,
        }
    }

    pub(super) fn run(&mut self, length: Duration) {
        while let Some(happening) = self.heap.pop(length) {
            self.happen(happening);
        }
        self.beliefs.note(length, 0);
    }

    pub(super) fn name(&self, node: usize) -> &str {
        self.order[node].as_str()
    }

    pub(super) fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].is_up && self.nodes[node].life == life
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(turn) => self.turn(turn),
            Happening::Returns(node) => self.begin(node),
            Happening::Refutes(node, life) => {
                if self.lives(node, life) {
                    let claim = self.true_claim(node);
                    let incarnation = Incarnation(claim.incarnation.0 + 1);
                    self.announce(node, Claim { incarnation, ..claim });
                }
            }
            Happening::Started(node, life) => {
                let catalogue = Event::CatalogueChanged(self.catalogue.clone());
                self.tell(node, life, catalogue);
                self.tell_standing(node, life);
            }
            Happening::Noticed { node, life, member, claim } => {
                let founders = &self.founders;
                if self.lives(node, life) && self.nodes[node].view.take(member, claim, founders) {
                    self.tell_standing(node, life);
                }
            }
            Happening::Woken { node, life, arming } => {
                if self.nodes[node].arming == arming {
                    self.tell(node, life, Event::TimerFired);
                }
            }
            Happening::Read { node, life, id } => {
                self.reads += 1;
                let result = Ok(self.store.schedule_states(self.heap.now()));
                self.answer(node, life, |dice, result| Event::ReadEnded { id, result, dice }, result);
            }
            Happening::Commit { node, life, id, commit } => {
                let result = self.commit((node, life), &commit);
                self.answer(node, life, |dice, result| Event::CommitEnded { id, result, dice }, result);
            }
            Happening::Told { node, life, event } => {
                let fired =
                    matches!(&*event, Event::CommitEnded { result: Ok(TickOutcome::Committed { .. }), .. });
                self.tell(node, life, *event);
                if fired {
                    self.ring_bell();
                }
            }
            Happening::Claims { node, life } => self.claim(node, life),
            Happening::Ended { node, life, task, attempt } => self.complete(node, life, task, attempt),
            Happening::Sweep => self.sweep(),
        }
    }

    /// What the script wants.
    fn turn(&mut self, turn: Turn) {
        let beat = self.nodes.iter().position(|node| node.is_up).expect("most nodes are up");
        match turn {
            Turn::BeatDies => {
                self.beat_deaths.push(EPOCH.plus(self.heap.now()));
                self.unfollowed.push((self.heap.now(), beat, self.nodes[beat].life));
                self.die(beat);
            }
            Turn::MemberDies => {
                let member = self.somebody();
                if member != beat {
                    self.die(member);
                }
            }
            Turn::Joins => {
                let is_new = |place: &usize| !self.founders[*place] && !self.truth.contains_key(place);
                if let Some(place) = (0..self.nodes.len()).find(is_new) {
                    self.begin(place);
                }
            }
            Turn::BeatDoubted => {
                let claim = Claim { liveness: Liveness::Dead, ..self.true_claim(beat) };
                for observer in (0..self.nodes.len()).filter(|observer| *observer != beat) {
                    if self.nodes[observer].is_up && self.dice.random() {
                        let delay = Duration::from_micros(self.dice.random_range(0..300_000));
                        let life = self.nodes[observer].life;
                        let member = beat;
                        self.heap.push_in(delay, Happening::Noticed { node: observer, life, member, claim });
                    }
                }
                let refuted = script::doubted(&mut self.dice);
                self.heap.push_in(refuted, Happening::Refutes(beat, self.nodes[beat].life));
            }
        }
    }

    fn die(&mut self, node: usize) {
        self.count_believers(node, |node| node.is_up = false);
        let away = script::away(&mut self.dice);
        self.heap.push_in(away, Happening::Returns(node));
        self.announce(node, Claim { liveness: Liveness::Dead, ..self.true_claim(node) });
        self.ring_changed(node);
    }

    /// A new life: it knows what is true, and nothing of the schedules.
    fn begin(&mut self, node: usize) {
        let known = self.truth.get(&node).copied().or(self.founders[node].then_some(FIRST));
        let generation = known.map_or(FIRST.generation, |claim| Generation(claim.generation.0 + 1));
        self.announce(node, Claim { generation, ..FIRST });
        let (view, name) = (View::new(node, &self.founders, &self.truth), self.order[node].to_string());
        let this = &mut self.nodes[node];
        (this.is_up, this.life, this.view) = (true, this.life + 1, view);
        this.plan = Plan::new(name, STANDBY_DELAY);
        self.heap.push_in(Duration::ZERO, Happening::Started(node, this.life));
        self.ring_changed(node);
    }

    fn true_claim(&self, node: usize) -> Claim {
        self.truth.get(&node).copied().unwrap_or(FIRST)
    }

    /// Makes a claim true; everybody hears of it after a delay of its own.
    fn announce(&mut self, member: usize, claim: Claim) {
        self.truth.insert(member, claim);
        for observer in 0..self.nodes.len() {
            if self.nodes[observer].is_up && observer != member {
                let delay = match claim.liveness {
                    Liveness::Dead => script::death_noticed(&mut self.dice),
                    _ => script::life_noticed(&mut self.dice),
                };
                let life = self.nodes[observer].life;
                self.heap.push_in(delay, Happening::Noticed { node: observer, life, member, claim });
            }
        }
    }

    fn ring_changed(&mut self, node: usize) {
        let up = self.nodes.iter().zip(&self.order).filter(|(node, _)| node.is_up);
        let members = up.map(|(_, id)| id.clone()).collect();
        self.movement.change(members, &self.order[node], &self.order);
    }

    fn tell_standing(&mut self, node: usize, life: u32) {
        let standing = self.nodes[node].view.standing();
        self.tell(node, life, Event::StandingChanged(standing));
    }

    fn tell(&mut self, node: usize, life: u32, event: Event) {
        if !self.lives(node, life) {
            return;
        }
        let mut actions = Vec::new();
        let now = self.clock_of(node);
        self.count_believers(node, |node| node.plan.on_event(now, event, &mut actions));
        for action in actions {
            let way = script::way(&mut self.dice);
            match action {
                Action::WakeAt(at) => {
                    let this = &mut self.nodes[node];
                    this.arming += 1;
                    let arming = this.arming;
                    self.heap.push_in(now.until(at), Happening::Woken { node, life, arming });
                }
                Action::Report(rollback) => panic!("this store forgets nothing: {rollback:?}"),
                Action::ReadStates(id) => self.heap.push_in(way, Happening::Read { node, life, id }),
                Action::Commit(id, commit) => {
                    let commit = Box::new(commit);
                    self.heap.push_in(way, Happening::Commit { node, life, id, commit });
                }
            }
        }
    }

    /// The store's clock as the node estimates it.
    fn clock_of(&self, node: usize) -> UnixMs {
        let now = EPOCH.plus(self.heap.now());
        UnixMs(now.0 + self.nodes[node].clock_error_ms)
    }

    /// Changes a node and notes how many believe to be the Beat afterwards.
    fn count_believers(&mut self, node: usize, change: impl FnOnce(&mut Node)) {
        let this = &mut self.nodes[node];
        let believes = |node: &Node| i64::from(node.is_up && node.plan.standing() == Standing::Owner);
        let before = believes(this);
        change(this);
        self.beliefs.note(self.heap.now(), believes(this) - before);
    }

    fn commit(&mut self, by: (usize, u32), commit: &TickCommit) -> Result<TickOutcome, StoreError> {
        let now = self.heap.now();
        let result = self.store.commit_tick(now, commit);
        if let Ok(TickOutcome::Committed { .. }) = result {
            let handover = &mut self.handover;
            // What the dead one had sent may arrive after its death.
            self.unfollowed.retain(|(died, beat, life)| {
                if (*beat, *life) != by {
                    handover.add(i64::try_from((now - *died).as_millis()).unwrap_or(i64::MAX));
                }
                (*beat, *life) == by
            });
        }
        result
    }

    fn answer<T>(
        &mut self,
        node: usize,
        life: u32,
        event: impl FnOnce(f64, Result<T, StoreError>) -> Event,
        result: Result<T, StoreError>,
    ) {
        let spread = self.dice.random();
        let (delay, result) = if script::one_in(&mut self.dice, LOST) {
            (ANSWER_WITHIN, Err(StoreError::Unknown("the answer is lost".to_owned())))
        } else {
            (script::way(&mut self.dice), result)
        };
        self.heap.push_in(delay, Happening::Told { node, life, event: Box::new(event(spread, result)) });
    }

    /// Some node that is up.
    pub(super) fn somebody(&mut self) -> usize {
        loop {
            let node = self.dice.random_range(0..self.nodes.len());
            if self.nodes[node].is_up {
                return node;
            }
        }
    }

    pub(super) fn life(&self, node: usize) -> u32 {
        self.nodes[node].life
    }
}
