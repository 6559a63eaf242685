//! The mass-death guard: when more than half of the ring looks dead at once, the likelier fault is a switch or
//! this node's own line. The ring of before is kept for a while, so that keys do not move twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;

/// A ring is kept for this long at most. Who is still gone then is gone.
const KEPT: Duration = Duration::from_secs(30);

/// The members of a ring with their weights.
pub(crate) type RingMembers = BTreeMap<NodeId, u32>;

/// Decides which members the ring is made of.
#[derive(Debug)]
pub(crate) struct Freeze {
    /// Deaths within this happen at once.
    at_once: Duration,
    /// Who died lately, when, with its weight.
    deaths: VecDeque<(Instant, NodeId, u32)>,
    frozen: Option<Frozen>,
}

#[derive(Debug)]
struct Frozen {
    since: Instant,
    members: RingMembers,
}

impl Freeze {
    /// `at_once`: the longest time between two verdicts that have one cause; see
    /// [`Pace::at_once`](crate::detector::pace::Pace::at_once).
    pub(crate) fn new(at_once: Duration) -> Self {
        Self { at_once, deaths: VecDeque::new(), frozen: None }
    }

    /// A member of the ring died.
    pub(crate) fn died(&mut self, now: Instant, node: NodeId, weight: u32) {
        self.deaths.retain(|(_, known, _)| *known != node);
        self.deaths.push_back((now, node, weight));
    }

    /// It is not kept.
    fn left(&mut self, node: &NodeId) {
        self.deaths.retain(|(_, known, _)| known != node);
        if let Some(frozen) = &mut self.frozen {
            frozen.members.remove(node);
        }
    }

    /// These own no keys for a reason that is known ([`Member::is_out`](crate::member::Member::is_out)): they are not
    /// kept.
    pub(crate) fn are_out<'a>(&mut self, ids: impl Iterator<Item = &'a NodeId>) {
        if self.frozen.is_some() || !self.deaths.is_empty() {
            ids.for_each(|node| self.left(node));
        }
    }

    /// The members of the ring now, given those that answer.
    pub(crate) fn members(&mut self, now: Instant, live: RingMembers) -> RingMembers {
        let at_once = self.at_once;
        let is_old = |(died, ..): &(Instant, NodeId, u32)| now.saturating_duration_since(*died) > at_once;
        while self.deaths.front().is_some_and(is_old) {
            self.deaths.pop_front();
        }
        if let Some(frozen) = self.frozen.take_if(|frozen| frozen.is_over(now, &live))
            && frozen.is_old(now)
        {
            // Else the later ones of the same deaths would keep a ring once more.
            self.deaths.clear();
        }
        if self.frozen.is_none() {
            let lost = self.deaths.iter().filter(|(_, node, _)| !live.contains_key(node));
            let lost: RingMembers = lost.map(|(_, node, weight)| (node.clone(), *weight)).collect();
            if lost.len() > live.len() {
                let members = live.clone().into_iter().chain(lost).collect();
                self.frozen = Some(Frozen { since: now, members });
            }
        }
        match &self.frozen {
            // Newcomers are in at once: they take keys from nobody who answers more than they would anyway.
            Some(frozen) => frozen.members.clone().into_iter().chain(live).collect(),
            None => live,
        }
    }

    /// How many of the ring that is kept do not answer; `None` when none is kept.
    pub(crate) fn missing(&self, live: &RingMembers) -> Option<usize> {
        self.frozen.as_ref().map(|frozen| frozen.members.keys().filter(|id| !live.contains_key(*id)).count())
    }
}

impl Frozen {
    fn is_over(&self, now: Instant, live: &RingMembers) -> bool {
        let missing = self.members.keys().filter(|id| !live.contains_key(*id)).count();
        self.is_old(now) || missing * 2 <= self.members.len()
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEPT
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;
    use crate::detector::pace::Pace;

    const AT_ONCE: Duration = Pace::LAN.at_once;

    fn ids(names: &str) -> RingMembers {
        names.chars().map(|name| (name.to_string().parse().unwrap(), 1)).collect()
    }

    fn with_deaths(now: Instant, names: &str) -> Freeze {
        let mut freeze = Freeze::new(AT_ONCE);
        ids(names).into_keys().for_each(|node| freeze.died(now, node, 1));
        freeze
    }

    #[test]
    fn the_ring_is_kept_only_when_more_than_half_die_at_once() {
        let now = Instant::now();
        assert_eq!(with_deaths(now, "a").members(now, ids("b")), ids("b"), "half of two");
        assert_eq!(with_deaths(now, "ab").members(now, ids("c")), ids("abc"));
        assert_eq!(with_deaths(now, "ab").members(now, ids("cde")), ids("cde"));
        let later = now + AT_ONCE + Duration::from_millis(1);
        assert_eq!(with_deaths(now, "ab").members(later, ids("c")), ids("c"), "one after the other");
    }

    #[test]
    fn it_ends_after_a_while_or_when_they_are_back() {
        let now = Instant::now();
        let mut freeze = with_deaths(now, "abc");
        assert_eq!(freeze.members(now, ids("de")), ids("abcde"));
        assert_eq!(freeze.missing(&ids("de")), Some(3));
        assert_eq!(freeze.members(now + KEPT / 2, ids("def")), ids("abcdef"), "a newcomer is in");
        assert_eq!(freeze.members(now + KEPT, ids("de")), ids("de"));
        assert_eq!(freeze.missing(&ids("de")), None);
        let mut freeze = with_deaths(now, "abc");
        freeze.members(now, ids("de"));
        assert_eq!(freeze.members(now + AT_ONCE, ids("cde")), ids("cde"), "the greater part is back");
    }

    #[test]
    fn those_that_died_while_a_ring_was_kept_keep_no_other() {
        let now = Instant::now();
        let mut freeze = with_deaths(now, "abcdef");
        assert_eq!(freeze.members(now, ids("ghi")), ids("abcdefghi"));
        for node in ids("gh").into_keys() {
            freeze.died(now + KEPT - AT_ONCE / 2, node, 1);
        }
        assert_eq!(freeze.members(now + KEPT, ids("i")), ids("i"));
        assert_eq!(freeze.missing(&ids("i")), None);
    }

    #[test]
    fn whoever_left_is_not_kept() {
        let now = Instant::now();
        let mut freeze = with_deaths(now, "abc");
        freeze.members(now, ids("de"));
        freeze.left(&"a".parse().unwrap());
        assert_eq!(freeze.missing(&ids("de")), Some(2));
        assert_eq!(freeze.members(now, ids("de")), ids("de"), "two of four are not the greater part");
    }
}
