//! What is said about members, by themselves and by others, and what becomes of it.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::message::{Body, MemberClaim, Packet, ROOM, Rumour};
use super::pace::{FANOUT, JURY, scaled};
use super::suspicion::Suspicion;
use super::timers::Timer;
use super::{Detector, MOST_KNOWN, Output, Standing, Subject};
use crate::id::{Generation, Incarnation, NodeId};
use crate::member::{Claim, Liveness};

/// Refutations come one by one. A rumour that jumps further is made up; the member's own word may.
const LONGEST_JUMP: u64 = 10_000;

/// No member refutes so often. However somebody drove the number up, the accused goes beyond it.
const HIGHEST: u64 = u64::MAX / 2;

/// Whoever is known for less long may not know everybody yet. By then its first links have told it; were the
/// whole table told on each new link, a start among a thousand would cost 77 MB.
const NEWCOMER: Duration = Duration::from_secs(10);

impl Detector {
    /// The member itself is on a link. Alive it is only if nothing is held against this life of it: then it is
    /// told, and refutes.
    pub(super) fn on_met(
        &mut self,
        now: Instant,
        node: &NodeId,
        generation: Generation,
        addr: SocketAddr,
        outputs: &mut Vec<Output>,
    ) {
        let known = self.subjects.get(node);
        let is_newcomer = known.is_none_or(|known| {
            known.claim.generation < generation || now.saturating_duration_since(known.changed) < NEWCOMER
        });
        self.on_heard_of(now, node.clone(), generation, addr, outputs);
        self.unanswered = 0;
        if let Some(known) = self.subjects.get_mut(node).filter(|known| known.claim.generation == generation)
        {
            known.linked = true;
            // Its own word, whatever somebody said before.
            let is_elsewhere = std::mem::replace(&mut known.addr, addr) != addr;
            if is_elsewhere {
                self.tell(node, outputs);
            }
        }
        // A newcomer learns of everybody; somebody from the other side of a cut of all verdicts.
        let is_told = |subject: &Subject| is_newcomer || subject.claim.liveness != Liveness::Alive;
        let told = self.subjects.iter().filter(|(_, subject)| is_told(subject)).map(|(id, _)| id);
        let members: Vec<_> = told.filter_map(|id| self.claim_about(id)).map(Rumour::Member).collect();
        let topics = self.topics.iter().map(|(topic, value)| Rumour::Topic { topic: *topic, value: *value });
        let mut page = Vec::new();
        let mut room = ROOM;
        for rumour in topics.chain(members) {
            if rumour.room() > room {
                self.send(node, Body::Table, std::mem::take(&mut page), outputs);
                room = ROOM;
            }
            room -= rumour.room();
            page.push(rumour);
        }
        self.send(node, Body::Table, page, outputs);
    }

    pub(super) fn on_heard_of(
        &mut self,
        now: Instant,
        node: NodeId,
        generation: Generation,
        addr: SocketAddr,
        outputs: &mut Vec<Output>,
    ) {
        let claim = Claim { generation, incarnation: Incarnation(0), liveness: Liveness::Alive };
        let by = node.clone();
        self.hear(now, MemberClaim { node, claim, addr, by }, outputs);
    }

    /// Takes in a member that everybody knows already, without a word to anybody: a simulation begins in the
    /// middle, and the news of a thousand members would occupy it for minutes.
    pub fn acquaint(&mut self, now: Instant, node: NodeId, generation: Generation, addr: SocketAddr) {
        if node == self.me.node || self.subjects.contains_key(&node) || self.subjects.len() >= MOST_KNOWN {
            return;
        }
        let claim = Claim { generation, incarnation: Incarnation(0), liveness: Liveness::Alive };
        let subject = Subject { claim, addr, suspicion: None, changed: now, round_trip: None, linked: true };
        self.subjects.insert(node.clone(), subject);
        self.crowd.insert(node, &mut self.dice);
        self.inside += 1;
    }

    pub(super) fn on_goodbye(
        &mut self,
        now: Instant,
        node: NodeId,
        generation: Generation,
        outputs: &mut Vec<Output>,
    ) {
        let Some(known) = self.subjects.get(&node).filter(|known| known.claim.generation == generation)
        else {
            return;
        };
        let claim = Claim { liveness: Liveness::Left, ..known.claim };
        let (addr, by) = (known.addr, node.clone());
        self.hear(now, MemberClaim { node, claim, addr, by }, outputs);
    }

    pub(super) fn on_packet(
        &mut self,
        now: Instant,
        from: &NodeId,
        generation: Generation,
        packet: Packet,
        outputs: &mut Vec<Output>,
    ) {
        let Some(sender) = self.subjects.get(from).filter(|known| known.claim.generation == generation)
        else {
            // An earlier life, or one that the table has no room for.
            return;
        };
        let own_word = Claim { generation, incarnation: packet.incarnation, liveness: Liveness::Alive };
        let own_word =
            MemberClaim { node: from.clone(), claim: own_word, addr: sender.addr, by: from.clone() };
        let incarnation = self.incarnation;
        self.hear_first_hand(now, own_word, outputs);
        let is_table = packet.body == Body::Table;
        for rumour in packet.rumours {
            match rumour {
                Rumour::Member(claim) if is_table && self.is_unheard_of(&claim) => {
                    self.change(now, claim, false, outputs);
                }
                // Its own verdicts this node knows without being told.
                Rumour::Member(claim) if claim.by == self.me.node => {}
                Rumour::Member(claim) => self.hear(now, claim, outputs),
                Rumour::Topic { topic, value } => {
                    if self.take_topic(topic, value) {
                        outputs.push(Output::News { topic, value });
                    }
                }
            }
        }
        let is_answered = matches!(packet.body, Body::Ping { .. });
        match packet.body {
            Body::Ping { seq } => self.write(from, Body::Ack { seq }, outputs),
            Body::PingReq { seq, target } => self.on_ping_req(now, from, seq, target, outputs),
            Body::Ack { seq } => self.on_ack(now, from, seq, outputs),
            Body::Nack { seq } => self.on_nack(from, seq),
            Body::News | Body::Table => {}
        }
        if incarnation != self.incarnation && !is_answered {
            // It was told what is held against it: who told it is the first to hear otherwise.
            self.write(from, Body::News, outputs);
        }
        if self.claim_about(from).is_some_and(|claim| claim.is_accusation()) && !is_answered {
            // It speaks, so it is not silent: it must know that it counts as such.
            self.probe(now, from, outputs);
        }
    }

    /// The highest value of a topic; answers whether it was news.
    pub(super) fn take_topic(&mut self, topic: u16, value: u64) -> bool {
        let is_known = self.topics.contains_key(&topic);
        if (!is_known && self.topics.len() >= MOST_TOPICS) || self.topics.get(&topic) >= Some(&value) {
            return false;
        }
        self.topics.insert(topic, value);
        self.rumours.put(Rumour::Topic { topic, value });
        true
    }

    /// What anybody says about a member.
    pub(super) fn hear(&mut self, now: Instant, said: MemberClaim, outputs: &mut Vec<Output>) {
        if said.node == self.me.node {
            return self.hear_about_me(said.claim, outputs);
        }
        let known = self.subjects.get(&said.node).map(|known| known.claim);
        let counted_from =
            known.filter(|known| known.generation == said.generation()).map_or(0, |it| it.incarnation.0);
        if said.claim.incarnation.0 > counted_from.saturating_add(LONGEST_JUMP) {
            return;
        }
        self.hear_first_hand(now, said, outputs);
    }

    /// A claim whose numbers are to be believed.
    fn hear_first_hand(&mut self, now: Instant, mut said: MemberClaim, outputs: &mut Vec<Output>) {
        let is_verdict_of_others =
            said.claim.liveness == Liveness::Dead && said.by != self.me.node && self.is_inside(&said);
        if is_verdict_of_others {
            // After a cut each side hears the verdicts of the other about its own members. Each node judges for
            // itself; on such a word it waits only as long as a refutation takes that is under way. Of a true
            // death the suspicion comes ahead of the verdict, so most come to it at the same time.
            said.claim.liveness = Liveness::Suspect;
        }
        let (node, claim) = (said.node.clone(), said.claim);
        let moment = (self.pace.ping_timeout + self.pace.indirect_timeout) * self.health.factor();
        self.take(now, said, outputs);
        if is_verdict_of_others
            && let Some(known) = self.subjects.get_mut(&node).filter(|known| known.claim == claim)
            && let Some(suspicion) = known.suspicion.as_mut()
            && suspicion.hasten(self.judges_from.max(now) + moment)
        {
            self.set_suspicion_timer(&node);
        }
    }

    fn take(&mut self, now: Instant, said: MemberClaim, outputs: &mut Vec<Output>) {
        let is_full = self.subjects.len() >= MOST_KNOWN;
        // Names that nobody has are no witnesses: one member could bring any number of them.
        let is_witness = said.by == self.me.node || self.subjects.contains_key(&said.by);
        match self.subjects.get_mut(&said.node) {
            // A life that is over and that nobody here knew: known once more, it would be told on once more, and
            // tombstones would never end.
            None if is_full || !said.claim.liveness.owns_keys() => {}
            None => self.change(now, said, true, outputs),
            Some(known) if said.claim.supersedes(&known.claim) => self.change(now, said, true, outputs),
            Some(known) if said.claim == known.claim => {
                if let Some(suspicion) = known.suspicion.as_mut().filter(|_| is_witness)
                    && suspicion.confirm(&said.by)
                {
                    self.set_suspicion_timer(&said.node);
                    self.tell(&said.node, outputs);
                    self.rumours.put(Rumour::Member(said));
                }
            }
            Some(_) => self.answer_outdated(said),
        }
    }

    /// Whether this life of the member answers, as far as this node knows.
    fn is_inside(&self, said: &MemberClaim) -> bool {
        let known = self.subjects.get(&said.node);
        known.is_some_and(|known| known.is_in() && known.claim.generation == said.generation())
    }

    /// Whether this node knows nothing of the member, and can take it in.
    fn is_unheard_of(&self, said: &MemberClaim) -> bool {
        said.node != self.me.node
            && !self.subjects.contains_key(&said.node)
            && self.subjects.len() < MOST_KNOWN
            && said.claim.liveness.owns_keys()
            && said.claim.incarnation.0 <= LONGEST_JUMP
    }

    /// Somebody accuses a member of what is refuted already, or that has gone for good: it missed that.
    fn answer_outdated(&mut self, said: MemberClaim) {
        if said.is_accusation()
            && let Some(known) = self.claim_about(&said.node)
            && !known.is_accusation()
        {
            self.rumours.put(Rumour::Member(known));
        }
    }

    /// A claim takes the place of the one before.
    fn change(&mut self, now: Instant, said: MemberClaim, is_news: bool, outputs: &mut Vec<Output>) {
        let MemberClaim { node, claim, addr, by } = said;
        let before = self.subjects.remove(&node);
        let was_in = before.as_ref().is_some_and(Subject::is_in);
        let is_new_life = before.as_ref().is_none_or(|known| known.claim.generation != claim.generation);
        let standing = before.as_ref().map(|known| (known.claim.generation, known.claim.liveness));
        let changed = before
            .as_ref()
            .filter(|_| standing == Some((claim.generation, claim.liveness)))
            .map_or(now, |known| known.changed);
        let round_trip = before.as_ref().filter(|_| !is_new_life).and_then(|known| known.round_trip);
        let members = self.inside + 1 + usize::from(!was_in);
        let suspicion = (claim.liveness == Liveness::Suspect).then(|| {
            let least = scaled(self.pace.suspicion, members) * self.health.factor();
            // Neither this node nor the suspect nor the accuser; this node may be the accuser.
            let others = members.saturating_sub(2);
            Suspicion::new(now.max(self.judges_from), least, others, by.clone())
        });
        let addr = match &before {
            // Within one life only the member itself may move, and it does not.
            Some(known) if !is_new_life => known.addr,
            _ => addr,
        };
        let is_suspect = suspicion.is_some();
        let linked = before.as_ref().is_some_and(|known| !is_new_life && known.linked);
        let subject = Subject { claim, addr, suspicion, changed, round_trip, linked };
        let is_in = subject.is_in();
        self.subjects.insert(node.clone(), subject);
        if is_new_life {
            self.probes.retain(|_, probe| !probe.is_of(&node));
        }
        match (was_in, is_in) {
            (false, true) => {
                self.inside += 1;
                self.crowd.insert(node.clone(), &mut self.dice);
            }
            (true, false) => {
                self.inside -= 1;
                self.crowd.remove(&node);
            }
            _ => {}
        }
        if is_news {
            self.rumours.put(Rumour::Member(MemberClaim { node: node.clone(), claim, addr, by: by.clone() }));
        }
        self.tell(&node, outputs);
        if is_suspect {
            self.set_suspicion_timer(&node);
            // Some look themselves: they confirm, or the suspect learns of it and refutes.
            let chance = (JURY as f64 / self.inside.max(1) as f64).min(1.0);
            if by != self.me.node && self.dice.random_bool(chance) {
                self.probe(now, &node, outputs);
            } else if by == self.me.node {
                self.write(&node, Body::News, outputs);
            }
        }
    }

    fn set_suspicion_timer(&mut self, node: &NodeId) {
        if let Some(known) = self.subjects.get(node)
            && let Some(suspicion) = &known.suspicion
        {
            let Claim { generation, incarnation, .. } = known.claim;
            let timer = Timer::Suspicion { node: node.clone(), generation, incarnation };
            self.timers.set(suspicion.deadline(), timer);
        }
    }

    pub(super) fn on_suspicion_over(
        &mut self,
        now: Instant,
        node: &NodeId,
        life: (Generation, Incarnation),
        outputs: &mut Vec<Output>,
    ) {
        let Some(known) = self.subjects.get(node) else { return };
        let Some(suspicion) = &known.suspicion else { return };
        if (known.claim.generation, known.claim.incarnation) != life || now < suspicion.deadline() {
            return;
        }
        self.tally.deaths += 1;
        let claim = Claim { liveness: Liveness::Dead, ..known.claim };
        let said = MemberClaim { node: node.clone(), claim, addr: known.addr, by: self.me.node.clone() };
        self.hear(now, said, outputs);
    }

    /// What others say about this node. Only this life of it can answer, and does.
    fn hear_about_me(&mut self, said: Claim, outputs: &mut Vec<Output>) {
        if said.generation != self.me.generation
            || !matches!(said.liveness, Liveness::Suspect | Liveness::Dead)
            || said.incarnation.0 > HIGHEST
            || !self.parts.refutation
        {
            return;
        }
        if said.incarnation >= self.incarnation {
            self.incarnation = Incarnation(said.incarnation.0 + 1);
            self.tally.refutations += 1;
            // Others did not hear it: perhaps it is this node that is slow.
            self.health.worse(1);
        }
        self.say_alive(outputs);
    }

    /// Tells that this node lives.
    pub(super) fn say_alive(&mut self, outputs: &mut Vec<Output>) {
        let generation = self.me.generation;
        let claim = Claim { generation, incarnation: self.incarnation, liveness: Liveness::Alive };
        let (node, addr, by) = (self.me.node.clone(), self.me.addr, self.me.node.clone());
        outputs.push(Output::Changed(Standing { node: node.clone(), claim, addr, suspected_by: Vec::new() }));
        self.rumours.put(Rumour::Member(MemberClaim { node, claim, addr, by }));
    }

    fn tell(&self, node: &NodeId, outputs: &mut Vec<Output>) {
        if let Some(known) = self.subjects.get(node) {
            let suspected_by = known.suspicion.iter().flat_map(Suspicion::accusers).cloned().collect();
            let (node, claim, addr) = (node.clone(), known.claim, known.addr);
            outputs.push(Output::Changed(Standing { node, claim, addr, suspected_by }));
        }
    }
}

/// Registers that members can fill.
pub(super) const MOST_TOPICS: usize = 64;

const _: () = assert!(FANOUT <= JURY, "a rumour reaches a jury");
