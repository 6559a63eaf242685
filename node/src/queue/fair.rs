//! Weighted fair queues: of those that have work, each gets its share of what a claimant takes, however long the
//! others are.
//!
//! Start-time fair queuing (Goyal, Vin, Cheng 1996): each queue has a pass, the virtual time at which its next task may
//! begin; the queue with the least pass is served, and its pass grows by the reciprocal of its weight. A queue that was
//! empty begins at the present virtual time: it saves up nothing while it has no work.
//!
//! Each node keeps passes of its own ([`Shares`]) and sends them along with a claim; the store serves by them
//! ([`Rows`] in Rust, `claim.lua` in Redis). Pure: no store remembers anything of it.

use std::collections::{BTreeMap, VecDeque};

use crate::catalogue::name::QueueName;

/// What one task costs a queue of weight 1. Divided by any weight it stays exact enough to tell a hundred apart.
const COST: u64 = 1_000_000;

/// The greatest weight.
pub const LARGEST_WEIGHT: u32 = 1_000;

/// What one task costs a queue of this weight.
#[must_use]
pub fn cost(weight: u32) -> u64 {
    COST / u64::from(weight.clamp(1, LARGEST_WEIGHT))
}

/// Where one queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How far it is ahead of the virtual time: before others that are further ahead.
    pub pass: u64,
    /// By so much it grows with each task.
    pub cost: u64,
}

/// What a claim is served by. A queue that is not named has the weight 1 and begins at the virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Queues that are ahead or have other weights.
    pub of: BTreeMap<QueueName, Share>,
}

impl Passes {
    /// Where this queue stands.
    #[must_use]
    pub fn share(&self, queue: &QueueName) -> Share {
        self.of.get(queue).copied().unwrap_or(Share { pass: 0, cost: COST })
    }

    /// One more of its tasks was taken; answers where it began.
    fn serve(&mut self, queue: &QueueName) -> u64 {
        let Share { pass, cost } = self.share(queue);
        self.of.insert(queue.clone(), Share { pass: pass + cost, cost });
        pass
    }
}

/// What a claimant remembers of how its queues were served: how far each is ahead of the virtual time.
#[derive(Clone, Debug, Default)]
pub struct Shares(BTreeMap<QueueName, u64>);

impl Shares {
    /// What the next claim is served by, under these weights; a queue without one has the weight 1.
    #[must_use]
    pub fn passes(&self, weights: &BTreeMap<QueueName, u32>) -> Passes {
        let share = |queue: &QueueName| Share {
            pass: self.0.get(queue).copied().unwrap_or(0),
            cost: cost(weights.get(queue).copied().unwrap_or(1)),
        };
        let queues = weights.keys().chain(self.0.keys());
        Passes { of: queues.map(|queue| (queue.clone(), share(queue))).collect() }
    }

    /// What a claim has brought, in its order.
    pub fn served<'a>(&mut self, mut by: Passes, queues: impl IntoIterator<Item = &'a QueueName>) {
        // The virtual time is where the task that was served last began.
        let now = queues.into_iter().map(|queue| by.serve(queue)).max().unwrap_or(0);
        let ahead = by.of.into_iter().map(|(queue, share)| (queue, share.pass.saturating_sub(now)));
        self.0 = ahead.filter(|(_, ahead)| *ahead > 0).collect();
    }
}

/// Candidates of several queues, each queue's in its own order, served by passes. Of queues with equal passes the one
/// that was added first comes first: a store that can look at some of its queues only begins each time with others, so
/// that no queue is always the last.
#[derive(Debug)]
pub struct Rows<C> {
    passes: Passes,
    rows: Vec<(QueueName, VecDeque<C>)>,
}

impl<C> Rows<C> {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(passes: Passes) -> Self {
        Self { passes, rows: Vec::new() }
    }

    /// Adds a queue with its candidates, best first.
    pub fn add(&mut self, queue: QueueName, candidates: impl IntoIterator<Item = C>) {
        let row: VecDeque<C> = candidates.into_iter().collect();
        if !row.is_empty() {
            self.rows.push((queue, row));
        }
    }

    /// The best candidate of the queue whose turn it is. It costs the queue nothing unless it is
    /// [served](Self::served).
    pub fn pop(&mut self) -> Option<(QueueName, C)> {
        let pass = |at: &usize| self.passes.share(&self.rows[*at].0).pass;
        let turn = (0..self.rows.len()).min_by_key(pass)?;
        let (queue, row) = &mut self.rows[turn];
        let (queue, candidate) = (queue.clone(), row.pop_front()?);
        if row.is_empty() {
            self.rows.remove(turn);
        }
        Some((queue, candidate))
    }

    /// The queue's candidate was taken.
    pub fn served(&mut self, queue: &QueueName) {
        self.passes.serve(queue);
    }

    /// No more is taken of this queue.
    pub fn leave(&mut self, queue: &QueueName) {
        self.rows.retain(|(other, _)| other != queue);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(name: &str) -> QueueName {
        name.parse().unwrap()
    }

    /// Claims of `most` tasks from endless queues; answers how many each has got.
    fn serve(
        shares: &mut Shares,
        weights: &BTreeMap<QueueName, u32>,
        backlog: &[&str],
        claims: usize,
        most: usize,
    ) -> BTreeMap<String, usize> {
        let mut got = BTreeMap::new();
        for _ in 0..claims {
            let passes = shares.passes(weights);
            let mut rows = Rows::new(passes.clone());
            backlog.iter().for_each(|name| rows.add(queue(name), 0..most));
            let mut brought = Vec::new();
            while brought.len() < most
                && let Some((queue, _)) = rows.pop()
            {
                rows.served(&queue);
                brought.push(queue);
            }
            shares.served(passes, &brought);
            brought.iter().for_each(|queue| *got.entry(queue.to_string()).or_default() += 1);
        }
        got
    }

    fn weights(of: &[(&str, u32)]) -> BTreeMap<QueueName, u32> {
        of.iter().map(|(name, weight)| (queue(name), *weight)).collect()
    }

    #[test]
    fn each_queue_gets_what_its_weight_says_however_few_are_claimed_at_once() {
        for (claims, most) in [(600, 1), (200, 3), (20, 30), (1, 600)] {
            let got = serve(
                &mut Shares::default(),
                &weights(&[("a", 1), ("b", 2), ("c", 3)]),
                &["a", "b", "c"],
                claims,
                most,
            );
            for (name, share) in [("a", 100), ("b", 200), ("c", 300)] {
                assert!(got[name].abs_diff(share) <= 1, "{claims} x {most}: {got:?}");
            }
        }
    }

    #[test]
    fn a_queue_that_had_no_work_saves_up_nothing_and_loses_nothing() {
        let (mut shares, even) = (Shares::default(), weights(&[]));
        serve(&mut shares, &even, &["busy"], 1_000, 1);
        let got = serve(&mut shares, &even, &["busy", "new"], 100, 1);
        assert!(got["busy"].abs_diff(50) <= 1, "{got:?}");
        // And the other way round: one that has worked alone owes nothing for it.
        serve(&mut shares, &even, &["new"], 1_000, 1);
        let got = serve(&mut shares, &even, &["busy", "new"], 100, 1);
        assert!(got["busy"].abs_diff(50) <= 1, "{got:?}");
    }

    #[test]
    fn nothing_is_remembered_of_queues_that_are_even() {
        let mut shares = Shares::default();
        let names: Vec<String> = (0..500).map(|n| format!("q{n}")).collect();
        for name in &names {
            serve(&mut shares, &weights(&[]), &[name], 3, 1);
        }
        assert!(shares.0.len() <= 1, "{shares:?}");
    }

    proptest! {
        /// Whatever the weights and the sizes of claims: over any stretch in which two queues always have work, each
        /// gets its share to within one task of each.
        #[test]
        fn shares_hold_over_every_stretch(
            a in 1_u32..20, b in 1_u32..20, sizes in prop::collection::vec(1_usize..9, 1..60),
        ) {
            let mut shares = Shares::default();
            let by = weights(&[("a", a), ("b", b)]);
            let mut got = [0_usize; 2];
            for most in sizes {
                let part = serve(&mut shares, &by, &["a", "b"], 1, most);
                got[0] += part.get("a").copied().unwrap_or(0);
                got[1] += part.get("b").copied().unwrap_or(0);
                let (of_a, of_b) = (got[0] as f64 / f64::from(a), got[1] as f64 / f64::from(b));
                let slack = 1.0 / f64::from(a) + 1.0 / f64::from(b) + 0.001;
                prop_assert!((of_a - of_b).abs() <= slack, "{got:?} of {a}:{b}");
            }
        }
    }
}
