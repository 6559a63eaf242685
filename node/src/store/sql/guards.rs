//! The checks in this store's statements on which promises rest, by name. Tests of this crate can open a store
//! without one of them: a story that stays green then proves nothing. Nothing else can.

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// A commit changes nothing when another one has moved the cursor that it was planned from.
    CursorCompare,
    /// A commit changes nothing after an edit.
    RevisionCompare,
    /// A paused or deleted schedule takes no commit.
    EnabledCheck,
    /// A due time that is to come by the store's clock is not committed.
    StoreClock,
    /// A completion counts only from the attempt that holds the lease.
    AttemptToken,
    /// A claim brings no second task that may be what takes nodes down.
    SuspectsApart,
    /// No more tasks of an order key run than may.
    OneOfAKey,
    /// Due times that an edit takes away are in the ledger.
    EditsLeaveLines,
}

/// The checks of one store: all of them, but for tests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guards {
    #[cfg(test)]
    removed: Option<Guard>,
}

#[cfg(not(test))]
impl Guards {
    pub(super) fn has(self, _: Guard) -> bool {
        true
    }
}

#[cfg(test)]
impl Guards {
    pub(super) fn without(guard: Guard) -> Self {
        Self { removed: Some(guard) }
    }

    pub(super) fn has(self, guard: Guard) -> bool {
        self.removed != Some(guard)
    }
}
