//! Memory for the inputs of claimed tasks, from before their claim until a function has them.
//!
//! An input may be as long as `limits.input`, and a claim brings dozens of tasks: without a budget a queue
//! of large inputs would fill the memory of every node that works it off.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Inputs of the largest size that are in hand at once. A function that does not read its input keeps it
/// in hand; so many of them may run before the node claims nothing more.
const LARGEST_AT_ONCE: u32 = 8;

/// And that one claim may bring: the store's answer is in memory several times over while it is read.
const LARGEST_IN_A_CLAIM: u32 = 2;

/// Bytes are counted in pieces of this size.
const UNIT: u64 = 1_024;

/// The budget of one node.
pub(super) struct InputMemory {
    units: Arc<Semaphore>,
    /// Units of the largest input.
    largest: u32,
}

/// A part of the budget, for the inputs of one claim.
pub(super) struct InputRoom(OwnedSemaphorePermit);

impl InputMemory {
    /// For inputs of at most so many bytes each.
    pub(super) fn new(largest: u64) -> Self {
        // A limit without measure is a budget without measure; it must only not overflow.
        let largest = largest.div_ceil(UNIT).clamp(1, u64::from(u32::MAX / LARGEST_AT_ONCE));
        let largest = u32::try_from(largest).expect("just clamped");
        Self { units: Arc::new(Semaphore::new((largest * LARGEST_AT_ONCE) as usize)), largest }
    }

    /// Room for one input of the largest size, waiting for it.
    pub(super) async fn for_one(&self) -> InputRoom {
        let room = self.units.clone().acquire_many_owned(self.largest).await;
        InputRoom(room.expect("this semaphore is never closed"))
    }

    /// Makes it room for a whole claim, as far as there is memory now.
    pub(super) fn extend(&self, room: &mut InputRoom) {
        let wanted = ((LARGEST_IN_A_CLAIM - 1) * self.largest) as usize;
        let more = u32::try_from(self.units.available_permits().min(wanted)).expect("a part of the budget");
        // Nobody else takes any; should that change, the claim is smaller.
        if let Ok(more) = self.units.clone().try_acquire_many_owned(more) {
            room.0.merge(more);
        }
    }
}

impl InputRoom {
    /// How much there is.
    pub(super) fn bytes(&self) -> u64 {
        self.0.num_permits() as u64 * UNIT
    }

    /// Puts an input into this room: its part is free again when the last copy of the input is dropped.
    pub(super) fn hold(&mut self, input: Bytes) -> Bytes {
        if input.is_empty() {
            return input;
        }
        let units = input.len().div_ceil(UNIT as usize).min(self.0.num_permits());
        let held = self.0.split(units).expect("not more than there are");
        Bytes::from_owner(Held { input, _held: held })
    }
}

/// An input and its part of the budget.
struct Held {
    input: Bytes,
    _held: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.input
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn room_is_given_back_with_the_last_copy_of_an_input() {
        let memory = InputMemory::new(10 * UNIT);
        let mut held = Vec::new();
        for _ in 0..LARGEST_AT_ONCE {
            let mut room = memory.for_one().now_or_never().expect("there is memory");
            let input = room.hold(vec![7; 10 * UNIT as usize].into());
            assert!(input.iter().all(|byte| *byte == 7) && input.len() == 10 * UNIT as usize);
            held.push(input);
        }
        assert!(memory.for_one().now_or_never().is_none(), "the budget is spent");
        let copy = held[0].clone();
        held.remove(0);
        assert!(memory.for_one().now_or_never().is_none(), "a copy is the same memory");
        drop(copy);
        assert!(memory.for_one().now_or_never().is_some());
    }

    #[test]
    fn a_claim_has_room_for_many_small_inputs_and_gives_back_what_it_does_not_need() {
        let memory = InputMemory::new(10 * UNIT);
        let mut room = memory.for_one().now_or_never().expect("there is memory");
        memory.extend(&mut room);
        assert_eq!(room.bytes(), u64::from(LARGEST_IN_A_CLAIM) * 10 * UNIT);
        let _small: Vec<_> = (0..5).map(|_| room.hold(Bytes::from_static(b"x"))).collect();
        assert!(room.hold(Bytes::new()).is_empty());
        drop(room);
        assert_eq!(memory.units.available_permits(), LARGEST_AT_ONCE as usize * 10 - 5);
    }

    #[test]
    fn an_input_over_the_limit_takes_what_there_is() {
        let memory = InputMemory::new(UNIT);
        let mut room = memory.for_one().now_or_never().expect("there is memory");
        let _long = room.hold(vec![0; 5 * UNIT as usize].into());
        assert_eq!(room.bytes(), 0);
        assert_eq!(room.hold(Bytes::from_static(b"x")).len(), 1);
        let _enormous = InputMemory::new(u64::MAX);
    }
}
