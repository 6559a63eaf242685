//! Many trials on all cores: each on threads of its own, so many at once, their results in order.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::mpsc;

use parking_lot::Mutex;

/// Plays `trial` for each of `plays`, `at_once` of them at a time, and hands the results to `each` in the
/// order of `plays`. After `each` says break, trials that have begun come to their end and are dropped.
pub fn play<P, T>(
    plays: impl Iterator<Item = P> + Send,
    at_once: NonZeroUsize,
    trial: impl Fn(&P) -> T + Sync,
    mut each: impl FnMut(P, T) -> ControlFlow<()>,
) where
    P: Send,
    T: Send,
{
    let plays = Mutex::new(plays.enumerate());
    let take = || plays.lock().next();
    // Whoever is done while nobody takes its result waits before it begins another trial.
    let (done, results) = mpsc::sync_channel(at_once.get());
    std::thread::scope(|scope| {
        for _ in 0..at_once.get() {
            let (done, take, trial) = (done.clone(), &take, &trial);
            scope.spawn(move || {
                while let Some((number, play)) = take() {
                    let result = trial(&play);
                    if done.send((number, play, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, play, result) in results {
            early.insert(number, (play, result));
            while let Some((play, result)) = early.remove(&next) {
                next += 1;
                if each(play, result).is_break() {
                    return;
                }
            }
        }
    });
}

/// One trial at a time for each core: a trial is one busy thread.
#[must_use]
pub fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    #[test]
    fn results_come_in_order_whoever_is_done_first() {
        // The first trial ends after the second one has.
        let second_done = std::sync::Barrier::new(2);
        let trial = |play: &u64| {
            if *play < 2 {
                second_done.wait();
            }
            play * 10
        };
        let mut seen = Vec::new();
        play(0..50, THREE, trial, |play, result| {
            seen.push((play, result));
            ControlFlow::Continue(())
        });
        assert_eq!(seen, (0..50).map(|play| (play, play * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn a_break_ends_plays_that_have_no_end() {
        let mut count = 0;
        play(
            0_u64..,
            THREE,
            |play| *play,
            |_, _| {
                count += 1;
                if count == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(count, 7);
    }
}
