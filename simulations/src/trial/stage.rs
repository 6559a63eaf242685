//! turmoil's side of a trial: hosts, time, and the faults as they begin and end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Effects, STEP};
use crate::faults::{Fault, FaultKind, Target, Trouble};
use crate::history::{EPOCH, Event};
use crate::scenarios::Script;
use crate::workload;
use crate::world::{CLIENT, STORE, World};

/// Latency of the simulated network, one way: a data centre with a tail.
const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(8));

/// turmoil's buffers, in packets; its defaults of 64 would lose bursts that kernels hold.
const BUFFER: usize = 4_096;

/// A run in progress.
pub(super) struct Stage<'a> {
    world: World,
    sim: turmoil::Sim<'a>,
    length: Duration,
    /// What happens when; the number keeps apart what happens together.
    agenda: BTreeMap<(Duration, usize), Turn>,
    faults: Vec<Running>,
    effects: Effects,
}

/// A fault's beginning or end.
#[derive(Clone, Copy)]
enum Turn {
    Begins(usize),
    Ends(usize),
}

/// A fault with what it met.
struct Running {
    fault: Fault,
    /// The node that it met; `None` before its beginning.
    met: Option<usize>,
    /// Packets or requests that had met a fault of its kind before.
    before: u64,
    took_effect: bool,
}

impl<'a> Stage<'a> {
    /// Puts all hosts on stage; nothing runs yet.
    pub(super) fn new(world: &World, seed: u64, script: &Script, mut dice: StdRng) -> Self {
        let epoch = UNIX_EPOCH + Duration::from_millis(u64::try_from(EPOCH.0).unwrap_or(0));
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(epoch)
            .tick_duration(STEP)
            .simulation_duration(script.length + STEP)
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .udp_capacity(BUFFER)
            .tcp_capacity(BUFFER)
            .enable_random_order()
            .build();
        let store = world.store.clone();
        sim.host(STORE, move || store.clone().serve());
        for node in &world.nodes {
            let (world, node) = (world.clone(), node.clone());
            sim.host(node.name.clone(), move || node.clone().live(world.clone()));
        }
        let names = world.nodes.iter().map(|node| node.name.clone()).collect();
        let (history, until) = (world.history.clone(), script.work_until);
        let users = workload::run(names, StdRng::seed_from_u64(dice.random()), history, until);
        sim.client(CLIENT, async move { users.await.map_err(|error| format!("{error:#}").into()) });

        let mut agenda = BTreeMap::new();
        for (index, fault) in script.faults.iter().enumerate() {
            agenda.insert((fault.at, 2 * index), Turn::Begins(index));
            agenda.insert((fault.at + fault.lasts, 2 * index + 1), Turn::Ends(index));
        }
        let running = |fault: &Fault| Running { fault: *fault, met: None, before: 0, took_effect: false };
        let faults = script.faults.iter().map(running).collect();
        let (world, length) = (world.clone(), script.length);
        Self { world, sim, length, agenda, faults, effects: Effects::default() }
    }

    /// Plays to the end, or until something breaks.
    pub(super) fn play(&mut self) -> Result<(), String> {
        let mut finished = false;
        while self.sim.elapsed() < self.length {
            self.world.history.set_time(self.sim.elapsed());
            while let Some(((at, _), turn)) = self.agenda.first_key_value().map(|(key, turn)| (*key, *turn))
                && at <= self.sim.elapsed()
            {
                self.agenda.pop_first();
                match turn {
                    Turn::Begins(index) => self.begin(index),
                    Turn::Ends(index) => self.end(index),
                }
            }
            finished = self.sim.step().map_err(|error| error.to_string())?;
            self.world.history.set_time(self.sim.elapsed());
            self.world.nodes.iter().for_each(|node| node.observe(&self.world));
            if let Some(failure) = self.world.failures.all().first() {
                return Err(failure.clone());
            }
        }
        if !finished {
            return Err("the client has not ended".to_owned());
        }
        let nodes = self.world.nodes.iter().map(|node| node.name.as_str());
        let hosts: Vec<_> = nodes.chain([STORE]).collect();
        match hosts.into_iter().find(|host| !self.sim.is_host_running(*host)) {
            Some(host) => Err(format!("host {host} ended early")),
            None => Ok(()),
        }
    }

    /// What the faults did.
    pub(super) fn effects(&self) -> Effects {
        let missing = self
            .faults
            .iter()
            .filter(|running| running.fault.kind.must_take_effect() && !running.took_effect);
        Effects { missing: missing.map(|running| running.fault).collect(), ..self.effects.clone() }
    }

    fn begin(&mut self, index: usize) {
        let fault = self.faults[index].fault;
        let text;
        match fault.kind {
            FaultKind::Crash(target) => {
                let node = self.node(target);
                let name = self.world.nodes[node].name.clone();
                self.faults[index].met = Some(node);
                self.faults[index].took_effect = self.sim.is_host_running(name.as_str());
                if self.believed_beat() == Some(node) {
                    self.effects.beat_crashes.push(self.world.history.now());
                }
                text = format!("crash of {name}");
                self.sim.crash(name.as_str());
                self.world.nodes[node].died();
            }
            FaultKind::Partition(a, b) => {
                let (a, b) = self.pair(a, b);
                text = format!("{} and {} do not hear each other", a.0, b.0);
                self.faults[index].before = self.world.cuts.swallowed();
                self.world.cuts.begin(a.1, b.1);
                self.sim.partition(a.0, b.0);
            }
            FaultKind::Store(target, trouble) => {
                let node = self.node(target);
                let node_here = &self.world.nodes[node];
                self.faults[index].met = Some(node);
                self.faults[index].before = node_here.line.troubled();
                node_here.line.set(trouble);
                text = format!("store for {}: {trouble}", node_here.name);
            }
        }
        self.world.history.record(Event::FaultBegan { fault: text });
    }

    fn end(&mut self, index: usize) {
        let Running { fault, met, before, .. } = self.faults[index];
        let text;
        match fault.kind {
            FaultKind::Crash(_) => {
                let node = met.expect("a fault ends after it began");
                let name = self.world.nodes[node].name.clone();
                text = format!("restart of {name}");
                self.sim.bounce(name.as_str());
            }
            FaultKind::Partition(a, b) => {
                let (a, b) = self.pair(a, b);
                text = format!("{} and {} hear each other again", a.0, b.0);
                self.faults[index].took_effect = self.world.cuts.swallowed() > before;
                self.world.cuts.end(a.1, b.1);
                self.sim.repair(a.0, b.0);
            }
            FaultKind::Store(..) => {
                let node = &self.world.nodes[met.expect("a fault ends after it began")];
                text = format!("store for {}: {}", node.name, Trouble::None);
                self.faults[index].took_effect = node.line.troubled() > before;
                node.line.set(Trouble::None);
            }
        }
        self.world.history.record(Event::FaultEnded { fault: text });
    }

    /// The node that a target means now.
    fn node(&self, target: Target) -> usize {
        match target {
            Target::Node(index) => index,
            // Nobody up to ask: any node will do.
            Target::BeatOwner => self.believed_beat().unwrap_or(0),
        }
    }

    /// Whom most living nodes hold for the Beat.
    fn believed_beat(&self) -> Option<usize> {
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        for beat in self.world.nodes.iter().filter_map(|node| node.beat()) {
            let index = self.world.nodes.iter().position(|node| node.name == beat)?;
            *votes.entry(index).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(index, _)| index)
    }

    fn pair(&self, a: usize, b: usize) -> ((String, IpAddr), (String, IpAddr)) {
        let host = |index: usize| {
            let name = self.world.nodes[index].name.clone();
            let addr = self.sim.lookup(name.as_str());
            (name, addr)
        };
        (host(a), host(b))
    }
}
