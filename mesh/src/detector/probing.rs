//! Probes: one member in each period, directly, then through others.

use std::time::Duration;

use tokio::time::Instant;

use super::message::{Body, MemberClaim, Rumour};
use super::pace::{FIRST_PING, LONGEST_PING, RELAYS, ROUND_TRIPS};
use super::timers::{Key, Timer};
use super::turns::places;
use super::{Detector, Output, Subject};
use crate::id::{Generation, NodeId};
use crate::member::{Claim, Liveness};

/// A probe under way.
#[derive(Debug)]
pub(super) struct Probe {
    target: NodeId,
    generation: Generation,
    sent: Instant,
    /// Asked to ping as well.
    relays: Vec<NodeId>,
    /// Of these, how many said that they are there and the target is silent for them too.
    nacks: usize,
    /// A second ping went out: the time until an answer says nothing any more.
    repeated: bool,
    /// When it has waited long enough.
    timer: Key,
}

impl Probe {
    pub(super) fn is_of(&self, node: &NodeId) -> bool {
        self.target == *node
    }
}

/// A ping for somebody else.
#[derive(Debug)]
pub(super) struct Relay {
    target: NodeId,
    asker: NodeId,
    their_seq: u32,
    /// The asker was told that the target is silent. An answer that comes yet is passed on.
    refused: bool,
}

impl Detector {
    /// The member whose turn it is ([`super::turns`]).
    pub(super) fn probe_in_turn(&mut self, now: Instant, turn: u64, outputs: &mut Vec<Output>) {
        if self.inside == 0 {
            return;
        }
        let others = || self.subjects.iter().filter(|(_, subject)| subject.is_in()).map(|(id, _)| id);
        let (members, rank) = (self.inside + 1, others().take_while(|id| **id < self.me.node).count());
        let place = (rank + places(turn, members)) % members;
        // This node itself stands among the others at its rank.
        let target = others().nth(if place > rank { place - 1 } else { place }).cloned();
        if let Some(target) = target {
            self.probe(now, &target, outputs);
        }
    }

    /// One that is held for dead may be back, or have been cut off: it is told, and refutes.
    pub(super) fn probe_one_of_the_dead(&mut self, now: Instant, outputs: &mut Vec<Output>) {
        use rand::seq::IteratorRandom;
        if !self.parts.probes_of_the_dead {
            return;
        }
        let dead = self.subjects.iter().filter(|(_, subject)| subject.claim.liveness == Liveness::Dead);
        if let Some(target) = dead.map(|(id, _)| id).choose(&mut self.dice).cloned() {
            self.probe(now, &target, outputs);
        }
    }

    /// Pings a member unless that is under way.
    pub(super) fn probe(&mut self, now: Instant, target: &NodeId, outputs: &mut Vec<Output>) {
        if self.probes.values().any(|probe| probe.target == *target) {
            return;
        }
        let Some(subject) = self.subjects.get(target) else { return };
        let generation = subject.claim.generation;
        let timeout = self.ping_timeout(subject);
        let seq = self.next_seq();
        let (target, relays) = (target.clone(), Vec::new());
        self.write(&target, Body::Ping { seq }, outputs);
        let timer = self.timers.set(now + timeout, Timer::Unanswered(seq));
        let probe = Probe { target, generation, sent: now, relays, nacks: 0, repeated: false, timer };
        self.probes.insert(seq, probe);
        self.tally.probes += 1;
    }

    pub(super) fn ping_timeout(&self, subject: &Subject) -> Duration {
        let measured = (subject.round_trip.unwrap_or_default() * ROUND_TRIPS).min(LONGEST_PING);
        let least = self.pace.ping_timeout * if subject.linked { 1 } else { FIRST_PING };
        least.max(measured) * self.health.factor()
    }

    pub(super) fn on_unanswered(&mut self, now: Instant, seq: u32, outputs: &mut Vec<Output>) {
        let Some(probe) = self.probes.get(&seq) else { return };
        let target = probe.target.clone();
        let relays = if self.parts.indirect_probes {
            self.crowd.sample(RELAYS, &mut self.dice, |id| {
                *id != target
                    && self.subjects.get(id).is_some_and(|known| known.claim.liveness == Liveness::Alive)
            })
        } else {
            Vec::new()
        };
        // What was lost once may come through at the second try: a loss is likelier than a death.
        self.write(&target, Body::Ping { seq }, outputs);
        self.tally.indirect_probes += relays.len() as u64;
        for relay in &relays {
            // The relay must know what is held against the member, or it could not tell it.
            let accusation = self.claim_about(&target).filter(MemberClaim::is_accusation).map(Rumour::Member);
            let body = Body::PingReq { seq, target: target.clone() };
            self.send(relay, body, accusation.into_iter().collect(), outputs);
        }
        let wait = self.pace.indirect_timeout * self.health.factor();
        if let Some(probe) = self.probes.get_mut(&seq) {
            (probe.relays, probe.repeated) = (relays, true);
            probe.timer = self.timers.set(now + wait, Timer::Failed(seq));
        }
    }

    pub(super) fn on_failed(&mut self, now: Instant, seq: u32, outputs: &mut Vec<Output>) {
        let Some(probe) = self.probes.remove(&seq) else { return };
        self.tally.probes_failed += 1;
        self.unanswered = if probe.nacks == 0 { self.unanswered.saturating_add(1) } else { 0 };
        // Whoever was asked and said nothing is not to be heard either: that speaks against this node.
        self.health
            .worse(u32::try_from(probe.relays.len() - probe.nacks.min(probe.relays.len())).unwrap_or(0));
        let Some(known) = self.subjects.get(&probe.target) else { return };
        if now < self.judges_from || known.claim.generation != probe.generation || !known.is_in() {
            return;
        }
        if known.claim.liveness == Liveness::Alive {
            self.tally.suspicions += 1;
        }
        let claim = Claim { liveness: Liveness::Suspect, ..known.claim };
        let (node, addr, by) = (probe.target, known.addr, self.me.node.clone());
        self.hear(now, MemberClaim { node, claim, addr, by }, outputs);
    }

    /// Somebody asks this node to ping another one.
    pub(super) fn on_ping_req(
        &mut self,
        now: Instant,
        asker: &NodeId,
        their_seq: u32,
        target: NodeId,
        outputs: &mut Vec<Output>,
    ) {
        if target == self.me.node {
            return self.write(asker, Body::Ack { seq: their_seq }, outputs);
        }
        if !self.subjects.contains_key(&target) || self.relays.len() >= MOST_RELAYS {
            return self.write(asker, Body::Nack { seq: their_seq }, outputs);
        }
        let seq = self.next_seq();
        self.write(&target, Body::Ping { seq }, outputs);
        self.relays.insert(seq, Relay { target, asker: asker.clone(), their_seq, refused: false });
        self.timers.set(now + self.pace.nack_after, Timer::Relay(seq));
    }

    pub(super) fn on_relay_unanswered(&mut self, now: Instant, seq: u32, outputs: &mut Vec<Output>) {
        let Some(relay) = self.relays.get_mut(&seq).filter(|relay| !relay.refused) else {
            self.relays.remove(&seq);
            return;
        };
        relay.refused = true;
        let (asker, seq_of_asker) = (relay.asker.clone(), relay.their_seq);
        self.timers.set(now + self.pace.indirect_timeout, Timer::Relay(seq));
        self.write(&asker, Body::Nack { seq: seq_of_asker }, outputs);
    }

    pub(super) fn on_ack(&mut self, now: Instant, from: &NodeId, seq: u32, outputs: &mut Vec<Output>) {
        if self.relays.get(&seq).is_some_and(|relay| relay.target == *from)
            && let Some(relay) = self.relays.remove(&seq)
        {
            // With what is known of the target: its refutation travels with the answer.
            let known = self.claim_about(from).map(Rumour::Member);
            let body = Body::Ack { seq: relay.their_seq };
            return self.send(&relay.asker, body, known.into_iter().collect(), outputs);
        }
        let Some(probe) = self.probes.get(&seq) else { return };
        let is_direct = probe.target == *from;
        if !is_direct && !probe.relays.contains(from) {
            return;
        }
        let took = (is_direct && !probe.repeated).then(|| now.saturating_duration_since(probe.sent));
        let target = probe.target.clone();
        self.timers.cancel(probe.timer);
        self.probes.remove(&seq);
        self.health.better();
        self.unanswered = 0;
        if let (Some(took), Some(subject)) = (took, self.subjects.get_mut(&target)) {
            // As TCP does it (RFC 6298): an eighth of the new measurement.
            subject.round_trip = Some(subject.round_trip.map_or(took, |known| (known * 7 + took) / 8));
        }
    }

    pub(super) fn on_nack(&mut self, from: &NodeId, seq: u32) {
        if let Some(probe) = self.probes.get_mut(&seq).filter(|probe| probe.relays.contains(from)) {
            probe.nacks += 1;
        }
    }

    /// Smoothed, of the pings to a member.
    #[must_use]
    pub fn round_trip(&self, node: &NodeId) -> Option<Duration> {
        self.subjects.get(node)?.round_trip
    }

    /// The same of all members that are in and have answered directly.
    pub fn round_trips(&self) -> impl Iterator<Item = (&NodeId, Duration)> {
        let inside = self.subjects.iter().filter(|(_, subject)| subject.is_in());
        inside.filter_map(|(id, subject)| Some((id, subject.round_trip?)))
    }
}

/// Pings for others at one time; who asks for more gets a refusal.
pub(super) const MOST_RELAYS: usize = 1_024;
