//! Those that are in, in an order drawn by chance: some of them are asked for help, or told news.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::id::NodeId;

/// The members that are in.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    order: Vec<NodeId>,
}

impl Crowd {
    /// One more, unless it is there.
    pub(super) fn insert(&mut self, node: NodeId, dice: &mut StdRng) {
        if !self.order.contains(&node) {
            let at = dice.random_range(0..=self.order.len());
            self.order.insert(at, node);
        }
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.order.retain(|known| known != node);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Up to `count` different ones by chance, of those that `fits` accepts.
    pub(super) fn sample(
        &self,
        count: usize,
        dice: &mut StdRng,
        fits: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        if self.order.is_empty() {
            return Vec::new();
        }
        // From a random place on: near neighbours in an order drawn by chance are as good as any.
        let start = dice.random_range(0..self.order.len());
        let (before, from) = self.order.split_at(start);
        from.iter().chain(before).filter(|node| fits(node)).take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn a_sample_names_nobody_twice_and_nobody_who_is_gone() {
        let mut dice = StdRng::seed_from_u64(2);
        let all: Vec<NodeId> = (0..5).map(|n| format!("n{n}").parse().unwrap()).collect();
        let mut crowd = Crowd::default();
        assert_eq!(crowd.sample(3, &mut dice, |_| true), []);
        for _ in 0..1_000 {
            all.iter().for_each(|node| crowd.insert(node.clone(), &mut dice));
        }
        crowd.remove(&all[0]);
        let sample = crowd.sample(9, &mut dice, |id| *id != all[1]);
        assert_eq!((sample.len(), sample.iter().collect::<BTreeSet<_>>().len()), (3, 3));
        let firsts: BTreeSet<_> = (0..200).map(|_| crowd.sample(1, &mut dice, |_| true)[0].clone()).collect();
        assert_eq!(firsts.len(), 4, "anybody may be the one");
    }
}
