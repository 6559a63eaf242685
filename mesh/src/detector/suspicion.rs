//! How long a suspect has to refute: long on one member's word, shorter with each other member that found it
//! silent as well (Lifeguard, section IV-B).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;

/// A suspect that only one member complains of has so many times the least.
pub(super) const ALONE: u32 = 3;

/// Confirmations that make the time the least.
const WANTED: usize = 3;

/// A member under suspicion.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    began: Instant,
    least: Duration,
    /// How many confirmations there could be, [`WANTED`] at most.
    wanted: usize,
    accusers: BTreeSet<NodeId>,
    /// Somebody has given it up: by then this node does as well.
    hastened: Option<Instant>,
}

impl Suspicion {
    /// `others`: members that could confirm, besides the first accuser.
    pub(super) fn new(began: Instant, least: Duration, others: usize, accuser: NodeId) -> Self {
        Self { began, least, wanted: others.min(WANTED), accusers: [accuser].into(), hastened: None }
    }

    /// Somebody found it silent; answers whether that is news which others should hear.
    pub(super) fn confirm(&mut self, accuser: &NodeId) -> bool {
        self.accusers.len() <= self.wanted && self.accusers.insert(accuser.clone())
    }

    /// It has no longer than until then; answers whether it had.
    pub(super) fn hasten(&mut self, until: Instant) -> bool {
        let had = self.deadline();
        self.hastened = Some(self.hastened.map_or(until, |known| known.min(until)));
        self.deadline() < had
    }

    pub(super) fn accusers(&self) -> impl Iterator<Item = &NodeId> {
        self.accusers.iter()
    }

    /// When it counts as dead.
    pub(super) fn deadline(&self) -> Instant {
        let own = self.began + self.time();
        self.hastened.map_or(own, |hastened| own.min(hastened))
    }

    /// This node was not there to hear a refutation: the time begins anew.
    pub(super) fn begin_anew(&mut self, at: Instant) {
        (self.began, self.hastened) = (at, None);
    }

    fn time(&self) -> Duration {
        if self.wanted == 0 {
            return self.least;
        }
        let confirmed = (self.accusers.len() - 1) as f64;
        // Each further confirmation is worth less than the one before.
        let share = (confirmed + 1.0).ln() / (self.wanted as f64 + 1.0).ln();
        let most = self.least * ALONE;
        (most - (most - self.least).mul_f64(share.min(1.0))).max(self.least)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn each_further_accuser_shortens_the_time_down_to_the_least() {
        let (began, least) = (Instant::now(), Duration::from_millis(400));
        let mut suspicion = Suspicion::new(began, least, 9, node("a"));
        let mut times = vec![suspicion.deadline() - began];
        for accuser in ["b", "b", "a", "c", "d", "e"] {
            suspicion.confirm(&node(accuser));
            times.push(suspicion.deadline() - began);
        }
        let ms: Vec<_> = times.iter().map(Duration::as_millis).collect();
        assert_eq!(ms, [1200, 800, 800, 800, 566, 400, 400]);
    }

    #[test]
    fn the_verdict_of_another_leaves_no_more_than_a_moment() {
        let (began, least) = (Instant::now(), Duration::from_millis(400));
        let mut suspicion = Suspicion::new(began, least, 9, node("a"));
        let moment = began + Duration::from_millis(200);
        assert!(suspicion.hasten(moment) && !suspicion.hasten(began + least));
        assert_eq!(suspicion.deadline(), moment);
        suspicion.begin_anew(moment);
        assert_eq!(suspicion.deadline(), moment + 3 * least, "what was said while this node was away is old");
    }

    #[test]
    fn who_cannot_be_confirmed_has_the_least_at_once() {
        let (began, least) = (Instant::now(), Duration::from_millis(400));
        assert_eq!(Suspicion::new(began, least, 0, node("a")).deadline(), began + least);
        let mut pair = Suspicion::new(began, least, 1, node("a"));
        assert_eq!(pair.deadline(), began + 3 * least);
        assert!(pair.confirm(&node("b")) && !pair.confirm(&node("c")), "nobody else is needed");
        assert_eq!(pair.deadline(), began + least);
    }
}
