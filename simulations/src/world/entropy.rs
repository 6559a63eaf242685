//! Dice that a seed decides.

use beatmesh_mesh::env::Entropy;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Unpredictable to the node, decided by seed, node and life: a restarted node draws anew.
pub struct SimEntropy(Mutex<StdRng>);

impl SimEntropy {
    /// The dice of one life of one node.
    #[must_use]
    pub fn new(seed: u64, node: usize, life: u64) -> Self {
        // Apart from the generators that other parts of a world seed with the same number.
        Self(Mutex::new(dice(seed, node, life, *b"entropy1")))
    }
}

/// The dice of one life of one node for one purpose.
pub(super) fn dice(seed: u64, node: usize, life: u64, purpose: [u8; 8]) -> StdRng {
    let mut bytes = [0_u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(node as u64).to_le_bytes());
    bytes[16..24].copy_from_slice(&life.to_le_bytes());
    bytes[24..].copy_from_slice(&purpose);
    StdRng::from_seed(bytes)
}

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().fill_bytes(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_life_draws_otherwise_and_the_same_one_alike() {
        let draw = |seed, node, life| {
            let dice: &dyn Entropy = &SimEntropy::new(seed, node, life);
            dice.u64()
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert!([draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)].iter().all(|other| *other != draw(1, 2, 3)));
    }
}
