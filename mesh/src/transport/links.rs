//! The table of links: which connections lead to which member.
//!
//! Two nodes that start together nearly always dial each other. Both connections are read; written is
//! the one that the lower id dialled, so that both sides write on the same one.
//!
//! Of each node the latest life is remembered, with its process, also without a link: an earlier life, and another
//! process of the same life that has to go ([`crate::identity`]), are not let in by anybody who knows better.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::silence::Ear;
use crate::counters::Traffic;
use crate::id::{Generation, NodeId, ProcessId};

/// One accepted connection to one life of one member.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) process: ProcessId,
    /// Where the member takes connections; not where this one comes from.
    pub(crate) addr: SocketAddr,
    pub(crate) connection: quinn::Connection,
    /// Whether the side with the lower node id dialled.
    pub(crate) preferred: bool,
    /// Channels that are open on it.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// What was heard on it when somebody last looked.
    pub(crate) ear: Mutex<Ear>,
}

/// All links of this node.
#[derive(Debug, Default)]
pub(crate) struct Links {
    by_node: BTreeMap<NodeId, Vec<Arc<Link>>>,
    /// The latest life of each node that was ever linked or heard of: an earlier one is not let in again, also
    /// not after the later one has gone.
    newest: BTreeMap<NodeId, Life>,
    /// Who answered at an address that is not the one that it gives to others: a name in front of it, or NAT.
    aliases: BTreeMap<SocketAddr, NodeId>,
    /// Of links that are not in the table any more.
    past: Traffic,
    /// How many members are known, also those without a link.
    members: usize,
}

/// A life of a node.
#[derive(Clone, Copy, Debug)]
struct Life {
    generation: Generation,
    /// Known once it was linked, until it is held for dead.
    process: Option<ProcessId>,
    /// It is over for good: no other process can go on with it.
    has_left: bool,
}

impl Life {
    /// The process that stays when this one comes, if it is not this one.
    fn stays_before(&self, process: ProcessId) -> Option<ProcessId> {
        self.process.filter(|known| known.0 > process.0 || (self.has_left && *known != process))
    }
}

/// Members of one mesh at most. Gossip states everybody in one message of 64 KiB, which holds some 1,150
/// entries; restarted nodes take two for a while.
pub(crate) const MOST_MEMBERS: usize = 800;

/// Members that were here before and come back have room beyond that: their former lives may still count.
const RETURNING: usize = 200;

/// Links to one life of a member at most: one that each side dialled, and some that still carry calls.
const MOST_LINKS: usize = 8;

/// Lives remembered at most. Node ids come from members only; this bounds a member that invents them.
const MOST_REMEMBERED: usize = 10_000;

/// Addresses remembered at most that lead to a node besides its own. Only people give such addresses.
const MOST_ALIASES: usize = 1_000;

/// What adding a link meant.
#[derive(Debug)]
pub(crate) enum Added {
    /// The table holds it. Links of an older life, and more of this one than are of use, are no longer wanted:
    /// close them.
    Accepted { unwanted: Vec<Arc<Link>> },
    /// A later life of the member is known already.
    Old(Generation),
    /// Another process is this life of the member, and stays it.
    Taken(ProcessId),
    /// As many links as are of use carry calls: this is one of them.
    Enough(Arc<Link>),
    /// The mesh is as large as it can be.
    Full,
}

impl Links {
    /// So many members are known now.
    pub(crate) fn set_members(&mut self, members: usize) {
        self.members = members;
    }

    /// `one_process`: whether a life is one process; not so only in tests.
    pub(crate) fn add(&mut self, link: Arc<Link>, one_process: bool) -> Added {
        let newest = self.newest.get(&link.node);
        if let Some(newest) = newest.filter(|newest| newest.generation > link.generation) {
            return Added::Old(newest.generation);
        }
        let most = if newest.is_none() { MOST_MEMBERS } else { MOST_MEMBERS + RETURNING };
        if self.members.max(self.by_node.len()) >= most && !self.by_node.contains_key(&link.node) {
            return Added::Full;
        }
        let known = newest.filter(|newest| newest.generation == link.generation && one_process);
        if let Some(stays) = known.and_then(|life| life.stays_before(link.process)) {
            return Added::Taken(stays);
        }
        let is_same = |known: &Arc<Link>| {
            known.generation == link.generation && (known.process == link.process || !one_process)
        };
        let is_free = |known: &Arc<Link>| known.waiting.load(Ordering::Relaxed) == 0;
        let slot = self.by_node.get(&link.node).map(Vec::as_slice).unwrap_or_default();
        let mut busy = slot.iter().filter(|known| is_same(known) && !is_free(known));
        if let Some(last) = busy.nth(MOST_LINKS - 1) {
            return Added::Enough(last.clone());
        }
        let has_left = known.is_some_and(|life| life.has_left);
        let life = Life { generation: link.generation, process: Some(link.process), has_left };
        self.make_room();
        self.newest.insert(link.node.clone(), life);
        let slot = self.by_node.entry(link.node.clone()).or_default();
        let (mut same, mut unwanted): (Vec<_>, Vec<_>) = slot.drain(..).partition(is_same);
        // Each side dials once; one that dials again has lost its own end of the link, or came by another address.
        unwanted.extend(same.extract_if(.., |known| known.preferred == link.preferred && is_free(known)));
        let mut excess = (same.len() + 1).saturating_sub(MOST_LINKS);
        unwanted.extend(same.extract_if(.., |known| {
            let goes = excess > 0 && is_free(known);
            excess -= usize::from(goes);
            goes
        }));
        same.push(link);
        *slot = same;
        unwanted.iter().for_each(|old| self.past.add(&old.connection.stats()));
        Added::Accepted { unwanted }
    }

    fn make_room(&mut self) {
        if self.newest.len() >= MOST_REMEMBERED {
            let by_node = &self.by_node;
            self.newest.retain(|node, _| by_node.contains_key(node));
        }
    }

    /// A life of a member is known, from whomever: earlier ones are not let in any more. Answers their links.
    pub(crate) fn note_life(&mut self, node: &NodeId, generation: Generation) -> Vec<Arc<Link>> {
        self.make_room();
        let newest = self.newest.get(node).map(|life| life.generation);
        if newest.is_some_and(|newest| newest > generation) {
            return Vec::new();
        }
        if newest != Some(generation) {
            self.newest.insert(node.clone(), Life { generation, process: None, has_left: false });
        }
        let slot = self.by_node.get(node).into_iter().flatten();
        slot.filter(|link| link.generation < generation).cloned().collect()
    }

    /// A life is held for dead: whichever process of it comes may be it.
    pub(crate) fn note_death(&mut self, node: &NodeId, generation: Generation) {
        if let Some(life) = self.newest.get_mut(node).filter(|life| life.generation == generation) {
            life.process = None;
        }
    }

    /// A life has said goodbye.
    pub(crate) fn note_goodbye(&mut self, node: &NodeId, generation: Generation) {
        if let Some(life) = self.newest.get_mut(node).filter(|life| life.generation == generation) {
            life.has_left = true;
        }
    }

    /// A node answered where `addr` was dialled.
    pub(crate) fn note_answer(&mut self, addr: SocketAddr, link: &Link) {
        if link.addr == addr {
            self.aliases.remove(&addr);
            return;
        }
        if self.aliases.len() >= MOST_ALIASES {
            let by_node = &self.by_node;
            self.aliases.retain(|_, node| by_node.contains_key(node));
        }
        if self.aliases.len() < MOST_ALIASES {
            self.aliases.insert(addr, link.node.clone());
        }
    }

    /// Takes a link out. `Some(true)` when it was the last one to that life of the member, `None` when it
    /// was not in the table any more.
    pub(crate) fn remove(&mut self, link: &Arc<Link>) -> Option<bool> {
        let slot = self.by_node.get_mut(&link.node)?;
        let at = slot.iter().position(|known| Arc::ptr_eq(known, link))?;
        slot.remove(at);
        self.past.add(&link.connection.stats());
        let last = slot.is_empty();
        if last {
            self.by_node.remove(&link.node);
        }
        Some(last)
    }

    /// The link to write on.
    pub(crate) fn to(&self, node: &NodeId) -> Option<Arc<Link>> {
        let open = |link: &&Arc<Link>| link.connection.close_reason().is_none();
        self.by_node.get(node)?.iter().filter(open).max_by_key(|link| link.preferred).cloned()
    }

    /// The link to whoever is at `addr`, or answered there when it was dialled.
    pub(crate) fn to_addr(&self, addr: SocketAddr) -> Option<Arc<Link>> {
        let there = self.by_node.values().flatten().find(|link| link.addr == addr);
        self.to(there.map(|link| &link.node).or_else(|| self.aliases.get(&addr))?)
    }

    /// Of all links there were. What an unwanted link still carries while it closes is not in it, so that
    /// nothing is counted twice and the sum never falls.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = self.past;
        self.all().for_each(|link| traffic.add(&link.connection.stats()));
        traffic
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.by_node.values().flatten()
    }
}
