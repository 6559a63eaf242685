//! When gossip speaks: chitchat's own pace is fixed at its start, so what it begins is let out or not.

use std::time::Duration;

use tokio::time::Instant;

use super::ROUND;
use crate::keeper::ALL_LINKED;

/// Each round states all members, so its bytes grow with them (measured: 18 KiB per node, round and 50 members).
/// Above this rounds become rarer by as much, so that the bytes do not grow.
const QUICK_MEMBERS: u32 = 100;

/// chitchat speaks to three in each round. Where all are linked and told directly, one is enough of a repair.
const TOLD_WHERE_ALL_ARE_LINKED: u32 = 1;

/// A round's messages leave within this; what comes later is the next round's.
const BURST: Duration = Duration::from_millis(200);

/// Members that are spoken to out of turn within a round. Facts come with the hello, so one exchange is as good as
/// another to bring two parts of a mesh together. Each states all members: with one for each new link, a quarter
/// of the work of a start among two hundred was gossip (measured).
const INTRODUCED: u32 = 8;

/// Which of chitchat's messages that begin an exchange go out: its own pace is fixed at its start.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// When the last round began that went out.
    last: Option<Instant>,
    /// How many messages of it have gone out.
    told: u32,
}

impl Rounds {
    /// Whether the next message is to go out.
    pub(super) fn goes_out(&mut self, now: Instant, members: u32) -> bool {
        let pause = ROUND * members.max(QUICK_MEMBERS) / QUICK_MEMBERS;
        let since = self.last.map(|last| now.saturating_duration_since(last));
        if since.is_none_or(|since| since + BURST >= pause) {
            (self.last, self.told) = (Some(now), 0);
        } else if since.is_some_and(|since| since >= BURST) {
            return false;
        }
        self.told += 1;
        members > ALL_LINKED as u32 || self.told <= TOLD_WHERE_ALL_ARE_LINKED
    }
}

/// Who is spoken to out of turn, because a link to it has come up.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    since: Option<Instant>,
    told: u32,
}

impl Introductions {
    /// Whether one more is to be spoken to now. Whoever is not is heard of through the others.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= ROUND) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told += 1;
        self.told <= INTRODUCED
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    #[test]
    fn the_more_members_the_rarer_the_rounds_and_where_all_are_linked_one_message_is_enough() {
        let began = Instant::now();
        // In twenty minutes, with three messages in each of chitchat's rounds, some milliseconds apart.
        let sent = |members| {
            let mut rounds = Rounds::default();
            let at = |round, message| began + ROUND * round + Duration::from_millis(20) * message;
            let each = (0..600)
                .map(|round| (0..3).filter(|message| rounds.goes_out(at(round, *message), members)).count());
            let each: Vec<_> = each.filter(|messages| *messages > 0).collect();
            assert!(each.iter().all(|messages| *messages == each[0]), "{members}: {each:?}");
            (each.len(), each[0])
        };
        let all = [1, 64, 65, 100, 200, 1_000].map(sent);
        assert_eq!(all, [(600, 1), (600, 1), (600, 3), (600, 3), (300, 3), (60, 3)]);
    }

    #[test]
    fn some_are_introduced_at_once_and_the_others_wait_for_their_round() {
        let (began, mut introductions) = (Instant::now(), Introductions::default());
        let mut told = |at| (0..100).filter(|_| introductions.take(began + at)).count();
        let at = [Duration::ZERO, ROUND / 2, ROUND, ROUND * 5].map(&mut told);
        assert_eq!(at, [INTRODUCED as usize, 0, INTRODUCED as usize, INTRODUCED as usize]);
    }
}
