//! The member table: what links and gossip report goes in, one view comes out.
//!
//! Pure: events and times in, actions out. The liveness rules here are provisional and stand in the
//! last section; the failure detector will take their place and speak in the same [`Claim`]s.
//!
//! Invariants: a generation never goes back; whoever left stays left in that generation; every change
//! of a member's standing goes through [`Claim::supersedes`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::env::UnixMs;
use crate::id::{Generation, Incarnation, NodeId, ProcessId};
use crate::member::{Claim, Facts, Liveness, Member};
use crate::ring::Ring;

/// Everything known about the members at one moment. Immutable; readers keep it as long as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// All members, this node among them, also those that died or left within [`REMEMBERED`].
    pub members: BTreeMap<NodeId, Arc<Member>>,
    /// The ring of the members that own keys.
    pub ring: Arc<Ring>,
}

impl View {
    /// This node's own entry.
    #[must_use]
    pub fn myself(&self) -> &Member {
        &self.members[&self.me]
    }

    /// The members that answer, as far as is known, this node included.
    pub fn alive(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values().filter(|member| member.liveness == Liveness::Alive)
    }
}

/// Dead and departed members are shown, and dialled now and then, for this long. A partition that heals
/// within it is found from both sides.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// A member whose link broke has this long to come back before it counts as dead. A restarted process
/// is back within 0.3 s; a lost packet is repaired by QUIC long before the link breaks.
const SUSPECT_FOR: Duration = Duration::from_secs(1);

/// A generation is at least the wall clock of its start in milliseconds. More ahead of this node's clock is
/// not believed from hearsay; the member's own hello still counts.
const LARGEST_LEAD: Duration = Duration::from_secs(24 * 3_600);

/// How often a dead member is dialled: a healed partition is noticed within this and a dial. Views must be
/// equal five seconds after a heal (promise L5); with 5 s here the simulator measured 4.96 s.
const REDIAL_DEAD: Duration = Duration::from_secs(1);

/// How often [`Roster::on_event`] wants to hear [`RosterEvent::TimePassed`].
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum RosterEvent {
    /// A link to this life of a member is up.
    LinkUp { node: NodeId, generation: Generation, process: ProcessId, addr: SocketAddr, facts: Facts },
    /// The last link to this life of a member is gone.
    LinkDown { node: NodeId, generation: Generation, goodbye: bool },
    /// A member stated its facts itself.
    FactsStated { node: NodeId, generation: Generation, facts: Facts },
    /// Gossip's view changed: all members that it holds for alive.
    GossipHeard(Vec<Heard>),
    /// This node's own facts changed.
    OwnFacts(Facts),
    /// [`TICK`] has passed; these lives have a link now.
    TimePassed { linked: BTreeSet<(NodeId, Generation)> },
}

/// One member as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) addr: SocketAddr,
    pub(crate) facts: Facts,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RosterAction {
    /// Make a link to this address.
    Connect(SocketAddr),
    /// Let gossip begin with this address.
    Introduce(SocketAddr),
    /// Give the new view to everybody.
    Publish,
    /// Log this change of a member.
    Announce(Arc<Member>),
}

#[derive(Clone, Debug)]
struct Entry {
    member: Arc<Member>,
    linked: bool,
    /// Gossip holds this generation for alive.
    heard: bool,
    /// When the standing last changed.
    changed: Instant,
    dialled: Option<Instant>,
}

/// The member table.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    ring: Arc<Ring>,
}

impl Roster {
    pub(crate) fn new(now: Instant, myself: Member) -> Self {
        let me = myself.id.clone();
        let entry =
            Entry { member: Arc::new(myself), linked: true, heard: true, changed: now, dialled: None };
        let mut roster = Self { me: me.clone(), entries: [(me, entry)].into(), ring: Arc::default() };
        roster.rebuild_ring();
        roster
    }

    pub(crate) fn view(&self) -> View {
        let members = self.entries.iter().map(|(id, entry)| (id.clone(), entry.member.clone())).collect();
        View { me: self.me.clone(), members, ring: self.ring.clone() }
    }

    /// Takes one event in. `now` is monotonic, `wall` is for people.
    pub(crate) fn on_event(
        &mut self,
        now: Instant,
        wall: UnixMs,
        event: RosterEvent,
        actions: &mut Vec<RosterAction>,
    ) {
        let before = actions.len();
        match event {
            RosterEvent::LinkUp { node, generation, process, addr, facts } => {
                let heard = Heard { node, generation, addr, facts };
                self.on_link_up(now, wall, heard, process, actions);
            }
            RosterEvent::LinkDown { node, generation, goodbye } => {
                self.on_link_down(now, wall, &node, generation, goodbye, actions);
            }
            RosterEvent::FactsStated { node, generation, facts } => {
                self.take_facts(&node, generation, facts, actions);
            }
            RosterEvent::GossipHeard(heard) => self.on_gossip(now, wall, heard, actions),
            RosterEvent::OwnFacts(facts) => {
                let (me, generation) = (self.me.clone(), self.entries[&self.me].member.generation);
                self.take_facts(&me, generation, facts, actions);
            }
            RosterEvent::TimePassed { linked } => {
                self.reconcile(now, wall, &linked, actions);
                self.on_time_passed(now, wall, actions);
            }
        }
        let changed =
            |action: &RosterAction| matches!(action, RosterAction::Announce(_) | RosterAction::Publish);
        if actions[before..].iter().any(changed) {
            self.rebuild_ring();
            actions.retain(|action| *action != RosterAction::Publish);
            actions.push(RosterAction::Publish);
        }
    }

    fn on_link_up(
        &mut self,
        now: Instant,
        wall: UnixMs,
        peer: Heard,
        process: ProcessId,
        actions: &mut Vec<RosterAction>,
    ) {
        let incarnation = match self.entries.get(&peer.node) {
            Some(known) if known.member.generation > peer.generation => return,
            Some(known) if known.member.generation == peer.generation => known.member.incarnation,
            _ => Incarnation(0),
        };
        actions.push(RosterAction::Introduce(peer.addr));
        // A fresh hello is the member's own word: it refutes what was suspected of this life.
        let refuted = self.entries.get(&peer.node).is_some_and(|known| {
            known.member.generation == peer.generation && known.member.liveness != Liveness::Alive
        });
        let incarnation = Incarnation(incarnation.0 + u64::from(refuted));
        let claim = Claim { generation: peer.generation, incarnation, liveness: Liveness::Alive };
        self.apply(now, wall, &peer, claim, actions);
        if let Some(entry) = self.entries.get_mut(&peer.node)
            && entry.member.generation == peer.generation
        {
            entry.linked = true;
            let member = Arc::make_mut(&mut entry.member);
            member.process = Some(process);
            member.addr = peer.addr;
        }
        self.take_facts(&peer.node, peer.generation, peer.facts, actions);
        actions.push(RosterAction::Publish);
    }

    fn on_link_down(
        &mut self,
        now: Instant,
        wall: UnixMs,
        node: &NodeId,
        generation: Generation,
        goodbye: bool,
        actions: &mut Vec<RosterAction>,
    ) {
        let Some(entry) = self.entries.get_mut(node).filter(|entry| entry.member.generation == generation)
        else {
            return;
        };
        entry.linked = false;
        let liveness = if goodbye { Liveness::Left } else { Liveness::Suspect };
        let claim = Claim { liveness, ..entry.member.claim() };
        let addr = entry.member.addr;
        self.judge(now, wall, node, claim, actions);
        if !goodbye {
            actions.push(RosterAction::Connect(addr));
        }
    }

    fn on_gossip(&mut self, now: Instant, wall: UnixMs, heard: Vec<Heard>, actions: &mut Vec<RosterAction>) {
        let live: BTreeMap<_, _> = heard.iter().map(|heard| (heard.node.clone(), heard.generation)).collect();
        let mut returned = Vec::new();
        for (id, entry) in &mut self.entries {
            let is_heard = live.get(id) == Some(&entry.member.generation);
            if is_heard && !entry.heard && entry.member.liveness == Liveness::Dead {
                returned.push(id.clone());
            }
            entry.heard = is_heard;
        }
        for id in returned {
            // Dead here, but its heart beats for others: they reach it, so it lives.
            self.refute(now, wall, &id, actions);
        }
        for heard in heard {
            if heard.node == self.me {
                continue;
            }
            // Relayed by anybody: a generation from far in the future would hide the real one.
            if heard.generation.0 > u64::try_from(wall.plus(LARGEST_LEAD).0).unwrap_or(0) {
                continue;
            }
            let known = self.entries.get(&heard.node).map(|entry| entry.member.generation);
            if known.is_none_or(|known| known < heard.generation) {
                let claim = Claim {
                    generation: heard.generation,
                    incarnation: Incarnation(0),
                    liveness: Liveness::Alive,
                };
                self.apply(now, wall, &heard, claim, actions);
                actions.push(RosterAction::Connect(heard.addr));
                if let Some(entry) = self.entries.get_mut(&heard.node) {
                    entry.heard = true;
                }
            }
            self.take_facts(&heard.node, heard.generation, heard.facts, actions);
        }
    }

    /// Link events of one member may overtake each other: what the table of links says counts in the end.
    fn reconcile(
        &mut self,
        now: Instant,
        wall: UnixMs,
        linked: &BTreeSet<(NodeId, Generation)>,
        actions: &mut Vec<RosterAction>,
    ) {
        let mut found = Vec::new();
        for (id, entry) in self.entries.iter_mut().filter(|(id, _)| **id != self.me) {
            let is_linked = linked.contains(&(id.clone(), entry.member.generation));
            if is_linked && !entry.linked {
                entry.linked = true;
                found.push(id.clone());
            }
        }
        for id in found {
            self.refute(now, wall, &id, actions);
        }
    }

    /// Whatever is said of this life of the member: it was met, so it is alive.
    fn refute(&mut self, now: Instant, wall: UnixMs, node: &NodeId, actions: &mut Vec<RosterAction>) {
        let Some(entry) = self.entries.get(node) else { return };
        let known = entry.member.claim();
        let incarnation = Incarnation(known.incarnation.0 + 1);
        self.judge(now, wall, node, Claim { liveness: Liveness::Alive, incarnation, ..known }, actions);
    }

    fn on_time_passed(&mut self, now: Instant, wall: UnixMs, actions: &mut Vec<RosterAction>) {
        let mut dead = Vec::new();
        for (id, entry) in &mut self.entries {
            let since = now.duration_since(entry.changed);
            let redial = match entry.member.liveness {
                Liveness::Alive | Liveness::Suspect => TICK,
                Liveness::Dead => REDIAL_DEAD,
                Liveness::Left => continue,
            };
            if !entry.linked && entry.dialled.is_none_or(|at| now.duration_since(at) >= redial) {
                entry.dialled = Some(now);
                actions.push(RosterAction::Connect(entry.member.addr));
            }
            // Whom others still hear is not dead, only out of our sight.
            let overdue = entry.member.liveness == Liveness::Suspect && since >= SUSPECT_FOR && !entry.heard;
            let vanished = entry.member.liveness == Liveness::Alive && !entry.linked && !entry.heard;
            if overdue || vanished {
                dead.push(id.clone());
            }
        }
        for id in dead {
            let claim = Claim { liveness: Liveness::Dead, ..self.entries[&id].member.claim() };
            self.judge(now, wall, &id, claim, actions);
        }
        let gone = |entry: &Entry| {
            !entry.member.liveness.owns_keys() && now.duration_since(entry.changed) >= REMEMBERED
        };
        let before = self.entries.len();
        self.entries.retain(|_, entry| !gone(entry));
        if self.entries.len() != before {
            actions.push(RosterAction::Publish);
        }
    }

    /// Applies a claim about somebody who may be new here.
    fn apply(
        &mut self,
        now: Instant,
        wall: UnixMs,
        peer: &Heard,
        claim: Claim,
        actions: &mut Vec<RosterAction>,
    ) {
        if peer.node == self.me {
            return;
        }
        let known = self.entries.get(&peer.node).map(|entry| entry.member.generation);
        if known.is_none_or(|known| known < claim.generation) {
            let member = Arc::new(Member {
                id: peer.node.clone(),
                generation: claim.generation,
                process: None,
                incarnation: claim.incarnation,
                liveness: claim.liveness,
                since: wall,
                addr: peer.addr,
                facts: peer.facts.clone(),
            });
            actions.push(RosterAction::Announce(member.clone()));
            let entry = Entry { member, linked: false, heard: false, changed: now, dialled: None };
            self.entries.insert(peer.node.clone(), entry);
        } else {
            self.judge(now, wall, &peer.node, claim, actions);
        }
    }

    /// Applies a claim about a known member.
    fn judge(
        &mut self,
        now: Instant,
        wall: UnixMs,
        node: &NodeId,
        claim: Claim,
        actions: &mut Vec<RosterAction>,
    ) {
        let Some(entry) = self.entries.get_mut(node) else { return };
        let known = entry.member.claim();
        if *node == self.me || !claim.supersedes(&known) {
            return;
        }
        let member = Arc::make_mut(&mut entry.member);
        member.incarnation = claim.incarnation;
        if known.liveness != claim.liveness {
            member.liveness = claim.liveness;
            member.since = wall;
            entry.changed = now;
            actions.push(RosterAction::Announce(entry.member.clone()));
        }
    }

    fn take_facts(
        &mut self,
        node: &NodeId,
        generation: Generation,
        facts: Facts,
        actions: &mut Vec<RosterAction>,
    ) {
        let Some(entry) = self.entries.get_mut(node) else { return };
        if entry.member.generation == generation && facts.version > entry.member.facts.version {
            Arc::make_mut(&mut entry.member).facts = facts;
            actions.push(RosterAction::Publish);
        }
    }

    fn rebuild_ring(&mut self) {
        let members = self.entries.values().map(|entry| &entry.member).filter(|member| member.in_ring());
        let ring = Ring::new(members.map(|member| (member.id.clone(), member.facts.weight())));
        if ring != *self.ring {
            self.ring = Arc::new(ring);
        }
    }
}

#[cfg(test)]
mod tests;
