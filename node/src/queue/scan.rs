//! What a store finds when it looks through all that it holds, piece by piece: tasks that are in no place or in two.
//!
//! A store's own steps leave nothing of the kind behind. A failover that kept half of a change, a person with a
//! database shell or a bug may, and then nobody would run the task, or its schedule would wait for it for ever.

/// Where a scan stands. Only its store knows what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCursor {
    /// How far the scan has come.
    pub at: String,
    /// Large places on its way that it has not walked to their end: the name, and how far.
    pub rest: Vec<(String, String)>,
}

/// What one piece of a scan brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Where to go on; `None` when everything was looked at.
    pub next: Option<ScanCursor>,
    /// What was wrong, and is not any more.
    pub repaired: Vec<Repair>,
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What was done about it.
    pub kind: RepairKind,
    /// For people: the task's id and the place, or the count and its values.
    pub what: String,
}

/// What was done about something that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepairKind {
    /// A task was missing where its state says that it stands, and stands there now.
    Placed,
    /// A place named a task that is elsewhere, or gone.
    Displaced,
    /// A count was not that of the tasks.
    Counted,
    /// It was none of ours, or cannot be read; it is out of everybody's way.
    SetAside,
}

impl RepairKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Placed, Self::Displaced, Self::Counted, Self::SetAside];

    /// The name in metrics, logs and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Displaced => "displaced",
            Self::Counted => "counted",
            Self::SetAside => "set_aside",
        }
    }
}
