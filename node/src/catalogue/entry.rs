//! Definitions as the store keeps them: with a revision each, and all of them as one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;

use super::function::Function;
use super::name::{FunctionName, QueueName, ScheduleName};
use super::queue::Queue;
use super::schedule::{Schedule, Times};
use crate::queue::Limits;

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

/// A queue and which edit of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its name.
    pub name: QueueName,
    /// As of [`FunctionEntry::revision`].
    pub revision: u64,
    /// Its share and its limit.
    pub definition: Arc<Queue>,
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
    /// While it is paused: when that ends by itself. While it is not: when the last pause ended by itself; due
    /// times from then on are owed, whenever somebody noticed.
    pub paused_until: Option<UnixMs>,
    /// When it is due, and what it runs.
    pub definition: Arc<Schedule>,
}

impl ScheduleEntry {
    /// The times at which it is due; `None` while it is paused, for then it owes nothing.
    #[must_use]
    pub fn owes(&self) -> Option<Times> {
        self.enabled.then(|| self.definition.times())
    }

    /// When its pause ends by itself.
    #[must_use]
    pub fn pause_ends(&self) -> Option<UnixMs> {
        self.paused_until.filter(|_| !self.enabled)
    }

    /// What a switch makes of it, but for its revisions; `None` when it stands so already.
    #[must_use]
    pub fn switched(&self, switch: Switch) -> Option<Self> {
        let (enabled, paused_until) = match switch {
            Switch::Pause { until } => (false, until),
            Switch::Resume => (true, None),
            Switch::EndPause { .. } if self.pause_ends().is_some() => (true, self.paused_until),
            Switch::EndPause { .. } => return None,
        };
        let stands_so = self.enabled == enabled && (enabled || self.paused_until == paused_until);
        (!stands_so).then(|| Self { enabled, paused_until, ..self.clone() })
    }
}

/// Whether a schedule is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Nothing fires until it is resumed, or until then. A pause takes the place of the one before it.
    Pause {
        /// By the clock of the queue's store.
        until: Option<UnixMs>,
    },
    /// It fires again; due times of the pause are owed to nobody.
    Resume,
    /// The time has come at which a pause ends by itself: due times from then on are owed.
    EndPause {
        /// That of the pause. Several nodes may try, and a person may have been faster.
        revision: u64,
    },
}

/// Everything that users have defined, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The last edit of anything.
    pub revision: u64,
    /// By name.
    pub functions: BTreeMap<FunctionName, FunctionEntry>,
    /// By name; those that have other than the usual numbers.
    pub queues: BTreeMap<QueueName, QueueEntry>,
    /// By name.
    pub schedules: BTreeMap<ScheduleName, ScheduleEntry>,
}

impl Catalogue {
    /// Whether tasks may wait in a queue of this name: it is the usual one, a function names it, or it is defined.
    #[must_use]
    pub fn has_queue(&self, name: &QueueName) -> bool {
        *name == QueueName::default()
            || self.queues.contains_key(name)
            || self.functions.values().any(|function| function.definition.queue == *name)
    }

    /// The weights of queues; those that are not named have the weight 1.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<QueueName, u32> {
        self.queues.values().map(|queue| (queue.name.clone(), queue.definition.weight)).collect()
    }

    /// Whether a task of this function in this queue has a place in the whole mesh that others may wait for.
    #[must_use]
    pub fn is_limited(&self, function: &FunctionName, queue: &QueueName) -> bool {
        self.functions.get(function).is_some_and(|of| of.definition.limit.is_some())
            || self.queues.get(queue).is_some_and(|of| of.definition.limit.is_some())
    }

    /// How many tasks may run in the whole mesh.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let functions = self.functions.values();
        let queues = self.queues.values();
        Limits {
            functions: functions.filter_map(|of| Some((of.name.clone(), of.definition.limit?))).collect(),
            queues: queues.filter_map(|of| Some((of.name.clone(), of.definition.limit?))).collect(),
        }
    }
}
