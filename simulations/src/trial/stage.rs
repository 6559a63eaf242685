//! turmoil's side of a trial: hosts, time, and the faults as they begin and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Effects, STEP};
use crate::faults::{Fault, FaultKind, Group};
use crate::history::{EPOCH, Event};
use crate::scenarios::Script;
use crate::workload;
use crate::world::node::SimNode;
use crate::world::redis::hosts::Snapshot;
use crate::world::store::state::StoreState;
use crate::world::{CLIENT, OTHER_STORE, SENTINEL, STORE, World};

/// Latency of the simulated network, one way: a data centre with a tail.
const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(8));

/// turmoil's buffers, in packets; its defaults of 64 would lose bursts that kernels hold.
const BUFFER: usize = 4_096;

/// A machine starts a process that has ended by itself again after this, as service managers do.
const START_AGAIN: Duration = Duration::from_secs(1);

/// A run in progress.
pub(super) struct Stage<'a> {
    pub(super) world: World,
    pub(super) sim: turmoil::Sim<'a>,
    length: Duration,
    /// What happens when; the number keeps apart what happens together.
    agenda: BTreeMap<(Duration, usize), Turn>,
    pub(super) faults: Vec<Running>,
    pub(super) effects: Effects,
    /// Nodes whose processes have ended by themselves and will be started again.
    pub(super) starting: Group,
    /// Spare machines that were switched off for good.
    pub(super) retired: Group,
    /// What a store that will forget goes back to, with the number of the fault.
    pub(super) backup: Option<(usize, Backup)>,
}

/// What a store held when a fault began.
pub(super) enum Backup {
    Store(Box<StoreState>),
    Redis(Snapshot),
}

/// A fault's beginning or end, and what follows from it.
#[derive(Clone, Copy)]
enum Turn {
    Begins(usize),
    Ends(usize),
    /// A machine starts its process again.
    Starts(usize),
}

/// A fault with what it met.
#[derive(Clone, Copy)]
pub(super) struct Running {
    pub(super) fault: Fault,
    /// The nodes that it met; none before its beginning.
    pub(super) met: Group,
    /// Of these, those that it took down: others were down already.
    pub(super) taken: Group,
    /// One of them did not run when it began: what does not run may meet nothing.
    pub(super) hindered: bool,
    pub(super) took_effect: bool,
    /// Of a pause: how often the tasks of its nodes had been held up by earlier ones.
    pub(super) stopped_before: u64,
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
        if world.has_other_store() {
            let store = world.other_store.clone();
            sim.host(OTHER_STORE, move || store.clone().serve());
        }
        for node in world.nodes.iter().filter(|node| node.kin.is_stranger()) {
            let (node, kin) = (node.name.clone(), node.kin.as_str());
            world.history.record(Event::Stranger { node, kin });
        }
        for node in &world.nodes {
            let (world, node) = (world.clone(), node.clone());
            sim.host(node.name.clone(), move || node.clone().live(world.clone()));
        }
        if let Some(redis) = &world.redis {
            for (number, name) in redis.names().iter().enumerate() {
                let redis = redis.clone();
                sim.host(name.as_str(), move || redis.clone().serve(number));
            }
            if redis.has_replica() {
                let redis = redis.clone();
                sim.host(SENTINEL, move || redis.clone().serve_sentinel());
            }
            for node in &world.nodes {
                redis.meet(sim.lookup(node.name.as_str()), node.queue_line.clone());
            }
        }
        for (index, node) in world.nodes.iter().enumerate() {
            world.weather.locate(sim.lookup(node.name.as_str()), index);
        }
        let machines: Vec<_> = world.nodes.iter().map(|node| sim.lookup(node.name.as_str())).collect();
        for (index, spare) in world.nodes.iter().enumerate().skip(world.spares) {
            sim.crash(spare.name.as_str());
            world.weather.set_down(index, true);
        }
        for store in [&world.store, &world.other_store] {
            store.state().add_stale_nodes(script.stale_rows, &machines);
        }
        let names = world.nodes.iter().take(script.nodes).map(|node| node.name.clone()).collect();
        let order = workload::Order {
            until: script.work_until,
            poison_at: script.poison_at,
            skips_rollbacks: script.skips_rollbacks,
            keys: script.keys,
        };
        let (history, dice) = (world.history.clone(), StdRng::seed_from_u64(dice.random()));
        let users = workload::run(names, dice, history, order);
        sim.client(CLIENT, async move { users.await.map_err(|error| format!("{error:#}").into()) });

        let mut agenda = BTreeMap::new();
        for (index, fault) in script.faults.iter().enumerate() {
            agenda.insert((fault.at, 2 * index), Turn::Begins(index));
            agenda.insert((fault.at + fault.lasts, 2 * index + 1), Turn::Ends(index));
        }
        let running = |fault: &Fault| Running {
            fault: *fault,
            met: Group::default(),
            taken: Group::default(),
            hindered: false,
            took_effect: false,
            stopped_before: 0,
        };
        let faults = script.faults.iter().map(running).collect();
        let (world, length) = (world.clone(), script.length);
        Self {
            world,
            sim,
            length,
            agenda,
            faults,
            effects: Effects::default(),
            starting: Group::default(),
            retired: Group::default(),
            backup: None,
        }
    }

    /// A process has ended by itself: its machine starts it again in a while.
    pub(super) fn start_later(&mut self, node: usize) {
        let (at, after_all_faults) = (self.sim.elapsed() + START_AGAIN, 2 * self.faults.len() + node);
        self.agenda.insert((at, after_all_faults), Turn::Starts(node));
        self.starting = self.starting.with(node);
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
                    Turn::Starts(node) => self.start(node),
                }
            }
            finished = self.sim.step().map_err(|error| error.to_string())?;
            self.world.history.set_time(self.sim.elapsed());
            self.world.nodes.iter().for_each(|node| node.observe(&self.world));
            self.end_those_that_left();
            self.restart_those_that_ended()?;
            if let Some(failure) = self.world.failures.all().first() {
                return Err(failure.clone());
            }
        }
        if self.world.has_kin() {
            self.world.nodes.iter().for_each(|node| node.tell_refusals(&self.world));
        }
        if !finished {
            return Err("the client has not ended".to_owned());
        }
        let redis = self.world.redis.iter().flat_map(|redis| redis.names().iter().map(String::as_str));
        if let Some(store) = [STORE].into_iter().chain(redis).find(|host| !self.sim.is_host_running(*host)) {
            return Err(format!("host {store} ended early"));
        }
        let hangs = |node: &&Arc<SimNode>| !node.is_up() && !node.gate().is_held();
        match self.world.nodes.iter().take(self.world.spares).find(hangs) {
            Some(node) => Err(format!("node {} is not up at the end", node.name)),
            None => Ok(()),
        }
    }

    /// What the faults did.
    pub(super) fn effects(&self) -> Effects {
        let missing = self.faults.iter().filter(|running| !running.took_effect && !self.is_stopping(running));
        Effects { missing: missing.map(|running| running.fault).collect(), ..self.effects.clone() }
    }

    /// Whether a fault that is never healed stops somebody at the end.
    fn is_stopping(&self, running: &Running) -> bool {
        let nodes = || running.met.nodes().map(|node| self.world.nodes[node].gate());
        matches!(running.fault.kind, FaultKind::Pause(_)) && nodes().any(|gate| gate.is_held())
    }

    /// Whom most living nodes hold for the Beat.
    pub(super) fn believed_beat(&self) -> Option<usize> {
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        for beat in self.world.nodes.iter().filter_map(|node| node.beat()) {
            let index = self.world.nodes.iter().position(|node| node.name == beat)?;
            *votes.entry(index).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(index, _)| index)
    }
}
