//! The driver of the membership: the one writer of detector and roster. Carries out what they decide and decides
//! nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::alone::{Alone, Change};
use crate::counters::{PULSE_EVERY, Pulse};
use crate::detector::message::{Body, Packet, Rumour};
use crate::detector::{Detector, Input, Output, Standing};
use crate::env::Env;
use crate::gossip::{Gossip, Heard};
use crate::id::{Generation, NodeId, ProcessId};
use crate::late;
use crate::lost::Lost;
use crate::member::{Claim, Facts, Liveness, Member};
use crate::roster::{LARGEST_LEAD, Roster, RosterAction, RosterEvent, View, Word};
use crate::transport::{LinkEvent, Transport};
use crate::wire::dialect::Dialect;
use crate::wire::message::Hello;

/// Up to so many members all have links to all: the first call to each finds one. In larger meshes links come
/// up when they are used.
pub const ALL_LINKED: usize = 64;

/// Changes that come in one rush are published together: a view costs this node, and everybody who follows views, as
/// much as it has members. They wait for so many steps at most, so that a rush without an end hides nothing.
const MOST_AT_ONCE: u32 = 64;

/// Messages for the task that owns the membership.
pub(crate) enum Command {
    /// Facts of this node that are new or others than before.
    SetFacts(BTreeMap<String, String>),
    /// Everybody is to know a value.
    Spread { topic: u16, value: u64 },
}

pub(crate) struct Keeper {
    pub(crate) env: Env,
    pub(crate) transport: Arc<Transport>,
    pub(crate) gossip: Gossip,
    pub(crate) detector: Detector,
    pub(crate) roster: Roster,
    pub(crate) publish: watch::Sender<Arc<View>>,
    pub(crate) lost: Lost,
    /// `None` when a test has switched the mass-death guard off.
    pub(crate) alone: Option<Alone>,
    /// Facts that this node knows nothing of are kept; see [`crate::MeshParts::later_facts`].
    pub(crate) later_facts: bool,
    pub(crate) dialect: Dialect,
    /// For those who want to see how the detector does.
    pub(crate) pulse: Arc<ArcSwap<Pulse>>,
    /// When that was put out last.
    pub(crate) pulsed: Instant,
    /// The view has changed since it was published.
    pub(crate) unpublished: bool,
    /// Steps since then.
    pub(crate) waited: u32,
}

impl Keeper {
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<LinkEvent>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut gossip_ended = std::pin::pin!(self.gossip.ended());
        let closing = self.transport.closing.clone();
        loop {
            let wake = self.detector.next_wake();
            tokio::select! {
                () = closing.cancelled() => break,
                Some(event) = events.recv() => self.on_link_event(event),
                heard = self.gossip.changed() => heard.into_iter().for_each(|heard| self.on_heard(heard)),
                Some(command) = commands.recv() => self.on_command(command).await,
                () = sleep_until(wake) => {
                    let late = self.env.clock.now().saturating_duration_since(wake);
                    late::take_what_has_come(late, &mut events)
                        .await
                        .into_iter()
                        .for_each(|event| self.on_link_event(event));
                    self.detect(Input::TimePassed { wall: self.env.clock.wall() });
                    self.note(RosterEvent::TimePassed);
                    self.mind_solitude();
                    if let Some(addr) = self.lost.due(self.env.clock.now()) {
                        self.transport.connect(addr);
                    }
                    self.put_out_pulse();
                }
                reason = &mut gossip_ended => {
                    tracing::error!(reason, "gossip has stopped");
                    return;
                }
            }
            self.waited += u32::from(self.unpublished);
            if events.is_empty() || self.waited >= MOST_AT_ONCE {
                self.publish();
            }
        }
        self.gossip.stop();
    }

    /// Whether nobody answers this node shows when its timers are due: with a probe that was given up, or answered.
    fn mind_solitude(&mut self) {
        let hears_nobody = self.detector.hears_nobody();
        let Some(alone) = self.alone.as_mut().filter(|alone| hears_nobody || alone.is_keeping()) else {
            return;
        };
        match alone.note(self.env.clock.now(), hears_nobody, self.roster.live_ring()) {
            Some(Change::Kept) => tracing::error!(
                of = self.roster.live_ring().members().len(),
                "nobody answers this node: it keeps its ring as it is for a while; is it cut off?"
            ),
            Some(Change::Over) => self.unpublished = true,
            None => {}
        }
    }

    /// Gives the view to everybody, if it is another one than before.
    fn publish(&mut self) {
        self.waited = 0;
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let mut view = self.roster.view();
        let members = self.roster.inside();
        self.gossip.set_members(members);
        self.transport.links.lock().set_members(members);
        if let Some(alone) = &mut self.alone {
            let is_out = |id: &NodeId| view.members.get(id).is_some_and(|member| member.is_out());
            let ring = alone.ring(&view.ring, is_out);
            view.ring = ring;
        }
        self.publish.send_replace(Arc::new(view));
    }

    fn put_out_pulse(&mut self) {
        let now = self.env.clock.now();
        if now.saturating_duration_since(self.pulsed) >= PULSE_EVERY {
            self.pulsed = now;
            self.greet_somebody(now);
            let round_trips = self.detector.round_trips().map(|(id, took)| (id.clone(), took)).collect();
            self.pulse.store(Arc::new(Pulse { tally: self.detector.tally(), round_trips }));
        }
    }

    /// Gossip speaks to whom it has heard of lately. Somebody else now and then, or two parts of it that lost each other
    /// while all links stood would stay two.
    fn greet_somebody(&mut self, now: Instant) {
        if !self.gossip.greets_now(now) {
            return;
        }
        let links = self.transport.links.lock();
        let count = links.all().count() as u64;
        let somebody = links.all().nth((self.env.entropy.u64() % count.max(1)) as usize);
        if let Some(addr) = somebody.map(|link| link.addr) {
            self.gossip.introduce(now, addr);
        }
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(hello) => self.on_hello(hello),
            LinkEvent::Down { node, generation, goodbye: true } => {
                self.detect(Input::SaidGoodbye { node, generation });
            }
            LinkEvent::Down { node, generation, goodbye: false } => {
                let known = self.roster.member(&node).filter(|known| known.generation == generation);
                if let Some(known) = known.filter(|known| known.liveness.owns_keys()) {
                    self.link(&known);
                }
                self.detect(Input::LinkLost { node, generation });
            }
            LinkEvent::Facts { node, generation, facts } => {
                let facts = self.kept(facts);
                self.note(RosterEvent::FactsStated { node, generation, facts, word: Word::Own });
            }
            LinkEvent::Probe { node: from, generation, mut packet } => {
                packet.rumours.retain(|rumour| match rumour {
                    Rumour::Member(said) => {
                        is_reachable(said.addr) && self.is_credible(&said.node, said.claim.generation)
                    }
                    Rumour::Topic { .. } => true,
                });
                self.detect(Input::Received { from, generation, packet });
            }
        }
    }

    fn on_hello(&mut self, hello: Hello) {
        let Hello { node, generation, process, advertise: addr, facts, .. } = hello;
        self.gossip.introduce(self.env.clock.now(), addr);
        self.lost.found(addr);
        self.make_way(&node, generation, process);
        self.detect(Input::Met { node: node.clone(), generation, addr });
        let facts = self.kept(facts);
        self.note(RosterEvent::Greeted { node, generation, process, facts });
    }

    /// Another process takes the place of one of the same life ([`crate::identity`]): it counts its facts anew, and
    /// what the one before has stated must not stand above them.
    fn make_way(&mut self, node: &NodeId, generation: Generation, process: ProcessId) {
        let is_other = |known: &Arc<Member>| {
            known.generation == generation && known.process.is_some_and(|before| before != process)
        };
        let Some(before) = self.roster.member(node).filter(is_other) else { return };
        self.note(RosterEvent::Forgotten(node.clone()));
        let Member { incarnation, liveness, addr, suspected_by, .. } = Member::clone(&before);
        let claim = Claim { generation, incarnation, liveness };
        self.note(RosterEvent::Stands(Standing { node: node.clone(), claim, addr, suspected_by }));
    }

    fn on_heard(&mut self, heard: Heard) {
        let Heard { node, generation, addr, facts } = heard;
        if node == *self.roster.me() {
            return;
        }
        // Relayed by anybody: a generation from far in the future would hide the real one.
        if is_reachable(addr) && self.is_credible(&node, generation) {
            self.detect(Input::HeardOf { node: node.clone(), generation, addr });
            let facts = self.kept(facts);
            self.note(RosterEvent::FactsStated { node, generation, facts, word: Word::Hearsay });
        }
    }

    /// All of them: a later version may say more than this one. A test may take that away; then only what this node
    /// says of itself as well is kept.
    fn kept(&self, mut facts: Facts) -> Facts {
        if !self.later_facts {
            let view = self.roster.view();
            facts.entries.retain(|key, _| view.myself().facts.entries.contains_key(key));
        }
        facts
    }

    /// A life that is known was credible once, be it this node's own, and accusations of it must be heard:
    /// clocks may have been set back since.
    fn is_credible(&self, node: &NodeId, generation: Generation) -> bool {
        let is_known = self.roster.member(node).is_some_and(|known| known.generation == generation);
        is_known || generation.0 <= u64::try_from(self.env.clock.wall().plus(LARGEST_LEAD).0).unwrap_or(0)
    }

    fn detect(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.detector.step(self.env.clock.now(), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send { to, addr, packet } => {
                    for frame in self.dialect.frames(&packet) {
                        self.transport.send_now(&to, addr, frame);
                    }
                }
                Output::Changed(standing) => self.on_standing(standing),
                Output::Forgotten { node, addr, left } => {
                    if !left {
                        self.lost.add(self.env.clock.now(), addr);
                    }
                    self.note(RosterEvent::Forgotten(node));
                }
                Output::News { topic, value } => self.transport.tell_news(topic, value),
                Output::Stopped(late) => {
                    tracing::warn!(
                        late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX),
                        "this process did not run for a while; it looks again before it judges anybody"
                    );
                }
            }
        }
    }

    fn on_standing(&mut self, standing: Standing) {
        let known =
            self.roster.member(&standing.node).filter(|known| known.generation == standing.claim.generation);
        let was = known.map(|known| known.liveness);
        let (node, generation) = (standing.node.clone(), standing.claim.generation);
        if was.is_none() {
            self.transport.note_life(&node, generation);
        }
        self.note(RosterEvent::Stands(standing));
        match self.roster.member(&node) {
            Some(member) if was.is_none() && member.liveness.owns_keys() => self.link(&member),
            // Else what waits on its link would wait for long, and a return would be noticed late.
            Some(member) if member.liveness == Liveness::Dead && was != Some(Liveness::Dead) => {
                self.transport.unlink(&node, generation);
            }
            Some(member) if member.liveness == Liveness::Left => {
                self.transport.links.lock().note_goodbye(&node, generation);
            }
            _ => {}
        }
    }

    /// Small meshes are linked throughout.
    fn link(&self, member: &Member) {
        if self.roster.inside() <= ALL_LINKED {
            self.transport.connect(member.addr);
        }
    }

    fn note(&mut self, event: RosterEvent) {
        let mut actions = Vec::new();
        self.roster.on_event(self.env.clock.now(), self.env.clock.wall(), event, &mut actions);
        for action in actions {
            match action {
                RosterAction::Announce(member) => announce(&member),
                RosterAction::Publish => self.unpublished = true,
                RosterAction::Frozen { missing, of } => {
                    tracing::error!(
                        missing,
                        of,
                        "more than half of the ring looks dead at once: it is kept as it was for a while; is this node cut off?"
                    );
                }
                RosterAction::Thawed => tracing::info!("the ring follows the members again"),
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::SetFacts(changes) => self.set_facts(changes).await,
            Command::Spread { topic, value } => {
                // Whoever is linked hears it at once; the rumour is for the others, and for what gets lost.
                let incarnation = self.roster.view().myself().incarnation;
                let rumours = vec![Rumour::Topic { topic, value }];
                let packet = Packet { incarnation, body: Body::News, rumours };
                self.dialect.frames(&packet).for_each(|frame| self.transport.broadcast(&frame));
                self.detect(Input::Spread { topic, value });
            }
        }
    }

    /// They are merged here, by the one writer: two callers at once must not undo each other's changes.
    async fn set_facts(&mut self, changes: BTreeMap<String, String>) {
        let view = self.roster.view();
        let myself = view.myself();
        let mut entries = myself.facts.entries.clone();
        entries.extend(changes);
        let facts = Facts { version: myself.facts.version + 1, entries };
        if !facts.is_within_limits() {
            // All others would refuse this node for it.
            tracing::error!("what this node was to say about itself is over the limits, and is not said");
            return;
        }
        self.transport.state(facts.clone());
        self.gossip.state(&facts).await;
        self.note(RosterEvent::OwnFacts(facts));
    }
}

/// Whether somebody can be dialled there at all.
fn is_reachable(addr: SocketAddr) -> bool {
    !addr.ip().is_unspecified() && !addr.ip().is_multicast() && addr.port() != 0
}

fn names(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}

fn announce(member: &Member) {
    let (node, generation) = (&member.id, member.generation);
    match member.liveness {
        Liveness::Alive => {
            tracing::info!(member = %node, %generation, addr = %member.addr, "member is alive")
        }
        Liveness::Suspect => {
            tracing::warn!(member = %node, %generation, by = names(&member.suspected_by), "member does not answer");
        }
        Liveness::Dead => tracing::warn!(member = %node, %generation, "member is dead"),
        Liveness::Left => tracing::info!(member = %node, %generation, "member has left"),
    }
}
