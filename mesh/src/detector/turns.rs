//! Who probes whom when: all go round in step.
//!
//! SWIM lets each node draw an order of its own (section 4.3). Then now and then nobody probes a member for four
//! periods, and most of the 99th percentile of the time to find a death is that wait. Here all nodes count the periods
//! since 1970 by their wall clocks, and in each period everybody probes the member that stands so many places after it
//! in the order of ids, as many as everybody else. So each member is probed by one other in each period, and each goes
//! through all others in a round; the order of the places is drawn anew for each round, and is the same everywhere.
//!
//! Clocks that differ, and views that differ, cost regularity and nothing else: each node still goes through all others,
//! and within a period or two it has its next turn, whatever its clock does.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::env::UnixMs;

/// The turns of one node. All in milliseconds, since 1970 where they are times.
#[derive(Debug)]
pub(super) struct Turns {
    period: u64,
    /// How long after the beginning of a period this node has its turn, or all would speak at the same moments.
    phase: u64,
}

impl Turns {
    /// `phase` is at most one period.
    pub(super) fn new(period: Duration, phase: Duration) -> Self {
        Self { period: millis(period).max(1), phase: millis(phase) }
    }

    /// The number of the turn that begins at about this time: the wall clock shows whole milliseconds, and a timer may
    /// come before the one it waits for.
    pub(super) fn number(&self, wall: UnixMs) -> u64 {
        (since_1970(wall) + self.period / 2).saturating_sub(self.phase) / self.period
    }

    /// How long it is until the turn begins that is `ahead` after [`Turns::number`]'s: from half a period less than
    /// that many to half a period more.
    pub(super) fn until(&self, wall: UnixMs, ahead: u32) -> Duration {
        let begins = (self.number(wall) + u64::from(ahead)) * self.period + self.phase;
        Duration::from_millis(begins.saturating_sub(since_1970(wall)))
    }
}

/// A clock that shows nonsense gives turns like any other: below 2^62, so that no sum runs over.
fn since_1970(wall: UnixMs) -> u64 {
    u64::try_from(wall.0).unwrap_or(0).min(1 << 62)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(320);

    #[test]
    fn turns_have_the_same_numbers_at_the_same_time_and_begin_one_period_after_the_other() {
        let turns = |phase| Turns::new(PERIOD, Duration::from_millis(phase));
        let at = UnixMs(1_000_000_000_000);
        for (early, late) in [(0, 70), (0, 320)] {
            assert_eq!(turns(early).number(at), turns(late).number(at.plus(Duration::from_millis(late))));
        }
        let turns = turns(70);
        let mut wall = at;
        for step in 0..1_000_i64 {
            let number = turns.number(wall);
            let wait = turns.until(wall, 1);
            assert!((PERIOD / 2..=PERIOD * 3 / 2).contains(&wait), "{wait:?}");
            // Timers come late, and a millisecond early.
            wall = UnixMs(wall.plus(wait).0 + step % 150 - 1);
            assert_eq!(turns.number(wall), number + 1);
        }
    }

    #[test]
    fn whatever_the_clock_shows_the_next_turn_comes() {
        for wall in [i64::MIN, -5, 0, 1 << 62, i64::MAX] {
            for phase in [0, 320] {
                let wait = Turns::new(PERIOD, Duration::from_millis(phase)).until(UnixMs(wall), 4);
                assert!((PERIOD * 7 / 2..=PERIOD * 5).contains(&wait), "{wait:?} at {wall}");
            }
        }
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
