//! What is checked so that a promise holds, each check with a name under which a run can switch it off: a
//! property that stays green without its guard proves nothing.

use std::str::FromStr;

use beatmesh_mesh::MeshParts;
use beatmesh_mesh::detector::Parts;

/// The checks of one run: all of them, or all but one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    removed: Option<Guard>,
}

impl Guards {
    /// All of them but one.
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        Self { removed: Some(guard) }
    }

    /// Those that stand in the mesh itself.
    #[must_use]
    pub fn mesh(self) -> MeshParts {
        MeshParts {
            detector: Parts {
                pause_guard: self.has(Guard::PauseGuard),
                refutation: self.has(Guard::Refutation),
                // Here others stand in for these, as they should: a refutation for the first, gossip and
                // discovery for the second. That they are missed where they are alone, `membership --teeth`
                // shows.
                indirect_probes: true,
                probes_of_the_dead: true,
                // Here nobody has too little time.
                lateness: true,
            },
            mass_death_guard: self.has(Guard::MassDeathGuard),
            seed_identity: self.has(Guard::SeedIdentity),
            // Another mesh has another store as well, so without its name alone nothing would be missed.
            store_identity: self.has(Guard::StoreIdentity) && self.has(Guard::SeedIdentity),
            later_facts: self.has(Guard::LaterFactsKept),
            twin_refused: self.has(Guard::TwinRefused),
            ..MeshParts::default()
        }
    }

    /// Whether a check is made.
    #[must_use]
    pub fn has(self, guard: Guard) -> bool {
        self.removed != Some(guard)
    }
}

/// One guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A commit names the cursor that it was planned from, and changes nothing when another commit moved
    /// it. Together with the ledger's unique key, which would refuse the same due time as well.
    CursorCompare,
    /// A commit names the revision that it was planned from, and changes nothing after an edit.
    RevisionCompare,
    /// A schedule that is paused or deleted takes no commit. The revision says so as well, so a store that
    /// overlooks a pause overlooks its revision here.
    EnabledCheck,
    /// A store that forgot gives no revision away again that nodes know with other definitions.
    RevisionsUnique,
    /// A due time that the store's clock has not reached is not committed, whatever the node's clock says.
    StoreClock,
    /// An edit that takes due times away which had passed undecided says so in the ledger.
    EditsLeaveLines,
    /// A completion counts only from the attempt that holds the lease.
    AttemptToken,
    /// A worker holds one suspect at a time, so that a task that takes nodes down spends no other task's
    /// leases.
    SuspectsApart,
    /// No more tasks of an order key run than may.
    OneOfAKey,
    /// A generation is on the disk before the node says a word.
    GenerationPersisted,
    /// A node that learns that a later generation of it was seen keeps that for its next start.
    GenerationOutgrown,
    /// A node that was stopped judges nobody by what it held against others before.
    PauseGuard,
    /// A member that is suspected or held for dead says that it lives.
    Refutation,
    /// When more than half of the ring looks dead at once, it is kept for a while.
    MassDeathGuard,
    /// Whoever is of another mesh, or has another store, is refused, wherever its address stood.
    SeedIdentity,
    /// A node that has another store is refused: each would fire everything.
    StoreIdentity,
    /// What a node of a later version says of itself is kept, whatever it means.
    LaterFactsKept,
    /// Of two processes of one node and generation one is refused.
    TwinRefused,
}

impl Guard {
    /// All guards.
    pub const ALL: [Self; 18] = [
        Self::CursorCompare,
        Self::RevisionCompare,
        Self::EnabledCheck,
        Self::RevisionsUnique,
        Self::StoreClock,
        Self::EditsLeaveLines,
        Self::AttemptToken,
        Self::SuspectsApart,
        Self::OneOfAKey,
        Self::GenerationPersisted,
        Self::GenerationOutgrown,
        Self::PauseGuard,
        Self::Refutation,
        Self::MassDeathGuard,
        Self::SeedIdentity,
        Self::StoreIdentity,
        Self::LaterFactsKept,
        Self::TwinRefused,
    ];

    /// Those that are lines of the scripts of the queue in a Redis, marked with `--guard NAME`.
    pub const OF_SCRIPTS: [Self; 7] = [
        Self::CursorCompare,
        Self::RevisionCompare,
        Self::EnabledCheck,
        Self::StoreClock,
        Self::AttemptToken,
        Self::SuspectsApart,
        Self::OneOfAKey,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CursorCompare => "cursor_compare",
            Self::RevisionCompare => "revision_compare",
            Self::EnabledCheck => "enabled_check",
            Self::RevisionsUnique => "revisions_unique",
            Self::StoreClock => "store_clock",
            Self::EditsLeaveLines => "edits_leave_lines",
            Self::AttemptToken => "attempt_token",
            Self::SuspectsApart => "suspects_apart",
            Self::OneOfAKey => "one_of_a_key",
            Self::GenerationPersisted => "generation_persisted",
            Self::GenerationOutgrown => "generation_outgrown",
            Self::PauseGuard => "pause_guard",
            Self::Refutation => "refutation",
            Self::MassDeathGuard => "mass_death_guard",
            Self::SeedIdentity => "seed_identity",
            Self::StoreIdentity => "store_identity",
            Self::LaterFactsKept => "later_facts_kept",
            Self::TwinRefused => "twin_refused",
        }
    }

    /// What happens without it, in one sentence.
    #[must_use]
    pub fn story(self) -> &'static str {
        match self {
            Self::CursorCompare => "without: a commit does not compare the cursor it was planned from",
            Self::RevisionCompare => "without: a commit does not compare the revision it was planned from",
            Self::EnabledCheck => "without: a paused or deleted schedule takes commits",
            Self::RevisionsUnique => {
                "without: a store that forgot counts revisions on from what it remembers"
            }
            Self::StoreClock => "without: the store takes commits of due times that are to come",
            Self::EditsLeaveLines => "without: due times that an edit takes away vanish",
            Self::AttemptToken => "without: a completion counts whoever holds the lease",
            Self::SuspectsApart => {
                "without: a worker takes any number of tasks that lost most of their leases"
            }
            Self::OneOfAKey => "without: tasks of one order key do not wait for each other",
            Self::GenerationPersisted => "without: a restarted node knows nothing of its last generation",
            Self::GenerationOutgrown => "without: a node forgets that a later generation of it was seen",
            Self::PauseGuard => "without: a node that was stopped goes on with what it held against others",
            Self::Refutation => "without: whoever is suspected does not answer that",
            Self::MassDeathGuard => "without: the ring follows however many seem to die at once",
            Self::SeedIdentity => "without: whoever answers at an address of the node table is a member",
            Self::StoreIdentity => "without: a node with a store of its own is a member",
            Self::LaterFactsKept => {
                "without: of other nodes only such facts are kept as a node states itself"
            }
            Self::TwinRefused => "without: any process of a node's generation is let in",
        }
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let nearness = |guard: &Self| (strsim::jaro(guard.as_str(), text) * 1e6) as u64;
        let nearest = || Self::ALL.into_iter().max_by_key(nearness).expect("there is a guard").as_str();
        let known = Self::ALL.into_iter().find(|guard| guard.as_str() == text);
        known.ok_or_else(|| format!("there is no guard `{text}`; did you mean `{}`?", nearest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_goes_by_its_name_and_a_wrong_one_is_answered_with_the_nearest() {
        for guard in Guard::ALL {
            assert_eq!(guard.as_str().parse(), Ok(guard));
            assert!(Guards::default().has(guard) && !Guards::without(guard).has(guard));
        }
        let wrong = "cursor".parse::<Guard>().unwrap_err();
        assert!(wrong.contains("did you mean `cursor_compare`?"), "{wrong}");
    }
}
