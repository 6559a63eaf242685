//! Some detectors in one thread: messages take a millisecond, time is a number.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]

use rand::SeedableRng;

use super::super::*;
use crate::id::Generation;

/// What everybody's wall clock shows at the start: somewhere within a round, however many they are.
const WALL: UnixMs = UnixMs(1_000_000_012_345);

const MS: Duration = Duration::from_millis(1);

pub(super) struct Post {
    at: Instant,
    from: usize,
    to: usize,
    packet: Packet,
}

pub(super) struct Town {
    pub(super) began: Instant,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Option<Detector>>,
    /// They do not run, and find what came when they go on.
    pub(super) stopped: Vec<bool>,
    /// One direction each.
    pub(super) cuts: Vec<(usize, usize)>,
    pub(super) post: Vec<Post>,
    /// All that was sent: when, by whom, to whom.
    pub(super) said: Vec<(Instant, usize, usize, Body)>,
    /// Every change that a node told of, with its time.
    pub(super) changes: Vec<(Duration, usize, Standing)>,
    pub(super) news: Vec<(usize, u16, u64)>,
}

pub(super) fn name(index: usize) -> NodeId {
    format!("n{index}").parse().unwrap()
}

pub(super) fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + u16::try_from(index).unwrap()))
}

pub(super) fn detector(now: Instant, index: usize, generation: u64, parts: Parts) -> Detector {
    let me = Myself { node: name(index), generation: Generation(generation), addr: addr(index) };
    Detector::new(now, me, Pace::LAN, parts, StdRng::seed_from_u64(index as u64 + generation))
}

impl Town {
    pub(super) fn of(count: usize) -> Self {
        Self::with(count, Parts::default())
    }

    /// All have met.
    pub(super) fn with(count: usize, parts: Parts) -> Self {
        let now = Instant::now();
        let nodes = (0..count).map(|index| Some(detector(now, index, 1, parts))).collect();
        let (stopped, cuts, post) = (vec![false; count], Vec::new(), Vec::new());
        let (said, changes, news) = (Vec::new(), Vec::new(), Vec::new());
        let mut town = Self { began: now, now, nodes, stopped, cuts, post, said, changes, news };
        for one in 0..count {
            for other in (0..count).filter(|other| *other != one) {
                town.meet(one, other, 1);
            }
        }
        town.run(1_000);
        town.changes.clear();
        town
    }

    /// What everybody's wall clock shows.
    fn wall(&self) -> UnixMs {
        WALL.plus(self.now - self.began)
    }

    pub(super) fn meet(&mut self, one: usize, other: usize, generation: u64) {
        let (node, generation, addr) = (name(other), Generation(generation), addr(other));
        self.tell(one, Input::Met { node, generation, addr });
    }

    pub(super) fn tell(&mut self, index: usize, input: Input) {
        let Some(node) = self.nodes[index].as_mut() else { return };
        let mut outputs = Vec::new();
        node.step(self.now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send { to, packet, .. } => {
                    let to = to.as_str()[1..].parse().unwrap();
                    self.said.push((self.now, index, to, packet.body.clone()));
                    self.post.push(Post { at: self.now + MS, from: index, to, packet });
                }
                Output::Changed(standing) => self.changes.push((self.now - self.began, index, standing)),
                Output::News { topic, value } => self.news.push((index, topic, value)),
                Output::Forgotten { .. } | Output::Stopped(_) => {}
            }
        }
    }

    /// One tells another what it, or somebody else, is said to have found out about a third.
    pub(super) fn say(
        &mut self,
        from: usize,
        to: usize,
        about: usize,
        incarnation: u64,
        liveness: Liveness,
        by: usize,
    ) {
        let (generation, incarnation) = (Generation(1), Incarnation(incarnation));
        let claim = Claim { generation, incarnation, liveness };
        let said = MemberClaim { node: name(about), claim, addr: addr(about), by: name(by) };
        let rumours = vec![Rumour::Member(said)];
        let packet = Packet { incarnation: Incarnation(0), body: Body::News, rumours };
        self.tell(to, Input::Received { from: name(from), generation, packet });
    }

    pub(super) fn run(&mut self, ms: u32) {
        for _ in 0..ms {
            self.now += MS;
            let (due, later) = std::mem::take(&mut self.post)
                .into_iter()
                .partition(|post| post.at <= self.now && !self.stopped[post.to]);
            self.post = later;
            let due: Vec<Post> = due;
            for Post { from, to, packet, .. } in due {
                if !self.cuts.contains(&(from, to)) {
                    let generation =
                        self.nodes[from].as_ref().map_or(Generation(1), |node| node.me.generation);
                    self.tell(to, Input::Received { from: name(from), generation, packet });
                }
            }
            for index in 0..self.nodes.len() {
                let wakes = self.nodes[index].as_ref().is_some_and(|node| node.next_wake() <= self.now);
                if wakes && !self.stopped[index] {
                    self.tell(index, Input::TimePassed { wall: self.wall() });
                }
            }
        }
    }

    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.cuts.extend([(one, other), (other, one)]);
    }

    pub(super) fn liveness(&self, observer: usize, member: usize) -> Liveness {
        self.nodes[observer].as_ref().unwrap().subjects[&name(member)].claim.liveness
    }

    pub(super) fn seen_as(&self, member: usize) -> Vec<Liveness> {
        let others = (0..self.nodes.len()).filter(|other| *other != member && self.nodes[*other].is_some());
        others.map(|other| self.liveness(other, member)).collect()
    }

    pub(super) fn deaths(&self) -> Vec<String> {
        let dead = self.changes.iter().filter(|(.., standing)| standing.claim.liveness == Liveness::Dead);
        dead.map(|(at, by, standing)| format!("{at:?}: n{by} holds {} for dead", standing.node)).collect()
    }
}
