//! Real detectors under one heap: packets take their time or are lost, nodes are killed, stopped, cut off.
//!
//! Links are what the transport makes of them: whoever sends where no link leads dials first, and both sides then
//! have met. A death that a node believes in ends its link. A stopped node's packets wait in the buffer of its
//! socket, as many as fit.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use beatmesh_mesh::ALL_LINKED;
use beatmesh_mesh::detector::message::{Body, Packet};
use beatmesh_mesh::detector::{Detector, Input, Myself, Output};
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::member::Liveness;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::Setting;
use super::traffic::Traffic;
use super::views::{Truth, Views};
use crate::core::heap::Heap;

/// Datagrams that wait for a process which does not run: Linux gives a socket 208 KiB, and counts more than a
/// kilobyte for each.
const BUFFER: usize = 160;

/// The wall clocks at the start, all of them but for what they differ.
const WALL: UnixMs = UnixMs(1_000_000_000_000);

/// A dial takes so many ways before the first datagram can follow.
const HANDSHAKE: u32 = 3;

/// Members that a new life dials, as it finds them in the list of nodes.
const SEEDS: usize = 3;

/// Members that hear a goodbye from the leaving member itself. In large meshes it has links to some only.
const GOODBYES: usize = 3;

enum Happening {
    Wakes { node: usize, at: Duration },
    Arrives(Box<Post>),
    Linked { one: (usize, u64), other: (usize, u64) },
    SaidGoodbye { to: usize, by: (usize, u64) },
}

struct Post {
    from: (usize, u64),
    to: (usize, u64),
    packet: Packet,
}

struct Resident {
    id: NodeId,
    life: u64,
    detector: Option<Detector>,
    /// The earliest wake that the heap holds for it.
    armed: Duration,
    stopped: bool,
    waiting: VecDeque<Post>,
    /// How far its wall clock is ahead.
    clock: Duration,
}

/// Some detectors, and what is between them.
pub(super) struct Town {
    setting: Setting,
    heap: Heap<Happening>,
    dice: StdRng,
    began: Instant,
    nodes: Vec<Resident>,
    linked: Vec<bool>,
    /// Nodes reach each other within their part; nobody is in the same part as a node of part 0 but itself.
    parts: Vec<usize>,
    cut: Option<(usize, usize)>,
    pub(super) views: Views,
    pub(super) traffic: Traffic,
}

impl Town {
    /// All know all and have been told of it: as after some minutes of quiet.
    pub(super) fn new(setting: &Setting, seed: u64) -> Self {
        let count = setting.nodes;
        let mut town = Self {
            setting: *setting,
            heap: Heap::new(),
            dice: StdRng::seed_from_u64(seed),
            began: began(),
            nodes: Vec::with_capacity(count),
            linked: vec![true; count * count],
            parts: vec![1; count],
            cut: None,
            views: Views::acquainted(0),
            traffic: Traffic::default(),
        };
        for index in 0..count {
            let id: NodeId = format!("node-{index:04}").parse().expect("letters and digits");
            let waiting = VecDeque::new();
            let (life, armed) = (1, Duration::MAX);
            let clock = Duration::ZERO;
            town.nodes.push(Resident { id, life, detector: None, armed, stopped: false, waiting, clock });
        }
        (0..count).for_each(|node| town.start(node));
        town.introduce_all();
        // Round-trip times are known then, and nobody is in step with the start.
        town.run_for(Duration::from_secs(1));
        town.traffic = Traffic::default();
        town
    }

    fn introduce_all(&mut self) {
        let now = self.began + self.heap.now();
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id.clone()).collect();
        for node in &mut self.nodes {
            let detector = node.detector.as_mut().expect("all have started");
            for (other, id) in ids.iter().enumerate() {
                detector.acquaint(now, id.clone(), Generation(1), addr(other));
            }
        }
        self.views = Views::acquainted(ids.len());
    }

    fn start(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let (id, generation) = (this.id.clone(), Generation(this.life));
        let me = Myself { node: id, generation, addr: addr(node) };
        let dice = StdRng::seed_from_u64(self.dice.random());
        this.clock = Duration::from_millis(self.dice.random_range(0..=self.setting.clocks_ms));
        let now = self.began + self.heap.now();
        this.detector = Some(Detector::new(now, me, self.setting.pace, self.setting.parts, dice));
        this.armed = Duration::MAX;
        self.arm(node);
    }

    fn wall(&self, node: usize) -> UnixMs {
        WALL.plus(self.heap.now()).plus(self.nodes[node].clock)
    }

    pub(super) fn now(&self) -> Duration {
        self.heap.now()
    }

    /// The same as the nodes' clocks show it.
    pub(super) fn time(&self) -> Instant {
        self.began + self.heap.now()
    }

    /// Somebody that is up, other than these.
    pub(super) fn somebody(&mut self, but: &[usize]) -> usize {
        loop {
            let node = self.dice.random_range(0..self.nodes.len());
            if self.nodes[node].detector.is_some() && !self.nodes[node].stopped && !but.contains(&node) {
                return node;
            }
        }
    }

    pub(super) fn chance(&mut self) -> f64 {
        self.dice.random()
    }

    /// Whether nobody answers a node, as it sees that itself.
    pub(super) fn hears_nobody(&self, node: usize) -> bool {
        self.nodes[node].detector.as_ref().is_some_and(Detector::hears_nobody)
    }

    // What can happen to nodes.

    pub(super) fn kill(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        (this.detector, this.stopped) = (None, false);
        this.waiting.clear();
        self.views.now_is(node, Truth::Gone);
    }

    pub(super) fn leave(&mut self, node: usize) {
        let by = (node, self.nodes[node].life);
        self.kill(node);
        let mut heard_by = vec![node];
        while heard_by.len() <= GOODBYES.min(self.nodes.len() - 1) {
            let to = self.somebody(&heard_by);
            heard_by.push(to);
            // The closed link says it again, so no loss keeps it from them.
            let way = self.way();
            self.heap.push_in(way, Happening::SaidGoodbye { to, by });
        }
    }

    /// A new life of whoever was killed or left.
    pub(super) fn start_again(&mut self, node: usize) {
        self.nodes[node].life += 1;
        for other in 0..self.nodes.len() {
            self.set_link(node, other, false);
        }
        self.start(node);
        self.views.knows_nobody(node);
        self.views.now_is(node, Truth::Alive(self.nodes[node].life));
        let mut dialled = vec![node];
        while dialled.len() <= SEEDS.min(self.nodes.len() - 1) {
            let other = self.somebody(&dialled);
            dialled.push(other);
            self.dial(node, other);
        }
    }

    /// As SIGSTOP does.
    pub(super) fn stop(&mut self, node: usize) {
        self.nodes[node].stopped = true;
    }

    /// As SIGCONT does. Whether the timers or the socket come first is chance.
    pub(super) fn resume(&mut self, node: usize, timers_first: bool) {
        self.nodes[node].stopped = false;
        if timers_first {
            self.step(node, Input::TimePassed { wall: self.wall(node) });
        }
        for post in std::mem::take(&mut self.nodes[node].waiting) {
            self.deliver(post);
        }
        self.arm(node);
    }

    pub(super) fn cut(&mut self, pair: Option<(usize, usize)>) {
        self.cut = pair;
    }

    /// Part 0 is that of those who reach nobody.
    pub(super) fn split(&mut self, part_of: impl Fn(usize) -> usize) {
        self.parts = (0..self.nodes.len()).map(part_of).collect();
    }

    // Time.

    pub(super) fn run_for(&mut self, length: Duration) {
        let end = self.heap.now() + length;
        self.run_until(end, |_| false);
    }

    /// Until something is so, seen after each happening; `None` when it is not so by `end`.
    pub(super) fn run_until(
        &mut self,
        end: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        if is_so(self) {
            return Some(self.heap.now());
        }
        while let Some(happening) = self.heap.pop(end) {
            if self.happen(happening) && is_so(self) {
                return Some(self.heap.now());
            }
        }
        self.heap.wait_until(end);
        None
    }

    /// Answers whether some view may have changed.
    fn happen(&mut self, happening: Happening) -> bool {
        let before = self.views.changes;
        match happening {
            Happening::Wakes { node, at } => {
                if self.nodes[node].armed == at {
                    self.nodes[node].armed = Duration::MAX;
                    self.step(node, Input::TimePassed { wall: self.wall(node) });
                }
            }
            Happening::Arrives(post) => {
                let to = &mut self.nodes[post.to.0];
                if !to.stopped {
                    self.deliver(*post);
                } else if to.waiting.len() < BUFFER {
                    to.waiting.push_back(*post);
                }
            }
            Happening::Linked { one, other } => {
                if self.lives(one) && self.lives(other) {
                    self.meet(one.0, other.0);
                    self.meet(other.0, one.0);
                }
            }
            Happening::SaidGoodbye { to, by } => {
                let (node, generation) = (self.nodes[by.0].id.clone(), Generation(by.1));
                self.step(to, Input::SaidGoodbye { node, generation });
            }
        }
        self.views.changes != before
    }

    fn lives(&self, (node, life): (usize, u64)) -> bool {
        self.nodes[node].detector.is_some() && self.nodes[node].life == life
    }

    fn deliver(&mut self, post: Post) {
        if self.lives(post.to) {
            let (from, generation) = (self.nodes[post.from.0].id.clone(), Generation(post.from.1));
            self.step(post.to.0, Input::Received { from, generation, packet: post.packet });
        }
    }

    fn meet(&mut self, node: usize, other: usize) {
        let Resident { id, life, .. } = &self.nodes[other];
        let input = Input::Met { node: id.clone(), generation: Generation(*life), addr: addr(other) };
        self.step(node, input);
    }

    fn step(&mut self, node: usize, input: Input) {
        let now = self.heap.now();
        let this = &mut self.nodes[node];
        if this.stopped {
            return;
        }
        let Some(detector) = this.detector.as_mut() else { return };
        let mut outputs = Vec::new();
        let is_for_another =
            matches!(&input, Input::Received { packet, .. } if matches!(packet.body, Body::PingReq { .. }));
        detector.step(self.began + now, input, &mut outputs);
        self.arm(node);
        for output in outputs {
            match output {
                Output::Send { to, packet, .. } => {
                    let is_probe = matches!(packet.body, Body::Ping { .. }) && !is_for_another;
                    self.send(node, place(&to), packet, is_probe);
                }
                Output::Changed(standing) => {
                    let member = place(&standing.node);
                    if standing.claim.liveness == Liveness::Dead {
                        self.set_link(node, member, false);
                    }
                    // As the keeper does: small meshes are linked throughout.
                    if standing.claim.liveness == Liveness::Alive && self.nodes.len() <= ALL_LINKED {
                        self.link(node, member);
                    }
                    self.views.changed(now, node, member, standing.claim);
                }
                Output::Forgotten { node: member, .. } => self.views.forgotten(node, place(&member)),
                Output::News { .. } | Output::Stopped(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet, is_probe: bool) {
        self.traffic.sent(from, &packet, is_probe);
        if self.setting.loss > 0.0 && self.dice.random_bool(self.setting.loss) {
            return;
        }
        if !self.reaches(from, to) {
            return;
        }
        let mut way = self.way();
        if !self.linked[from * self.nodes.len() + to] {
            match self.dial(from, to) {
                Some(linked_in) => way += linked_in,
                None => return,
            }
        }
        let (from, to) = ((from, self.nodes[from].life), (to, self.nodes[to].life));
        self.heap.push_in(way, Happening::Arrives(Box::new(Post { from, to, packet })));
    }

    fn link(&mut self, one: usize, other: usize) {
        if one != other && !self.linked[one * self.nodes.len() + other] {
            self.dial(one, other);
        }
    }

    /// How long the handshake takes; `None` when nobody answers.
    fn dial(&mut self, from: usize, to: usize) -> Option<Duration> {
        if self.nodes[to].detector.is_none() || self.nodes[to].stopped || !self.reaches(from, to) {
            return None;
        }
        self.set_link(from, to, true);
        let linked_in = (0..HANDSHAKE).map(|_| self.way()).sum();
        let (one, other) = ((from, self.nodes[from].life), (to, self.nodes[to].life));
        self.heap.push_in(linked_in, Happening::Linked { one, other });
        Some(linked_in)
    }

    fn set_link(&mut self, one: usize, other: usize, up: bool) {
        let count = self.nodes.len();
        (self.linked[one * count + other], self.linked[other * count + one]) = (up, up);
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let is_cut =
            self.cut.is_some_and(|(one, other)| (one, other) == (from, to) || (other, one) == (from, to));
        !is_cut && self.parts[from] != 0 && self.parts[from] == self.parts[to]
    }

    fn way(&mut self) -> Duration {
        let (least, most) = self.setting.way_us;
        Duration::from_micros(self.dice.random_range(least..=most))
    }

    /// Keeps a wake in the heap that is not later than the detector wants it.
    fn arm(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let Some(detector) = this.detector.as_ref().filter(|_| !this.stopped) else { return };
        let (now, at) = (self.heap.now(), detector.next_wake().saturating_duration_since(self.began));
        let at = at.max(now);
        if at < this.armed {
            this.armed = at;
            self.heap.push_in(at - now, Happening::Wakes { node, at });
        }
    }
}

fn addr(node: usize) -> SocketAddr {
    let [.., high, low] = node.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 7946))
}

/// Names end in the place.
fn place(id: &NodeId) -> usize {
    id.as_str()[5..].parse().expect("names of this town")
}

#[expect(clippy::disallowed_methods, reason = "some instant to count from; nothing but differences is used")]
fn began() -> Instant {
    Instant::now()
}
