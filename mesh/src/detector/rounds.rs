//! Whose turn it is: everybody once in each round, in an order that is drawn anew (SWIM, section 4.3), so a
//! dead member is found within a round at the latest by each.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::id::NodeId;

/// The order of the round under way.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    order: Vec<NodeId>,
    next: usize,
}

impl Rounds {
    /// The next one whose turn it is; `None` when there is nobody. `all` are those of the next round, `is_in`
    /// says who still is.
    pub(super) fn next<'a>(
        &mut self,
        dice: &mut StdRng,
        is_in: impl Fn(&NodeId) -> bool,
        all: impl Iterator<Item = &'a NodeId>,
    ) -> Option<NodeId> {
        let waiting = self.order.get(self.next..).unwrap_or_default();
        if let Some(at) = waiting.iter().position(&is_in) {
            self.next += at + 1;
            return Some(self.order[self.next - 1].clone());
        }
        self.order = all.cloned().collect();
        self.order.shuffle(dice);
        self.next = 1;
        self.order.first().cloned()
    }

    /// A new one gets a place in what is left of the round, unless it has one: whoever goes and comes back has.
    pub(super) fn insert(&mut self, node: NodeId, dice: &mut StdRng) {
        if self.order.get(self.next..).is_some_and(|waiting| waiting.contains(&node)) {
            return;
        }
        let at = dice.random_range(self.next.min(self.order.len())..=self.order.len());
        self.order.insert(at, node);
    }

    /// Up to `count` different ones by chance, of those that `fits` accepts.
    pub(super) fn sample(
        &self,
        count: usize,
        dice: &mut StdRng,
        fits: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut found: Vec<NodeId> = Vec::new();
        if self.order.is_empty() {
            return found;
        }
        // From a random place on, every member once at most: near neighbours in a shuffled order are as good
        // as any.
        let start = dice.random_range(0..self.order.len());
        for step in 0..self.order.len() {
            let node = &self.order[(start + step) % self.order.len()];
            if fits(node) && !found.contains(node) {
                found.push(node.clone());
                if found.len() == count {
                    break;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn everybody_has_a_turn_in_each_round_and_a_new_one_in_this() {
        let mut dice = StdRng::seed_from_u64(1);
        let all: Vec<NodeId> = (0..5).map(|n| format!("n{n}").parse().unwrap()).collect();
        let mut rounds = Rounds::default();
        let turns = |rounds: &mut Rounds, count: usize, of: &[NodeId], dice: &mut StdRng| {
            (0..count)
                .map(|_| rounds.next(dice, |id| of.contains(id), of.iter()).unwrap())
                .collect::<Vec<_>>()
        };
        let first = turns(&mut rounds, 4, &all[..4], &mut dice);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4);
        turns(&mut rounds, 2, &all[..4], &mut dice);
        rounds.insert(all[4].clone(), &mut dice);
        assert!(turns(&mut rounds, 3, &all, &mut dice).contains(&all[4]));
        let without = turns(&mut rounds, 9, &all[..2], &mut dice);
        assert!(without.iter().all(|id| all[..2].contains(id)));
        assert_eq!(Rounds::default().next(&mut dice, |_| true, [].iter()), None);
    }

    #[test]
    fn whoever_goes_and_comes_back_again_and_again_has_one_turn() {
        let mut dice = StdRng::seed_from_u64(3);
        let all: Vec<NodeId> = (0..5).map(|n| format!("n{n}").parse().unwrap()).collect();
        let mut rounds = Rounds::default();
        rounds.next(&mut dice, |_| true, all.iter());
        for _ in 0..1_000 {
            rounds.insert(all[0].clone(), &mut dice);
        }
        assert!(rounds.order.len() <= 6, "{:?}", rounds.order.len());
    }

    #[test]
    fn a_sample_names_nobody_twice() {
        let mut dice = StdRng::seed_from_u64(2);
        let all: Vec<NodeId> = (0..5).map(|n| format!("n{n}").parse().unwrap()).collect();
        let mut rounds = Rounds::default();
        rounds.next(&mut dice, |_| true, all.iter());
        rounds.insert(all[0].clone(), &mut dice);
        let sample = rounds.sample(9, &mut dice, |id| *id != all[1]);
        assert_eq!(sample.iter().collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(sample.len(), 4);
    }
}
