//! Who probes whom when: all go round in step.
//!
//! SWIM lets each node draw an order of its own (section 4.3). Then now and then nobody probes a member for four
//! periods, and most of the 99th percentile of the time to find a death is that wait. Here all nodes count the periods
//! since 1970 by their wall clocks, and in each period everybody probes the member that stands so many places after it
//! in the order of ids, as many as everybody else. So each member is probed by one other in each period, and each goes
//! through all others in a round; the order of the places is drawn anew for each round, and is the same everywhere.
//!
//! Clocks that differ, and views that differ, cost regularity and nothing else: each node still goes through all others.

use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::env::UnixMs;

/// The turns of one node.
#[derive(Debug)]
pub(super) struct Turns {
    begun: Instant,
    /// What the wall clock showed then. It counts on by the monotonic clock: setting the wall clock changes nothing.
    wall: Duration,
    period: Duration,
    /// How long after the beginning of a period this node has its turn, or all would speak at the same moments.
    phase: Duration,
}

impl Turns {
    pub(super) fn new(now: Instant, wall: UnixMs, period: Duration, phase: Duration) -> Self {
        let wall = Duration::from_millis(u64::try_from(wall.0).unwrap_or(0));
        Self { begun: now, wall, period, phase }
    }

    /// The number of the turn that began last.
    pub(super) fn number(&self, now: Instant) -> u64 {
        let since = self.wall + now.saturating_duration_since(self.begun);
        nanos(since.saturating_sub(self.phase)) / nanos(self.period)
    }

    /// When a turn begins.
    pub(super) fn begins(&self, number: u64) -> Instant {
        let at = Duration::from_nanos(number.saturating_mul(nanos(self.period))) + self.phase;
        self.begun + at.saturating_sub(self.wall)
    }
}

/// Sixty-four bits of them last for 584 years.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// How many places after itself everybody looks in this turn, of `members` at least two: from 1 to `members - 1`, each
/// once in a round of as many turns.
pub(super) fn places(turn: u64, members: usize) -> usize {
    let others = members.saturating_sub(1).max(1) as u64;
    let (round, step) = (turn / others, turn % others);
    let drawn = xxh3_64(&round.to_le_bytes());
    let (start, mut stride) = (drawn % others, 1 + (drawn >> 32) % others);
    // Only a stride without a common divisor comes by all of them.
    while gcd(stride, others) != 1 {
        stride = stride % others + 1;
    }
    1 + ((start + stride * step) % others) as usize
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_have_the_same_numbers_at_the_same_time_and_begin_when_their_number_changes() {
        let (now, period) = (Instant::now(), Duration::from_millis(220));
        let at = |wall: i64, phase: u64| Turns::new(now, UnixMs(wall), period, Duration::from_millis(phase));
        let (early, late) = (at(1_000_000_000_000, 0), at(1_000_000_050_000, 0));
        let later = now + Duration::from_secs(60);
        assert_eq!(early.number(later), late.number(later - Duration::from_secs(50)));
        let turns = at(1_000_000_000_000, 70);
        let number = turns.number(now);
        for step in 1..1_000 {
            let begins = turns.begins(number + step);
            assert_eq!(turns.number(begins), number + step);
            assert_eq!(turns.number(begins - Duration::from_nanos(1)), number + step - 1);
        }
        assert_eq!(turns.begins(0), now, "what is past begins at once");
        assert_eq!(at(-5, 0).number(now), 0, "a clock before 1970");
    }

    proptest! {
        #[test]
        fn in_a_round_everybody_probes_each_other_once_and_in_a_turn_each_is_probed_once(
            round in 0..1_u64 << 40,
            members in 2..200_usize,
        ) {
            let others = members as u64 - 1;
            let round: Vec<usize> = (0..others).map(|step| places(round * others + step, members)).collect();
            prop_assert_eq!(round.iter().copied().collect::<BTreeSet<_>>().len(), members - 1);
            for places in round {
                prop_assert!((1..members).contains(&places), "itself");
                let probed: BTreeSet<_> = (0..members).map(|rank| (rank + places) % members).collect();
                prop_assert_eq!(probed.len(), members);
            }
        }
    }
}
