//! What a claim takes of the tasks that are ready. Every store in Rust asks it, and `claim.lua` does the same, so that
//! all agree; the stories of `conformance` hold them to it.

use std::collections::BTreeMap;

use super::Claimant;
use super::fair::Rows;
use crate::catalogue::name::{FunctionName, QueueName};

/// A ready task, as far as a claim looks at it.
pub trait Candidate {
    /// What it runs.
    fn function(&self) -> &FunctionName;
    /// How long its input is.
    fn input_bytes(&self) -> u64;
    /// How many leases it has lost.
    fn lost_leases(&self) -> u32;
}

/// How many tasks are leased now, of those functions and queues that have a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// By function.
    pub functions: BTreeMap<FunctionName, u32>,
    /// By queue.
    pub queues: BTreeMap<QueueName, u32>,
}

impl Claimant {
    /// With room for no more than the mesh's limits leave while these run.
    #[must_use]
    pub fn beside(mut self, running: &Running) -> Self {
        for (function, limit) in &self.limits.functions {
            let left = limit.saturating_sub(running.functions.get(function).copied().unwrap_or(0));
            let room = self.at_most.entry(function.clone()).or_insert(left);
            *room = left.min(*room);
        }
        for (queue, limit) in &mut self.limits.queues {
            *limit = limit.saturating_sub(running.queues.get(queue).copied().unwrap_or(0));
        }
        self
    }

    /// The queues that may not run anything more; of a claimant that stands [beside](Self::beside) what runs.
    pub fn full_queues(&self) -> impl Iterator<Item = &QueueName> {
        self.limits.queues.iter().filter(|(_, left)| **left == 0).map(|(queue, _)| queue)
    }
}

/// Takes at most so many: queue by queue as its claimant's passes say, of each queue in the order given. `who` stands
/// [beside](Claimant::beside) what runs.
pub fn take<C: Candidate>(
    who: &Claimant,
    most: u32,
    queues: impl IntoIterator<Item = (QueueName, Vec<C>)>,
) -> Vec<C> {
    let mut rows = Rows::new(who.passes.clone());
    for (queue, candidates) in queues {
        rows.add(queue, candidates);
    }
    let (mut functions, mut limits) = (who.at_most.clone(), who.limits.queues.clone());
    let (mut taken, mut bytes, mut takes_suspect) = (Vec::new(), 0_u64, who.takes_suspect);
    while taken.len() < most as usize
        && let Some((queue, candidate)) = rows.pop()
    {
        // First of all: what is left out must use up nothing of its function's room.
        let is_suspect = who.suspects(candidate.lost_leases());
        if is_suspect && !takes_suspect {
            continue;
        }
        if limits.get(&queue) == Some(&0) {
            rows.leave(&queue);
            continue;
        }
        let room = functions.get_mut(candidate.function());
        if room.as_deref() == Some(&0) {
            continue;
        }
        let sum = bytes.saturating_add(candidate.input_bytes());
        if bytes > 0 && sum > who.input_bytes {
            // Those behind it do not overtake it: it would wait for ever.
            break;
        }
        if let Some(room) = room {
            *room -= 1;
        }
        if let Some(left) = limits.get_mut(&queue) {
            *left -= 1;
        }
        bytes = sum;
        takes_suspect &= !is_suspect;
        rows.served(&queue);
        taken.push(candidate);
    }
    taken
}
