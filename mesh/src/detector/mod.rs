//! Who answers: SWIM (Das, Gupta and Motivala 2002) with Lifeguard (Dadgar, Phillips and Currey 2018).
//!
//! Pure: inputs and the time go in, outputs come out; the driver sends, dials and calls again at
//! [`Detector::next_wake`]. Each node probes one member in each period (`turns.rs`), directly, then through others; who
//! answers nobody becomes a suspect, is told so, and counts as dead unless it refutes with a higher
//! incarnation in time. The cost of a node does not grow with the mesh.
//!
//! ```text
//! Alive ──silent──> Suspect ──time is up──> Dead          Left: said by the member itself, final
//!   ^                  │                      │
//!   └──────────── the member itself, with a higher incarnation
//! ```
//!
//! Invariants: standing changes only through [`Claim::supersedes`]; only the accused refutes, and it is always
//! told; who was stopped itself judges nobody until it has looked again.

mod claims;
mod crowd;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
pub mod message;
pub mod pace;
mod probing;
mod rumours;
mod suspicion;
mod tally;
mod timers;
mod turns;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::env::UnixMs;
use crate::id::{Incarnation, NodeId};
use crate::member::{Claim, Liveness};
use crowd::Crowd;
pub use exchange::{Input, Myself, Output, Parts, Standing};
use health::LocalHealth;
use message::{Body, MemberClaim, Packet, ROOM, Rumour};
use pace::{CUT_OFF, FANOUT, LATENESS, Pace};
use probing::{Probe, Relay};
use rumours::Rumours;
use suspicion::Suspicion;
pub use tally::Tally;
use timers::{Timer, Timers};
use turns::Turns;

/// Dead and departed members are known for this long, so that no late rumour brings them back.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// Members and tombstones that are known at most; hearsay about more is ignored. Fuzzing fills the table in each
/// run and looks at all of it after each step, so it has a small one.
const MOST_KNOWN: usize = if cfg!(fuzzing) { 64 } else { 4_096 };

#[derive(Debug)]
struct Subject {
    claim: Claim,
    addr: SocketAddr,
    suspicion: Option<Suspicion>,
    /// Since when the standing is what it is.
    changed: Instant,
    /// Smoothed, of direct pings.
    round_trip: Option<Duration>,
    /// A link to this life of it came up, and is not known to be gone: a ping has no dial on its way.
    linked: bool,
}

impl Subject {
    fn is_in(&self) -> bool {
        self.claim.liveness.owns_keys()
    }
}

/// One node's detector.
#[derive(Debug)]
pub struct Detector {
    me: Myself,
    incarnation: Incarnation,
    pace: Pace,
    parts: Parts,
    dice: StdRng,
    /// All but this node itself.
    subjects: BTreeMap<NodeId, Subject>,
    /// Of these, how many are alive or suspects.
    inside: usize,
    crowd: Crowd,
    turns: Turns,
    /// Turns that it took while it left out some of the others'.
    own_turns: u64,
    probes: BTreeMap<u32, Probe>,
    relays: BTreeMap<u32, Relay>,
    next_seq: u32,
    health: LocalHealth,
    /// Probes in a row that nobody answered, neither the target nor whoever was asked to help.
    unanswered: u32,
    rumours: Rumours,
    topics: BTreeMap<u16, u64>,
    timers: Timers,
    tally: Tally,
    /// A timer is set to tell news.
    flushing: bool,
    /// A timer is set to look for somebody who is gone.
    looking: bool,
    /// No verdicts before.
    judges_from: Instant,
}

impl Detector {
    /// A node that knows nobody yet.
    #[must_use]
    pub fn new(now: Instant, me: Myself, pace: Pace, parts: Parts, mut dice: StdRng) -> Self {
        let mut timers = Timers::default();
        timers.set(now + pace.period.mul_f64(dice.random()), Timer::Period);
        // Spread over half of a period: spread over all of it, two turns of a member could be two periods apart.
        let turns = Turns::new(pace.period, pace.period.mul_f64(dice.random_range(0.0..0.5)));
        Self {
            me,
            incarnation: Incarnation(0),
            pace,
            parts,
            next_seq: dice.random(),
            dice,
            subjects: BTreeMap::new(),
            inside: 0,
            crowd: Crowd::default(),
            turns,
            own_turns: 0,
            probes: BTreeMap::new(),
            relays: BTreeMap::new(),
            health: LocalHealth::default(),
            unanswered: 0,
            rumours: Rumours::default(),
            topics: BTreeMap::new(),
            timers,
            tally: Tally::default(),
            flushing: false,
            looking: false,
            judges_from: now,
        }
    }

    /// When it wants to hear [`Input::TimePassed`].
    #[must_use]
    pub fn next_wake(&self) -> Instant {
        self.timers.next().expect("the timer of the period is always set")
    }

    /// Whether nobody answers this node any more, as far as it has tried: likelier than the end of everybody else
    /// is that it is cut off itself.
    #[must_use]
    pub fn hears_nobody(&self) -> bool {
        self.unanswered >= CUT_OFF
    }

    /// Takes one input in.
    pub fn step(&mut self, now: Instant, input: Input, outputs: &mut Vec<Output>) {
        self.notice_a_stop(now, outputs);
        match input {
            Input::Met { node, generation, addr } => self.on_met(now, &node, generation, addr, outputs),
            Input::HeardOf { node, generation, addr } => {
                self.on_heard_of(now, node, generation, addr, outputs)
            }
            Input::Received { from, generation, packet } => {
                self.on_packet(now, &from, generation, packet, outputs);
            }
            Input::LinkLost { node, generation } => {
                let is_same = |known: &Subject| known.claim.generation == generation;
                // This one looks as fast as ever: that the link broke is a hint.
                if self.subjects.get(&node).is_some_and(|known| known.is_in() && is_same(known)) {
                    self.probe(now, &node, outputs);
                }
                if let Some(known) = self.subjects.get_mut(&node).filter(|known| is_same(known)) {
                    known.linked = false;
                }
            }
            Input::SaidGoodbye { node, generation } => self.on_goodbye(now, node, generation, outputs),
            Input::Spread { topic, value } => drop(self.take_topic(topic, value)),
            Input::TimePassed { wall } => self.on_time_passed(now, wall, outputs),
        }
        if self.rumours.is_pressing() && !self.flushing {
            self.flushing = true;
            self.timers.set(now + self.pace.gather, Timer::Flush);
        }
        // In a quiet mesh there is nobody to look for, and looking would wake it for nothing.
        if self.subjects.len() > self.inside && !self.looking {
            self.looking = true;
            // Spread: who learnt of a death together would all ask the dead in one instant.
            let pause = self.pace.probe_dead_every.mul_f64(self.dice.random_range(0.5..1.5));
            self.timers.set(now + pause, Timer::Dead);
        }
    }

    fn on_time_passed(&mut self, now: Instant, wall: UnixMs, outputs: &mut Vec<Output>) {
        let late = now.saturating_duration_since(self.next_wake());
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Period => {
                    if late >= self.pace.ping_timeout / 2 && self.parts.lateness {
                        self.health.worse(LATENESS);
                    }
                    let slowness = self.health.factor();
                    self.timers.set(now + self.turns.until(wall, slowness), Timer::Period);
                    let turn = if slowness == 1 { self.turns.number(wall) } else { self.own_turn() };
                    self.probe_in_turn(now, turn, outputs);
                }
                Timer::Dead => {
                    self.looking = false;
                    self.forget_old(now, outputs);
                    self.probe_one_of_the_dead(now, outputs);
                }
                Timer::Unanswered(seq) => self.on_unanswered(now, seq, outputs),
                Timer::Failed(seq) => self.on_failed(now, seq, outputs),
                Timer::Relay(seq) => self.on_relay_unanswered(now, seq, outputs),
                Timer::Suspicion { node, generation, incarnation } => {
                    self.on_suspicion_over(now, &node, (generation, incarnation), outputs);
                }
                Timer::Flush => {
                    self.flushing = false;
                    self.flush(outputs);
                }
            }
        }
    }

    /// Who leaves out turns of the others counts its own, or there would be some whose turn it never meets.
    fn own_turn(&mut self) -> u64 {
        self.own_turns += 1;
        self.own_turns
    }

    /// A timer that is much too late: this process was stopped, or got no time to run. What it holds against
    /// others may be its own silence, so it begins anew.
    fn notice_a_stop(&mut self, now: Instant, outputs: &mut Vec<Output>) {
        let late = now.saturating_duration_since(self.next_wake());
        if late < self.pace.stopped_after || !self.parts.pause_guard {
            return;
        }
        outputs.push(Output::Stopped(late));
        self.tally.stops += 1;
        self.unanswered = 0;
        self.probes.clear();
        self.relays.clear();
        self.judges_from = now + self.pace.no_verdicts_for;
        self.timers.clear();
        self.timers.set(now, Timer::Period);
        (self.flushing, self.looking) = (false, false);
        for (node, subject) in &mut self.subjects {
            if let Some(suspicion) = &mut subject.suspicion {
                suspicion.begin_anew(self.judges_from);
                let Claim { generation, incarnation, .. } = subject.claim;
                let timer = Timer::Suspicion { node: node.clone(), generation, incarnation };
                self.timers.set(suspicion.deadline(), timer);
            }
        }
        // Others may hold this node for dead by now: it says that it is not before it is told.
        self.incarnation.0 += 1;
        self.say_alive(outputs);
    }

    fn forget_old(&mut self, now: Instant, outputs: &mut Vec<Output>) {
        self.subjects.retain(|node, subject| {
            let is_old = !subject.is_in() && now.saturating_duration_since(subject.changed) >= REMEMBERED;
            if is_old {
                let left = subject.claim.liveness == Liveness::Left;
                outputs.push(Output::Forgotten { node: node.clone(), addr: subject.addr, left });
            }
            !is_old
        });
    }

    fn flush(&mut self, outputs: &mut Vec<Output>) {
        let subjects = &self.subjects;
        let is_in = |id: &NodeId| subjects.get(id).is_some_and(Subject::is_in);
        let hearers = self.crowd.sample(FANOUT, &mut self.dice, is_in);
        let told = u32::try_from(hearers.len().max(1)).unwrap_or(1);
        // With nobody to tell, the news counts as told: whoever comes gets everything anyway.
        let rumours = self.rumours.take(None, ROOM, told, self.inside);
        for to in hearers {
            self.send(&to, Body::News, rumours.clone(), outputs);
        }
    }

    /// Sends with what else there is to tell, beginning with what is held against the addressee itself.
    fn write(&mut self, to: &NodeId, body: Body, outputs: &mut Vec<Output>) {
        let mut rumours = Vec::new();
        let mut room = ROOM;
        if let Some(accusation) = self.claim_about(to).filter(MemberClaim::is_accusation) {
            let accusation = Rumour::Member(accusation);
            room -= accusation.room();
            rumours.push(accusation);
        }
        rumours.extend(self.rumours.take(Some(to), room, 1, self.inside));
        self.send(to, body, rumours, outputs);
    }

    fn send(&self, to: &NodeId, body: Body, rumours: Vec<Rumour>, outputs: &mut Vec<Output>) {
        if let Some(subject) = self.subjects.get(to) {
            let packet = Packet { incarnation: self.incarnation, body, rumours };
            outputs.push(Output::Send { to: to.clone(), addr: subject.addr, packet });
        }
    }

    /// What this node would say about a member.
    fn claim_about(&self, node: &NodeId) -> Option<MemberClaim> {
        let subject = self.subjects.get(node)?;
        let accuser = subject.suspicion.as_ref().and_then(|suspicion| suspicion.accusers().next());
        let by = accuser.unwrap_or(&self.me.node).clone();
        Some(MemberClaim { node: node.clone(), claim: subject.claim, addr: subject.addr, by })
    }

    fn next_seq(&mut self) -> u32 {
        self.next_seq = self.next_seq.wrapping_add(1);
        self.next_seq
    }
}

#[cfg(test)]
mod tests;
