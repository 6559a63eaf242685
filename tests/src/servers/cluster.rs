//! A Redis Cluster: three masters that share the slots, and a replica of each.
//!
//! Nodes are numbered from 0 to 5, whoever is a master at the moment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cli::{Cli, program};
use super::redis::Redis;
use crate::wait::{until_so, until_some_so};

/// A cluster has three masters at least, so that a majority can agree that one is dead.
const MASTERS: usize = 3;

/// Silence of this length is a death. Fewer milliseconds make false ones on a busy machine. Guess.
const NODE_TIMEOUT_MS: &str = "1000";

/// Making a cluster, and a failover: some node timeouts, and gossip every second.
const SETTLED: Duration = Duration::from_secs(40);

/// Keys that are moved at once. Tests have few.
const BATCH: &str = "1000";

/// A cluster of one's own.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, to be asked and hurt.
    pub nodes: Vec<Redis>,
}

/// A slot that is on its way from one master to another.
#[derive(Debug)]
#[must_use = "a slot that stays on its way is no cluster that anybody wants"]
pub struct Move {
    /// Its number.
    pub slot: u16,
    /// The node that has it. It answers ASK for keys that have left already.
    pub from: usize,
    /// The node that gets it.
    pub to: usize,
}

/// What one node thinks of another.
#[derive(Debug)]
struct View {
    id: String,
    is_master: bool,
    /// Of a replica: the id of its master.
    master: String,
    /// First and last slots.
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// Starts one and waits until it takes all keys.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings for each node, as in `redis.conf`; a password is not among them.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let own = [("cluster-enabled", "yes"), ("cluster-node-timeout", NODE_TIMEOUT_MS)];
        let settings: Vec<_> = own.iter().chain(settings).copied().collect();
        let cluster = Self { nodes: (0..2 * MASTERS).map(|_| Redis::start_with(&settings)).collect() };
        let addrs = cluster.addrs();
        let mut create = vec!["--cluster", "create"];
        create.extend(addrs.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let cli = Cli::new(program("redis-cli", "redis-tools"), &[]);
        let said = cli.ask_within(&create, SETTLED);
        said.unwrap_or_else(|problem| panic!("the cluster cannot be made:\n{problem}"));
        cluster.wait_until_ok();
        cluster
    }

    /// The addresses of all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.addrs().join(","))
    }

    fn addrs(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    /// Asks `redis-cli` at the master that owns this key.
    ///
    /// # Panics
    /// When the answer is an error.
    pub fn cli(&self, key: &str, words: &[&str]) -> String {
        self.nodes[self.owner(key)].cli(words)
    }

    /// The slot of a key, or of the hash tag in it.
    ///
    /// # Panics
    /// When no node runs.
    #[must_use]
    pub fn slot(&self, key: &str) -> u16 {
        let slot = self.running().next().expect("a node runs").1.cli(&["cluster", "keyslot", key]);
        slot.parse().expect("slots are numbers")
    }

    /// The master that owns a key, once all running nodes agree who that is. A dead one owns it until a replica has
    /// taken over.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    pub fn owner(&self, key: &str) -> usize {
        self.owner_of_slot(self.slot(key))
    }

    /// The master that owns a slot, once all running nodes agree who that is.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    pub fn owner_of_slot(&self, slot: u16) -> usize {
        until_some_so(&format!("all agree who owns slot {slot}"), SETTLED, || {
            let mut owners = self.running().map(|(_, node)| owner_for(node, slot));
            let first = owners.next()??;
            let all = owners.all(|owner| owner.as_ref() == Some(&first));
            all.then(|| self.node_with(&first))?
        })
    }

    /// Waits until a key has another owner than this one, which died or froze, and the cluster is whole without that
    /// one; answers whom.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_another(&self, than: usize, key: &str) -> usize {
        let owner = until_some_so(&format!("{key} has another owner than node {than}"), SETTLED, || {
            Some(self.owner(key)).filter(|owner| *owner != than)
        });
        self.wait_until_ok();
        owner
    }

    /// The running nodes that are masters in their own eyes and own slots.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        let owns = |node: &Redis| view(node).get(&node.addr().to_string()).is_some_and(|own| own.owns_some());
        self.running().filter(|(_, node)| owns(node)).map(|(index, _)| index).collect()
    }

    /// The running replicas of a master, in its own eyes.
    #[must_use]
    pub fn replicas(&self, master: usize) -> Vec<usize> {
        let views = view(&self.nodes[master]);
        let Some(own) = views.get(&self.nodes[master].addr().to_string()) else { return Vec::new() };
        let is_its = |node: &Redis| {
            views.get(&node.addr().to_string()).is_some_and(|view| !view.is_master && view.master == own.id)
        };
        self.running().filter(|(_, node)| is_its(node)).map(|(index, _)| index).collect()
    }

    /// Waits until all running nodes take all keys, agree who owns which, and running replicas follow their masters.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_until_ok(&self) {
        until_so("the cluster is whole", SETTLED, || {
            let owners = |node: &Redis| -> Vec<_> {
                let views = view(node).into_iter().filter(|(_, view)| view.owns_some());
                views.map(|(addr, view)| (addr, view.slots)).collect()
            };
            let first = self.running().next().map(|(_, node)| owners(node));
            self.running().all(|(_, node)| is_ok(node) && Some(owners(node)) == first)
        });
    }

    /// Gives the slot of a key to another master, with all keys in it: from now on, the old one answers MOVED.
    pub fn move_slot(&self, key: &str, to: usize) {
        let moving = self.begin_move(key, to);
        self.move_keys(&moving);
        self.finish_move(moving);
    }

    /// Begins to give the slot of a key to another master: from now on, the old one answers ASK for keys that it
    /// does not have.
    ///
    /// # Panics
    /// When that one has it already.
    pub fn begin_move(&self, key: &str, to: usize) -> Move {
        let slot = self.slot(key);
        let from = self.owner_of_slot(slot);
        assert_ne!(from, to, "the slot of {key} is there already");
        // In this order: else a client that follows an ASK is turned away.
        self.set_slot(to, slot, &["importing", &self.id(from)]);
        self.set_slot(from, slot, &["migrating", &self.id(to)]);
        Move { slot, from, to }
    }

    /// Takes all keys of the slot to the new master.
    pub fn move_keys(&self, moving: &Move) {
        let (from, port) = (&self.nodes[moving.from], self.nodes[moving.to].port().to_string());
        let slot = moving.slot.to_string();
        loop {
            let keys = from.cli(&["cluster", "getkeysinslot", &slot, BATCH]);
            if keys.is_empty() {
                return;
            }
            let mut migrate = vec!["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
            migrate.extend(keys.lines());
            from.cli(&migrate);
        }
    }

    /// The slot belongs to the new master, and all running masters know it.
    pub fn finish_move(&self, moving: Move) {
        let id = self.id(moving.to);
        // The new one first: if it is the last to hear it and dies, nobody has the slot.
        self.set_slot(moving.to, moving.slot, &["node", &id]);
        for master in self.masters().into_iter().filter(|master| *master != moving.to) {
            self.set_slot(master, moving.slot, &["node", &id]);
        }
        self.wait_until_ok();
    }

    fn set_slot(&self, node: usize, slot: u16, further: &[&str]) {
        let slot = slot.to_string();
        let mut words = vec!["cluster", "setslot", &slot];
        words.extend(further);
        self.nodes[node].cli(&words);
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["cluster", "myid"])
    }

    fn node_with(&self, addr: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.addr().to_string() == addr)
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Redis)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_running())
    }
}

impl View {
    fn owns_some(&self) -> bool {
        self.is_master && !self.slots.is_empty()
    }
}

fn is_ok(node: &Redis) -> bool {
    let info = node.try_cli(&["cluster", "info"]).unwrap_or_default();
    let says = |line: &str| info.lines().any(|said| said.trim() == line);
    says("cluster_state:ok")
        && says("cluster_slots_assigned:16384")
        && (node.is_master() || node.info("master_link_status").as_deref() == Some("up"))
}

fn owner_for(node: &Redis, slot: u16) -> Option<String> {
    let owns = |view: &View| view.is_master && view.slots.iter().any(|(a, b)| (*a..=*b).contains(&slot));
    view(node).into_iter().find(|(_, view)| owns(view)).map(|(addr, _)| addr)
}

/// Everybody in the eyes of one node, by address. A line of CLUSTER NODES is
/// `id ip:port@bus flags master ping pong epoch link slots...`; a slot on its way is in brackets.
fn view(node: &Redis) -> BTreeMap<String, View> {
    let said = node.try_cli(&["cluster", "nodes"]).unwrap_or_default();
    let parse = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, addr, flags, master, _, _, _, _, slots @ ..] = words.as_slice() else { return None };
        let range = |slots: &&str| {
            let (first, last) = slots.split_once('-').unwrap_or((*slots, *slots));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let view = View {
            id: (*id).to_owned(),
            is_master: flags.split(',').any(|flag| flag == "master"),
            master: (*master).to_owned(),
            slots: slots.iter().filter_map(range).collect(),
        };
        Some((addr.split('@').next()?.to_owned(), view))
    };
    said.lines().filter_map(parse).collect()
}
