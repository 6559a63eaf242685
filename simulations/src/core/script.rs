//! What goes wrong in a core run, drawn from its seed, and how long everything takes.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// A change that the script wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whoever truly is the Beat dies, to return later.
    BeatDies,
    /// Any other member dies, to return later.
    MemberDies,
    /// A node that was never there joins.
    Joins,
    /// Some members hold the living Beat for dead, until it refutes.
    BeatDoubted,
}

/// The membership stands still for this long before the end: the slowest stand-in, the slowest notice, a
/// lease and the slowest answers pass.
pub(super) const QUIET: Duration = Duration::from_secs(24);

/// What was due by then, counted back from the end, must be decided.
pub(super) const SETTLED: Duration = Duration::from_secs(14);

/// Everybody has looked around by then.
const WARM: Duration = Duration::from_secs(3);

/// How often each happens.
const EVERY: [(Turn, f64); 4] =
    [(Turn::BeatDies, 6.0), (Turn::MemberDies, 12.0), (Turn::Joins, 12.0), (Turn::BeatDoubted, 8.0)];

/// When what happens.
pub(super) fn turns(dice: &mut StdRng, length: Duration) -> Vec<(Duration, Turn)> {
    let (from, until) = (WARM.as_micros() as u64, length.saturating_sub(QUIET).as_micros() as u64);
    let span = Duration::from_micros(until.saturating_sub(from)).as_secs_f64();
    let mut turns = Vec::new();
    for (turn, every) in EVERY {
        for _ in 0..(span / every).ceil() as usize {
            turns.push((Duration::from_micros(dice.random_range(from..until.max(from + 1))), turn));
        }
    }
    turns
}

/// Whether a request meets trouble, in one of so many.
pub(super) fn one_in(dice: &mut StdRng, many: u32) -> bool {
    dice.random_range(0..many) == 0
}

fn between(dice: &mut StdRng, from_ms: u64, until_ms: u64) -> Duration {
    Duration::from_micros(dice.random_range(from_ms * 1_000..until_ms * 1_000))
}

/// One way to the store or back: a data centre, and one in a hundred far slower, so that a stand-in is
/// faster than the Beat.
pub(super) fn way(dice: &mut StdRng) -> Duration {
    if one_in(dice, 100) { between(dice, 100, 3_000) } else { between(dice, 1, 8) }
}

/// Until an observer notices a death. Promise L3: p50 <= 1 s, p99 <= 2 s; a few are slower here. What
/// the failure detector takes is measured in `membership`.
pub(super) fn death_noticed(dice: &mut StdRng) -> Duration {
    if one_in(dice, 50) { between(dice, 2_000, 6_000) } else { between(dice, 300, 1_700) }
}

/// Until an observer notices a start or a refutation: gossip.
pub(super) fn life_noticed(dice: &mut StdRng) -> Duration {
    if one_in(dice, 50) { between(dice, 1_000, 4_000) } else { between(dice, 5, 600) }
}

/// Until a dead node starts again.
pub(super) fn away(dice: &mut StdRng) -> Duration {
    between(dice, 1_000, 9_000)
}

/// Until a doubted node refutes.
pub(super) fn doubted(dice: &mut StdRng) -> Duration {
    between(dice, 500, 3_000)
}

/// How long a function runs; one in fifty outlives its lease.
pub(super) fn execution(dice: &mut StdRng) -> Duration {
    if one_in(dice, 50) { between(dice, 4_000, 8_000) } else { between(dice, 10, 400) }
}
