//! A server, and perhaps a replica that follows it a little behind. Faults cut them apart, put the replica in the
//! server's place, and make both forget; what is lost with that is told to the history.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;

use super::data::Data;
use super::lua::Write;
use super::observe::Observer;
use super::resp::{Command, Reply};
use super::server::Server;
use super::tables::tables;
use crate::history::{Event, History};
use crate::world::Failures;
use crate::world::store::guards::Guards;
use crate::world::store::line::Line;
use crate::world::store::state::StoreState;

/// Where every server takes connections.
pub const PORT: u16 = 6379;

/// Where the sentinel does.
pub const SENTINEL_PORT: u16 = 26_379;

/// What the sentinel calls the master.
pub const MASTER: &str = "main";

/// A change is with the replica after so many microseconds.
const LAG_MICROS: std::ops::Range<u64> = 200..6_000;

/// Clocks of servers are wrong by up to this much, either way.
const LARGEST_SKEW_MS: i64 = 300;

/// One mesh's Redis.
pub struct RedisHosts {
    names: Vec<String>,
    state: Mutex<State>,
    /// The ways from nodes, by their addresses.
    lines: Mutex<BTreeMap<IpAddr, Arc<Line>>>,
    connections: AtomicU64,
}

struct State {
    servers: Vec<Server>,
    /// Which one takes writes.
    master: usize,
    link: Link,
    observer: Observer,
    prefix: String,
    history: History,
    failures: Failures,
    dice: StdRng,
    /// Commands that memory was too full for.
    refused: u64,
}

/// What is on its way to the replica.
#[derive(Default)]
struct Link {
    shipments: VecDeque<Shipment>,
    is_cut: bool,
    /// How many changes the master has made.
    offset: u64,
    /// How many of them the replica has.
    acknowledged: u64,
    /// How much of the history was written when the replica's last change was made.
    known: usize,
}

struct Shipment {
    arrives: Duration,
    offset: u64,
    known: usize,
    writes: Vec<Write>,
}

/// What was held at one moment.
#[derive(Clone)]
pub struct Snapshot {
    data: Data,
    known: usize,
}

impl RedisHosts {
    /// Empty servers of these names, the first one the master; `mesh` is whose keys are watched.
    #[must_use]
    pub fn new(
        names: Vec<String>,
        mesh: &str,
        history: History,
        failures: Failures,
        guards: Guards,
        dice: StdRng,
    ) -> Self {
        let mut servers: Vec<_> = names.iter().map(|_| Server::new(guards)).collect();
        for replica in servers.iter_mut().skip(1) {
            replica.is_replica = true;
        }
        servers[0].replicas = u32::from(names.len() > 1);
        let prefix = format!("{{beatmesh:{mesh}}}:");
        let observer = Observer::new(prefix.clone());
        let link = Link::default();
        let state = State { servers, master: 0, link, observer, prefix, history, failures, dice, refused: 0 };
        let (lines, connections) = (Mutex::default(), AtomicU64::new(0));
        Self { names, state: Mutex::new(state), lines, connections }
    }

    /// Sets the servers' clocks, each otherwise, as wrong as those of kept machines are.
    pub fn set_clocks(&self) {
        let mut state = self.state.lock();
        let State { servers, dice, .. } = &mut *state;
        for server in servers {
            server.set_skew(dice.random_range(-LARGEST_SKEW_MS..=LARGEST_SKEW_MS));
        }
    }

    /// The names of the servers' hosts.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The host of the server that takes writes.
    #[must_use]
    pub fn master(&self) -> String {
        self.names[self.state.lock().master].clone()
    }

    /// What nodes at this address meet on their way here.
    pub fn meet(&self, addr: IpAddr, line: Arc<Line>) {
        self.lines.lock().insert(addr, line);
    }

    pub(super) fn line(&self, addr: IpAddr) -> Option<Arc<Line>> {
        self.lines.lock().get(&addr).cloned()
    }

    /// A number that no connection has had.
    pub(super) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Carries a command out on one server; answers the number of the last change that anybody had made by then as well.
    pub(super) fn execute(&self, server: usize, connection: u64, words: &Command) -> (Reply, u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let now = turmoil::sim_elapsed().expect("this is a host's software");
        state.catch_up(now);
        let done = state.servers[server].execute(now, words);
        match state.observer.observe(connection, &done) {
            Ok(events) => events.into_iter().for_each(|event| state.history.record(event)),
            Err(failure) => state.failures.add(failure),
        }
        state.refused += u64::from(matches!(&done.reply, Reply::Error(text) if text.starts_with("OOM ")));
        if done.writes.is_empty() || server != state.master {
            return (done.reply, state.link.offset);
        }
        state.link.offset += 1;
        let (offset, known) = (state.link.offset, state.history.len());
        let lag = Duration::from_micros(state.dice.random_range(LAG_MICROS));
        if state.servers.len() > 1 {
            let shipment = Shipment { arrives: now + lag, offset, known, writes: done.writes };
            state.link.shipments.push_back(shipment);
        }
        (done.reply, offset)
    }

    /// How many replicas have this change of a server; `None` when it takes no writes any more.
    pub(super) fn acknowledged(&self, server: usize, offset: u64) -> Option<u64> {
        let mut state = self.state.lock();
        state.catch_up(turmoil::sim_elapsed().expect("this is a host's software"));
        let have =
            u64::from(state.servers.len() > 1 && state.link.acknowledged >= offset.min(state.link.offset));
        (state.master == server).then_some(have)
    }

    pub(super) fn dice(&self, range: std::ops::Range<usize>) -> usize {
        self.state.lock().dice.random_range(range)
    }

    /// Whether there is a server that can take the master's place.
    #[must_use]
    pub fn has_replica(&self) -> bool {
        self.names.len() > 1
    }

    /// Nothing reaches the replica any more.
    pub fn cut_link(&self, now: Duration) {
        let mut state = self.state.lock();
        state.catch_up(now);
        state.link.is_cut = true;
    }

    /// The replica takes the master's place with what it has, and the master follows it from then on. Answers how much
    /// of the history the new master knows.
    pub fn fail_over(&self, now: Duration) -> usize {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.catch_up(now);
        let (old, new) = (state.master, 1 - state.master);
        let known = if state.link.shipments.is_empty() { state.history.len() } else { state.link.known };
        let data = state.servers[new].data.clone();
        (state.servers[new].is_replica, state.servers[new].replicas) = (false, 1);
        (state.servers[old].is_replica, state.servers[old].replicas) = (true, 0);
        state.servers[old].data = data;
        state.master = new;
        let offset = state.link.offset;
        state.link = Link { known, offset, acknowledged: offset, ..Link::default() };
        state.history.record(Event::QueueForgot { known });
        known
    }

    /// A process starts anew; what it held is on its disk.
    pub fn restart(&self, name: &str) {
        if let Some(server) = self.names.iter().position(|known| known == name) {
            self.state.lock().servers[server].restart();
        }
    }

    /// What is held now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        Snapshot { data: state.servers[state.master].data.clone(), known: state.history.len() }
    }

    /// Everything is again as it was then; without a snapshot there is nothing.
    pub fn go_back_to(&self, earlier: Option<Snapshot>) {
        let mut state = self.state.lock();
        let Snapshot { data, known } =
            earlier.unwrap_or_else(|| Snapshot { data: Data::default(), known: 0 });
        state.servers.iter_mut().for_each(|server| server.data = data.clone());
        let Link { offset, is_cut, .. } = state.link;
        state.link = Link { known, is_cut, offset, acknowledged: offset, ..Link::default() };
        state.history.record(Event::QueueForgot { known });
    }

    /// The clocks of all servers are wrong by so much more.
    pub fn misset(&self, fault: usize, off_ms: i64) {
        self.state.lock().servers.iter_mut().for_each(|server| server.misset(fault, off_ms));
    }

    /// They are set right; answers how many commands came meanwhile.
    pub fn set_right(&self, fault: usize) -> u64 {
        self.state.lock().servers.iter_mut().map(|server| server.set_right(fault)).sum()
    }

    /// From here on nothing may grow, or it may again; answers how many commands were refused for it so far.
    pub fn set_full(&self, is_full: bool) -> u64 {
        let mut state = self.state.lock();
        state.servers.iter_mut().for_each(|server| server.is_full = is_full);
        std::mem::take(&mut state.refused)
    }

    /// Whatever is done with the master.
    pub(super) fn with_master<T>(&self, with: impl FnOnce(&mut Server, &str) -> T) -> T {
        let mut state = self.state.lock();
        let State { servers, master, prefix, .. } = &mut *state;
        with(&mut servers[*master], prefix)
    }

    /// Changes what the master holds by commands, and all others in the same way; answers how many these were.
    pub(super) fn on_all(&self, change: impl FnOnce(&mut Data, &str, &mut StdRng) -> Vec<Command>) -> usize {
        let mut state = self.state.lock();
        let State { servers, master, prefix, dice, .. } = &mut *state;
        let commands = change(&mut servers[*master].data, prefix, dice);
        let write = |words: &Command| Write { words: words.clone(), reply: Reply::ok(), before: Vec::new() };
        let writes: Vec<_> = commands.iter().map(write).collect();
        let others = servers.iter_mut().enumerate().filter(|(place, _)| place != master);
        others.for_each(|(_, server)| server.follow(&writes));
        commands.len()
    }

    /// What the master holds, as properties look at it.
    #[must_use]
    pub fn tables(&self) -> StoreState {
        let state = self.state.lock();
        tables(&state.servers[state.master].data, &state.prefix)
    }
}

impl State {
    fn catch_up(&mut self, now: Duration) {
        if self.link.is_cut {
            return;
        }
        while self.link.shipments.front().is_some_and(|shipment| shipment.arrives <= now)
            && let Some(Shipment { offset, known, writes, .. }) = self.link.shipments.pop_front()
        {
            self.servers[1 - self.master].follow(&writes);
            (self.link.acknowledged, self.link.known) = (offset, known);
        }
    }
}
