//! What each node holds of each member, beside what is true. Counted as it changes, so that asking costs nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use beatmesh_mesh::member::{Claim, Liveness};

/// What is true of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// In this life.
    Alive(u64),
    Gone,
}

/// What somebody holds; life 0 is that of the unknown.
#[derive(Clone, Copy)]
struct Held {
    life: u64,
    liveness: Liveness,
}

const UNKNOWN: Held = Held { life: 0, liveness: Liveness::Dead };

/// Somebody holds a member for silent or dead whose life goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    pub(super) member: usize,
    pub(super) life: u64,
    pub(super) incarnation: u64,
}

/// All views.
pub(super) struct Views {
    count: usize,
    held: Vec<Held>,
    truth: Vec<Truth>,
    /// Living observers that are wrong about a member.
    wrong_about: Vec<usize>,
    /// Members that an observer is wrong about.
    wrong_by: Vec<usize>,
    pub(super) changes: u64,
    /// Each counted once, however many hold it.
    pub(super) suspected: BTreeSet<Verdict>,
    pub(super) buried: BTreeSet<Verdict>,
    /// The first suspicion and the first death of somebody who is gone, since it went.
    pub(super) first_suspected: Option<Duration>,
    pub(super) first_dead: Option<Duration>,
}

impl Views {
    /// All are there in their first life, and know it.
    pub(super) fn acquainted(count: usize) -> Self {
        Self {
            count,
            held: vec![Held { life: 1, liveness: Liveness::Alive }; count * count],
            truth: vec![Truth::Alive(1); count],
            wrong_about: vec![0; count],
            wrong_by: vec![0; count],
            changes: 0,
            suspected: BTreeSet::new(),
            buried: BTreeSet::new(),
            first_suspected: None,
            first_dead: None,
        }
    }

    /// Living observers that do not hold the truth about a member.
    pub(super) fn wrong_about(&self, member: usize) -> usize {
        self.wrong_about[member]
    }

    /// Members about whom a living observer does not hold the truth.
    pub(super) fn wrong_by(&self, observer: usize) -> usize {
        self.wrong_by[observer]
    }

    /// Somebody who lives and suspects a member.
    pub(super) fn who_suspects(&self, member: usize) -> Option<usize> {
        (0..self.count).find(|observer| {
            let held = self.held[observer * self.count + member];
            *observer != member && self.truth[*observer] != Truth::Gone && held.liveness == Liveness::Suspect
        })
    }

    /// Whom an observer holds for one that owns keys, besides itself.
    pub(super) fn held_in(&self, observer: usize) -> impl Iterator<Item = usize> {
        let held = &self.held[observer * self.count..(observer + 1) * self.count];
        let others = held.iter().enumerate().filter(move |(member, _)| *member != observer);
        others.filter(|(_, held)| held.liveness.owns_keys()).map(|(member, _)| member)
    }

    /// Whether all who live hold the truth about all.
    pub(super) fn are_true(&self) -> bool {
        self.wrong_about.iter().all(|wrong| *wrong == 0)
    }

    pub(super) fn forget_verdicts(&mut self) {
        self.suspected.clear();
        self.buried.clear();
    }

    pub(super) fn now_is(&mut self, member: usize, truth: Truth) {
        self.truth[member] = truth;
        (self.first_suspected, self.first_dead) = (None, None);
        // Rare, so counting all of it anew is the simplest that is right.
        self.changes += 1;
        self.wrong_about.fill(0);
        self.wrong_by.fill(0);
        for observer in 0..self.count {
            for member in 0..self.count {
                if self.is_wrong(observer, member) {
                    self.wrong_about[member] += 1;
                    self.wrong_by[observer] += 1;
                }
            }
        }
    }

    /// A new life has forgotten what the one before knew.
    pub(super) fn knows_nobody(&mut self, observer: usize) {
        self.held[observer * self.count..(observer + 1) * self.count].fill(UNKNOWN);
    }

    pub(super) fn forgotten(&mut self, observer: usize, member: usize) {
        self.set(observer, member, UNKNOWN);
    }

    pub(super) fn changed(&mut self, now: Duration, observer: usize, member: usize, claim: Claim) {
        if observer == member {
            return;
        }
        let (life, liveness) = (claim.generation.0, claim.liveness);
        self.set(observer, member, Held { life, liveness });
        let verdict = || Verdict { member, life, incarnation: claim.incarnation.0 };
        match (self.truth[member], liveness) {
            (Truth::Alive(true_life), Liveness::Suspect) if true_life == life => {
                self.suspected.insert(verdict());
            }
            (Truth::Alive(true_life), Liveness::Dead) if true_life == life => {
                self.buried.insert(verdict());
            }
            (Truth::Gone, Liveness::Suspect) => drop(self.first_suspected.get_or_insert(now)),
            (Truth::Gone, Liveness::Dead) => drop(self.first_dead.get_or_insert(now)),
            _ => {}
        }
    }

    fn set(&mut self, observer: usize, member: usize, held: Held) {
        let before = self.is_wrong(observer, member);
        self.held[observer * self.count + member] = held;
        self.changes += 1;
        match (before, self.is_wrong(observer, member)) {
            (false, true) => {
                self.wrong_about[member] += 1;
                self.wrong_by[observer] += 1;
            }
            (true, false) => {
                self.wrong_about[member] -= 1;
                self.wrong_by[observer] -= 1;
            }
            _ => {}
        }
    }

    fn is_wrong(&self, observer: usize, member: usize) -> bool {
        if observer == member || self.truth[observer] == Truth::Gone {
            return false;
        }
        let Held { life, liveness } = self.held[observer * self.count + member];
        match self.truth[member] {
            Truth::Alive(true_life) => life != true_life || liveness != Liveness::Alive,
            Truth::Gone => liveness.owns_keys(),
        }
    }
}
