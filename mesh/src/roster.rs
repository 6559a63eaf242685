//! The member table: what the detector decides and what members say of themselves goes in, one view comes out.
//!
//! Pure: events and times in, actions out. Who is alive is the detector's to say ([`crate::detector`]); here
//! its claims meet the facts, and the ring follows.
//!
//! Invariants: standing and life of a member are the detector's; facts belong to one life, a later version of them
//! replaces an earlier one, and the member's own word replaces what others said in its name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::detector::Standing;
use crate::env::UnixMs;
use crate::freeze::{Freeze, RingMembers};
use crate::id::{Generation, NodeId, ProcessId};
use crate::member::{Facts, Liveness, Member};
use crate::ring::Ring;

/// Everything known about the members at one moment. Immutable; readers keep it as long as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// All members, this node among them, also those that died or left lately.
    pub members: BTreeMap<NodeId, Arc<Member>>,
    /// The ring of the members that own keys. While [`View::is_frozen`], some of them do not answer.
    pub ring: Arc<Ring>,
    /// The ring of those that answer: what must act now (the Beat) goes by this one.
    pub live_ring: Arc<Ring>,
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

    /// Whether the ring of before is kept because more than half of it looked dead at once, or nobody answers.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.ring != self.live_ring
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The member's, on its own link.
    Own,
    /// Somebody's who passes it on.
    Hearsay,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum RosterEvent {
    /// The detector has decided.
    Stands(Standing),
    /// The detector does not know a member any more.
    Forgotten(NodeId),
    /// A member said hello on a link.
    Greeted { node: NodeId, generation: Generation, process: ProcessId, facts: Facts },
    /// A member stated its facts, or somebody passed them on.
    FactsStated { node: NodeId, generation: Generation, facts: Facts, word: Word },
    /// This node's own facts changed.
    OwnFacts(Facts),
    /// Some time has passed.
    TimePassed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RosterAction {
    /// Give the new view to everybody.
    Publish,
    /// Log this change of a member.
    Announce(Arc<Member>),
    /// So many of the ring look dead that it is kept as it was.
    Frozen { missing: usize, of: usize },
    /// The ring follows the members again.
    Thawed,
}

/// The version of the facts that a life of a member stated itself.
#[derive(Debug)]
struct Stated {
    generation: Generation,
    version: u64,
    at: Instant,
}

/// A generation is at least the wall clock of its start in milliseconds. More ahead of this node's clock is
/// not believed from hearsay; the member's own hello still counts.
pub(crate) const LARGEST_LEAD: Duration = Duration::from_secs(24 * 3_600);

/// Facts change every two seconds at most, and some changes come at once: further on than this, and one for each
/// second, they are made up.
const LONGEST_LEAP: u64 = 1_000;

/// As far as the facts of a life may have come that said nothing to this node itself: it began with its generation, in
/// milliseconds since 1970, by a clock that may be as much ahead as one that is believed at all. No closer: what was
/// heard before may be as old as a cut was long.
fn highest_since(generation: Generation, wall: UnixMs) -> u64 {
    let began = UnixMs(i64::try_from(generation.0).unwrap_or(i64::MAX));
    let seconds = wall.plus(LARGEST_LEAD).millis_since(began) / 1_000;
    u64::try_from(seconds).unwrap_or(0).saturating_add(LONGEST_LEAP)
}

impl Stated {
    /// As far as its facts may have come since.
    fn highest_by(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at).as_secs();
        self.version.saturating_add(LONGEST_LEAP).saturating_add(since)
    }
}

/// The member table.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeId,
    members: BTreeMap<NodeId, Arc<Member>>,
    /// What members last stated themselves.
    stated: BTreeMap<NodeId, Stated>,
    ring: Arc<Ring>,
    live_ring: Arc<Ring>,
    freeze: Freeze,
    /// The mass-death guard; a test can switch it off, to see that it is missed.
    guarded: bool,
}

impl Roster {
    /// `at_once`: see [`Freeze::new`].
    pub(crate) fn new(now: Instant, myself: Member, guarded: bool, at_once: Duration) -> Self {
        let me = myself.id.clone();
        let members = [(me.clone(), Arc::new(myself))].into();
        let (ring, live_ring, freeze) = (Arc::default(), Arc::default(), Freeze::new(at_once));
        let stated = BTreeMap::new();
        let mut roster = Self { me, members, stated, ring, live_ring, freeze, guarded };
        roster.rebuild_rings(now, &mut Vec::new());
        roster
    }

    pub(crate) fn me(&self) -> &NodeId {
        &self.me
    }

    pub(crate) fn live_ring(&self) -> &Arc<Ring> {
        &self.live_ring
    }

    pub(crate) fn view(&self) -> View {
        View {
            me: self.me.clone(),
            members: self.members.clone(),
            ring: self.ring.clone(),
            live_ring: self.live_ring.clone(),
        }
    }

    pub(crate) fn member(&self, node: &NodeId) -> Option<Arc<Member>> {
        self.members.get(node).cloned()
    }

    /// How many answer, as far as is known.
    pub(crate) fn inside(&self) -> usize {
        self.members.values().filter(|member| member.liveness.owns_keys()).count()
    }

    /// Takes one event in. `now` is monotonic, `wall` is for people.
    pub(crate) fn on_event(
        &mut self,
        now: Instant,
        wall: UnixMs,
        event: RosterEvent,
        actions: &mut Vec<RosterAction>,
    ) {
        let of = self.subject(&event).cloned();
        let stood = of.as_ref().and_then(|node| self.place(node));
        let changed = match event {
            RosterEvent::Stands(standing) => self.on_standing(now, wall, standing, actions),
            RosterEvent::Forgotten(node) => {
                self.stated.remove(&node);
                self.members.remove(&node).is_some()
            }
            RosterEvent::Greeted { node, generation, process, facts } => {
                let is_known = self.on_greeting(&node, generation, process);
                self.take_facts(now, wall, &node, generation, facts, Word::Own) || is_known
            }
            RosterEvent::FactsStated { node, generation, facts, word } => {
                self.take_facts(now, wall, &node, generation, facts, word)
            }
            RosterEvent::OwnFacts(facts) => {
                let (me, generation) = (self.me.clone(), self.members[&self.me].generation);
                self.take_facts(now, wall, &me, generation, facts, Word::Own)
            }
            RosterEvent::TimePassed => false,
        };
        // A ring that is kept may also end with time, or when somebody who is not on it says goodbye.
        let is_kept = self.ring != self.live_ring;
        let may_differ = is_kept || of.is_some_and(|node| self.place(&node) != stood);
        if (may_differ && self.rebuild_rings(now, actions)) || changed {
            actions.push(RosterAction::Publish);
        }
    }

    /// The member that an event is about.
    fn subject<'a>(&'a self, event: &'a RosterEvent) -> Option<&'a NodeId> {
        match event {
            RosterEvent::Stands(standing) => Some(&standing.node),
            RosterEvent::Greeted { node, .. }
            | RosterEvent::FactsStated { node, .. }
            | RosterEvent::Forgotten(node) => Some(node),
            RosterEvent::OwnFacts(_) => Some(&self.me),
            RosterEvent::TimePassed => None,
        }
    }

    /// What a member adds to the ring: its weight, if it is on it.
    fn place(&self, node: &NodeId) -> Option<u32> {
        let member = self.members.get(node).filter(|member| member.in_ring());
        member.map(|member| member.facts.weight())
    }

    /// Answers whether anything is new.
    fn on_standing(
        &mut self,
        now: Instant,
        wall: UnixMs,
        standing: Standing,
        actions: &mut Vec<RosterAction>,
    ) -> bool {
        let Standing { node, claim, addr, suspected_by } = standing;
        let known = self.members.get(&node).filter(|known| known.generation == claim.generation);
        let mut member = known.map_or_else(
            || Member {
                id: node.clone(),
                generation: claim.generation,
                process: None,
                incarnation: claim.incarnation,
                liveness: claim.liveness,
                since: wall,
                addr,
                facts: Facts::default(),
                suspected_by: Vec::new(),
            },
            |known| Member::clone(known),
        );
        let stood = known.map(|known| known.liveness);
        (member.incarnation, member.liveness, member.addr) = (claim.incarnation, claim.liveness, addr);
        member.suspected_by = suspected_by;
        // Whichever life stood in the ring: it may be a later one that is known to be dead.
        if let Some(weight) = self.place(&node).filter(|_| claim.liveness == Liveness::Dead) {
            self.freeze.died(now, node.clone(), weight);
        }
        if stood != Some(claim.liveness) {
            member.since = wall;
        }
        let member = Arc::new(member);
        if stood != Some(claim.liveness) {
            actions.push(RosterAction::Announce(member.clone()));
        }
        let before = self.members.insert(node, member.clone());
        before.as_ref() != Some(&member)
    }

    fn on_greeting(&mut self, node: &NodeId, generation: Generation, process: ProcessId) -> bool {
        let Some(known) = self.members.get_mut(node).filter(|known| known.generation == generation) else {
            return false;
        };
        let is_new = known.process != Some(process);
        Arc::make_mut(known).process = Some(process);
        is_new
    }

    /// What a member says itself counts whatever others said in its name; if it was on its way for longer, hearsay
    /// soon repairs that. Hearsay must be newer, and not by so much that nothing true could ever follow it.
    fn take_facts(
        &mut self,
        now: Instant,
        wall: UnixMs,
        node: &NodeId,
        generation: Generation,
        facts: Facts,
        word: Word,
    ) -> bool {
        let Some(known) = self.members.get_mut(node).filter(|known| known.generation == generation) else {
            return false;
        };
        let stated = self.stated.get(node).filter(|stated| stated.generation == generation);
        let is_newer = match word {
            Word::Own => stated.is_none_or(|stated| facts.version > stated.version),
            Word::Hearsay if *node == self.me => false,
            Word::Hearsay => {
                let highest = stated.map_or(highest_since(generation, wall), |stated| stated.highest_by(now));
                facts.version > known.facts.version && facts.version <= highest
            }
        };
        if !is_newer {
            return false;
        }
        if word == Word::Own {
            self.stated.insert(node.clone(), Stated { generation, version: facts.version, at: now });
        }
        let is_new = known.facts != facts;
        if is_new {
            Arc::make_mut(known).facts = facts;
        }
        is_new
    }

    /// Answers whether a ring has changed.
    fn rebuild_rings(&mut self, now: Instant, actions: &mut Vec<RosterAction>) -> bool {
        let owners = self.members.values().filter(|member| member.in_ring());
        let live: RingMembers = owners.map(|member| (member.id.clone(), member.facts.weight())).collect();
        let out = self.members.values().filter(|member| member.is_out());
        self.freeze.are_out(out.map(|member| &member.id));
        let was_frozen = self.ring != self.live_ring;
        let kept = if self.guarded { self.freeze.members(now, live.clone()) } else { live.clone() };
        let missing = self.freeze.missing(&live).filter(|_| self.guarded);
        match missing {
            Some(missing) if !was_frozen => actions.push(RosterAction::Frozen { missing, of: kept.len() }),
            None if was_frozen => actions.push(RosterAction::Thawed),
            _ => {}
        }
        let is_kept = kept != live;
        let changed = renew(&mut self.live_ring, live);
        if !is_kept {
            let differs = self.ring != self.live_ring;
            self.ring = self.live_ring.clone();
            return changed || differs;
        }
        renew(&mut self.ring, kept) || changed
    }
}

/// Builds a ring anew if its members are others; answers whether they are.
fn renew(ring: &mut Arc<Ring>, members: RingMembers) -> bool {
    let same = ring.members().len() == members.len()
        && ring.members().iter().zip(&members).all(|((id, weight), new)| (id, weight) == (new.0, new.1));
    if !same {
        *ring = Arc::new(ring.with(members));
    }
    !same
}

#[cfg(test)]
mod tests;
