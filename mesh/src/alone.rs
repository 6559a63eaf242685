//! The guard of a node that is cut off alone: while nobody answers it, it keeps the ring of before for a while.
//!
//! The mass-death guard (`freeze.rs`) counts deaths, and such a node finds them too slowly for that: in bad
//! health it probes one member in 1.6 s, so of two hundred half are dead to it after minutes, and its keys would
//! move a hundred times. That nobody answers it knows within three seconds (some ten with the preset `wan`), before
//! the first verdict.
//!
//! Pure. Beside the roster, not in it: deaths are the members' affair, this is about the node itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;
use crate::ring::Ring;

/// A ring is kept for this long at most, as with the mass-death guard. Who is still gone then is gone.
const KEPT: Duration = Duration::from_secs(30);

/// When somebody answers again, those that seem dead are told within this and refute: after all were alone for five
/// minutes, fifty are one mesh again in less than 5 s (simulated).
const BACK: Duration = Duration::from_secs(5);

/// Of two members the other may as well be dead, and the keys must go somewhere.
const LEAST: usize = 3;

/// Whether this node keeps a ring because nobody answers it.
#[derive(Debug, Default)]
pub struct Alone {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    since: Instant,
    ring: Arc<Ring>,
    /// Somebody answers again, since then.
    answered: Option<Instant>,
    /// It was kept for long enough; nothing more is kept until somebody answers.
    is_over: bool,
    /// What [`Alone::ring`] made last. Asked with each view, it would build the same ring again and again.
    made: Option<Made>,
}

/// A ring of members that answer, and of some that are missing.
#[derive(Debug)]
struct Made {
    of: Arc<Ring>,
    missing: Vec<(NodeId, u32)>,
    ring: Arc<Ring>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on [`Alone::ring`] keeps what it is given at first.
    Kept,
    /// It does so no longer.
    Over,
}

impl Alone {
    /// `hears_nobody`: see [`Detector::hears_nobody`](crate::detector::Detector::hears_nobody); `ring` is that of
    /// the members that answer, or that this node has not given up yet. Answers what has changed.
    pub fn note(&mut self, now: Instant, hears_nobody: bool, ring: &Arc<Ring>) -> Option<Change> {
        let Some(kept) = &mut self.kept else {
            let is_kept = hears_nobody && ring.members().len() >= LEAST;
            self.kept = is_kept.then(|| Kept {
                since: now,
                ring: ring.clone(),
                answered: None,
                is_over: false,
                made: None,
            });
            return is_kept.then_some(Change::Kept);
        };
        let was_over = kept.is_over;
        kept.is_over |= now.saturating_duration_since(kept.since) >= KEPT;
        kept.answered = if hears_nobody { None } else { kept.answered.or(Some(now)) };
        let is_whole = || kept.ring.members().iter().all(|(id, _)| ring.contains(id));
        let is_back = kept.answered.is_some_and(|answered| {
            kept.is_over || now.saturating_duration_since(answered) >= BACK || is_whole()
        });
        let is_over = kept.is_over;
        if is_back {
            self.kept = None;
        }
        (!was_over && (is_over || is_back)).then_some(Change::Over)
    }

    /// Whether it has to be told that somebody answers.
    pub(crate) fn is_keeping(&self) -> bool {
        self.kept.is_some()
    }

    /// The ring to go by: the one that is kept, with whoever has come since and without those that `is_out` names
    /// ([`Member::is_out`](crate::member::Member::is_out)), or else `ring`.
    #[must_use]
    pub fn ring(&mut self, ring: &Arc<Ring>, is_out: impl Fn(&NodeId) -> bool) -> Arc<Ring> {
        let Some(kept) = self.kept.as_mut().filter(|kept| !kept.is_over) else { return ring.clone() };
        let gone = |id: &NodeId| !ring.contains(id) && !is_out(id);
        let missing: Vec<_> = kept.ring.members().iter().filter(|(id, _)| gone(id)).cloned().collect();
        if missing.is_empty() {
            return ring.clone();
        }
        let is_same = |made: &&Made| Arc::ptr_eq(&made.of, ring) && made.missing == missing;
        if let Some(made) = kept.made.as_ref().filter(is_same) {
            return made.ring.clone();
        }
        let all = missing.iter().chain(ring.members()).cloned();
        let made = Made { of: ring.clone(), ring: Arc::new(ring.with(all)), missing };
        kept.made.insert(made).ring.clone()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    fn ring(names: &str) -> Arc<Ring> {
        Arc::new(Ring::new(names.chars().map(|name| (name.to_string().parse().unwrap(), 1))))
    }

    fn kept(alone: &mut Alone, live: &str) -> String {
        let live = ring(live);
        let [ring, again] = [(); 2].map(|()| alone.ring(&live, |id| id.as_str() == "z"));
        assert!(Arc::ptr_eq(&ring, &again), "it is made once");
        ring.members().iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn whoever_hears_nobody_keeps_its_ring_until_it_has_heard_of_all_or_time_is_up() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut alone = Alone::default();
        assert_eq!(alone.note(now, false, &ring("abcz")), None);
        assert_eq!(kept(&mut alone, "a"), "a");
        assert_eq!(alone.note(now, true, &ring("abcz")), Some(Change::Kept));
        assert_eq!(alone.note(now + second, true, &ring("ac")), None);
        assert_eq!(kept(&mut alone, "ac"), "abc", "whoever says goodbye is gone");
        assert_eq!(kept(&mut alone, "acd"), "abcd", "a newcomer is in");
        assert_eq!(alone.note(now + 2 * second, false, &ring("ac")), None, "the others are asked now");
        assert_eq!(alone.note(now + 3 * second, true, &ring("ac")), None);
        assert_eq!(alone.note(now + 8 * second, false, &ring("ac")), None, "that did not last");
        assert_eq!(kept(&mut alone, "ac"), "abc");
        assert_eq!(alone.note(now + 9 * second, false, &ring("abcz")), Some(Change::Over));
        assert_eq!(kept(&mut alone, "a"), "a");

        assert_eq!(alone.note(now, true, &ring("abc")), Some(Change::Kept));
        assert_eq!(alone.note(now + second, false, &ring("a")), None);
        assert_eq!(alone.note(now + second + BACK, false, &ring("a")), Some(Change::Over), "they are dead");

        assert_eq!(alone.note(now, true, &ring("abc")), Some(Change::Kept));
        assert_eq!(alone.note(now + KEPT, true, &ring("a")), Some(Change::Over));
        assert_eq!(kept(&mut alone, "a"), "a");
        assert_eq!(alone.note(now + 2 * KEPT, true, &ring("abc")), None, "once for each silence");
        assert_eq!(alone.note(now + 2 * KEPT, false, &ring("abc")), None);
        assert_eq!(alone.note(now + 2 * KEPT, true, &ring("abc")), Some(Change::Kept));
    }

    #[test]
    fn of_two_the_other_may_be_dead() {
        assert_eq!(Alone::default().note(Instant::now(), true, &ring("ab")), None);
    }
}
