//! Definitions as the store keeps them: with a revision each, and all of them as one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::function::Function;
use super::name::{FunctionName, ScheduleName};
use super::schedule::{Schedule, Times};

/// A function and which edit of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionEntry {
    /// Its name.
    pub name: FunctionName,
    /// Grows with every edit of anything in the catalogue, so a name that was deleted and made anew
    /// never repeats a revision.
    pub revision: u64,
    /// How it is run.
    pub definition: Arc<Function>,
}

/// A schedule and which edit of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Its name.
    pub name: ScheduleName,
    /// As of [`FunctionEntry::revision`].
    pub revision: u64,
    /// The revision at which its due times last changed, or at which it was last resumed: due times
    /// before that moment are owed to nobody.
    pub times_revision: u64,
    /// False while it is paused.
    pub enabled: bool,
    /// When it is due, and what it runs.
    pub definition: Arc<Schedule>,
}

impl ScheduleEntry {
    /// The times at which it is due; `None` while it is paused, for then it owes nothing.
    #[must_use]
    pub fn owes(&self) -> Option<Times> {
        self.enabled.then(|| self.definition.times())
    }
}

/// Everything that users have defined, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The last edit of anything.
    pub revision: u64,
    /// By name.
    pub functions: BTreeMap<FunctionName, FunctionEntry>,
    /// By name.
    pub schedules: BTreeMap<ScheduleName, ScheduleEntry>,
}
