//! News on its way: each piece travels with a bounded number of messages, the least told first (SWIM,
//! section 4.1, dissemination by piggybacking).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::message::{ROOM, Rumour};
use crate::id::NodeId;
use crate::member::Liveness;

/// Each node passes a piece on this often, and [`MORE_TELLINGS`] more often for each tenfold of the members.
///
/// Told to f members by chance by everybody who knows it, a piece misses each member with e^-f. So that at 5 %
/// loss one piece in ten thousand misses anybody among N, f is (ln N + 9.2) / 0.95. With fewer (four for each
/// tenfold) one departure in five did not reach all of ten members, and was found by probing seconds later.
const TELLINGS: u32 = 10;
const MORE_TELLINGS: f64 = 3.0;

/// What a piece is about: a newer one replaces the older.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Member(NodeId),
    Topic(u16),
}

#[derive(Debug)]
struct Piece {
    rumour: Rumour,
    told: u32,
    /// When it came in: of equally often told pieces the newest goes first.
    order: u64,
}

/// The pieces that still travel. Bounded by what they are about: members and topics.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    pieces: BTreeMap<About, Piece>,
    by_told: BTreeSet<(u32, Reverse<u64>, About)>,
    came: u64,
    /// How many are urgent.
    urgent: usize,
}

fn about(rumour: &Rumour) -> About {
    match rumour {
        Rumour::Member(claim) => About::Member(claim.node.clone()),
        Rumour::Topic { topic, .. } => About::Topic(*topic),
    }
}

/// Who left takes no more work, and what the product spreads is waited for: everybody is to know at once, and
/// neither happens often. Suspicions and refutations have their time limits instead; at 5 % loss they grow with
/// the mesh, so they ride along.
fn is_urgent(rumour: &Rumour) -> bool {
    match rumour {
        Rumour::Member(said) => said.claim.liveness == Liveness::Left,
        Rumour::Topic { .. } => true,
    }
}

impl Rumours {
    /// A new piece; what travelled about the same is outdated.
    pub(super) fn put(&mut self, rumour: Rumour) {
        let about = about(&rumour);
        self.came += 1;
        self.urgent += usize::from(is_urgent(&rumour));
        let piece = Piece { rumour, told: 0, order: self.came };
        self.by_told.insert((0, Reverse(piece.order), about.clone()));
        if let Some(old) = self.pieces.insert(about.clone(), piece) {
            self.urgent -= usize::from(is_urgent(&old.rumour));
            self.by_told.remove(&(old.told, Reverse(old.order), about));
        }
    }

    /// Whether a piece was not told to anybody yet, or must not wait for messages that it could ride on.
    pub(super) fn is_pressing(&self) -> bool {
        self.urgent > 0 || self.by_told.first().is_some_and(|(told, ..)| *told == 0)
    }

    /// The pieces for one message to `to` that has `room` left, and counts them as told to `hearers`.
    pub(super) fn take(
        &mut self,
        to: Option<&NodeId>,
        mut room: usize,
        hearers: u32,
        members: usize,
    ) -> Vec<Rumour> {
        let mut taken = Vec::new();
        let limit = TELLINGS + (MORE_TELLINGS * (members as f64 + 1.0).log10()).ceil() as u32;
        for (told, order, about) in &self.by_told {
            let piece = &self.pieces[about];
            // Nobody needs to hear what it is itself; what is said against it goes first, elsewhere.
            if matches!((about, to), (About::Member(node), Some(to)) if node == to) {
                continue;
            }
            let needs = piece.rumour.room();
            if needs > room {
                break;
            }
            room -= needs;
            taken.push((*told, *order, about.clone()));
        }
        let mut rumours = Vec::with_capacity(taken.len());
        for key in taken {
            self.by_told.remove(&key);
            let (_, order, about) = key;
            let Some(piece) = self.pieces.get_mut(&about) else { continue };
            piece.told += hearers;
            rumours.push(piece.rumour.clone());
            if piece.told >= limit {
                self.urgent -= usize::from(is_urgent(&piece.rumour));
                self.pieces.remove(&about);
            } else {
                self.by_told.insert((piece.told, order, about));
            }
        }
        rumours
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }
}

const _: () =
    assert!(ROOM >= 4 * (64 + 2 * crate::id::LONGEST_LABEL), "several pieces fit whatever their names");

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(topic: u16, value: u64) -> Rumour {
        Rumour::Topic { topic, value }
    }

    #[test]
    fn the_least_told_goes_first_and_each_is_told_a_bounded_number_of_times() {
        let mut rumours = Rumours::default();
        (0..200).for_each(|n| rumours.put(topic(n, 1)));
        let first = rumours.take(None, ROOM, 1, 9);
        assert!(first.len() < 200 && first.iter().map(Rumour::room).sum::<usize>() <= ROOM);
        let second = rumours.take(None, ROOM, 1, 9);
        assert!(second.iter().all(|rumour| !first.contains(rumour)), "others have not been told at all");
        let mut tellings = first.len() + second.len();
        while rumours.len() > 0 {
            tellings += rumours.take(None, ROOM, 1, 9).len();
        }
        assert_eq!(tellings, 200 * 13);
    }

    #[test]
    fn a_newer_piece_replaces_the_older_one() {
        let mut rumours = Rumours::default();
        rumours.put(topic(1, 1));
        rumours.take(None, ROOM, 3, 9);
        rumours.put(topic(1, 2));
        assert_eq!(rumours.take(None, ROOM, 1, 9), [topic(1, 2)]);
        assert_eq!(rumours.len(), 1);
    }

    #[test]
    fn what_is_urgent_waits_for_no_ride_and_the_rest_does() {
        let said = |liveness| {
            let (generation, incarnation) = (crate::id::Generation(1), crate::id::Incarnation(0));
            let claim = crate::member::Claim { generation, incarnation, liveness };
            let addr = "127.0.0.1:1".parse().unwrap();
            Rumour::Member(super::super::message::MemberClaim {
                node: "a".parse().unwrap(),
                claim,
                addr,
                by: "b".parse().unwrap(),
            })
        };
        for (rumour, is_urgent) in
            [(said(Liveness::Suspect), false), (said(Liveness::Left), true), (topic(1, 1), true)]
        {
            let mut rumours = Rumours::default();
            rumours.put(rumour);
            assert!(rumours.is_pressing());
            rumours.take(None, ROOM, 3, 9);
            assert_eq!(rumours.is_pressing(), is_urgent);
            while rumours.len() > 0 {
                rumours.take(None, ROOM, 3, 9);
            }
            assert!(!rumours.is_pressing());
        }
    }
}
