//! One schedule inside a plan: its definition, and what the node knows of where it stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;

use super::CommitId;
use crate::beat::jitter::Moments;
use crate::beat::timetable::Timetable;
use crate::catalogue::name::{QueueName, ScheduleName};
use crate::catalogue::schedule::Schedule;
use crate::queue::order::Order;
use crate::queue::tick::{ScheduleState, TickCommit, TickDecision};

/// What a firing takes from the function's definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiringSpec {
    /// Where the task waits.
    pub queue: QueueName,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// How many tasks of one order key run at once.
    pub per_order_key: u32,
}

/// A schedule as the catalogue defines it, ready to be planned. Immutable and shared: build it once
/// per revision, hand it to the plan with every change of the catalogue.
#[derive(Clone, Debug)]
pub struct PlannedSchedule {
    /// Its name.
    pub name: ScheduleName,
    /// Names the definition: another definition has another revision.
    pub revision: u64,
    /// The definition.
    pub schedule: Arc<Schedule>,
    /// Its due times.
    pub timetable: Arc<Timetable>,
    /// What comes from the function.
    pub firing: FiringSpec,
    /// The input as bytes, encoded once.
    input: Bytes,
}

impl PlannedSchedule {
    /// Puts the parts together; `timetable` must be that of the schedule's cron text and time zone.
    #[must_use]
    pub fn new(
        name: ScheduleName,
        revision: u64,
        schedule: Arc<Schedule>,
        timetable: Arc<Timetable>,
        firing: FiringSpec,
    ) -> Self {
        let input = schedule.input.as_ref().map_or_else(Bytes::new, |input| input.to_string().into());
        Self { name, revision, schedule, timetable, firing, input }
    }

    /// When its due times are fired.
    #[must_use]
    pub fn moments(&self) -> Moments<'_> {
        Moments { schedule: &self.name, timetable: &self.timetable, jitter: self.schedule.jitter.0 }
    }

    fn order(&self) -> Option<Order> {
        self.schedule.order_key.clone().map(|key| Order::new(key, self.firing.per_order_key))
    }

    /// The commit of these decisions.
    pub(super) fn commit(&self, cursor: UnixMs, decisions: Vec<TickDecision>, node: String) -> TickCommit {
        TickCommit {
            schedule: self.name.clone(),
            revision: self.revision,
            expected_cursor: cursor,
            decisions,
            function: self.schedule.function.clone(),
            queue: self.firing.queue.clone(),
            input: self.input.clone(),
            retries: self.firing.retries,
            overlap: self.schedule.overlap,
            order: self.order(),
            node,
        }
    }
}

/// Two are equal when they define the same; the timetable follows from the definition.
impl PartialEq for PlannedSchedule {
    fn eq(&self, other: &Self) -> bool {
        let key = |this: &Self| (this.name.clone(), this.revision, this.firing.clone());
        key(self) == key(other) && self.schedule == other.schedule
    }
}

/// A schedule's definition and where it stands, as far as this node knows.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) planned: Arc<PlannedSchedule>,
    pub(super) phase: Phase,
    /// When the cursor was last known to stand where it stands; a standby's reason to act.
    pub(super) seen: UnixMs,
    /// Where the store last said that it stands; the least number before it has said so.
    pub(super) cursor: UnixMs,
    /// The greatest of these: up to here due times have been decided, or were owed to nobody.
    pub(super) highest: UnixMs,
    /// The plan's last id when a commit's end or an edit last changed what is known; an answer to a
    /// read that was asked for before is older news.
    pub(super) learned: u64,
    /// Milliseconds by which the store found this node's clock to be ahead; 0 unless it refused.
    pub(super) lead: i64,
    /// Reads and commits in a row after which it could not go on.
    pub(super) troubles: u32,
}

/// What is being done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not known, paused, or of another revision: waits to be read.
    Unsure { retry_at: UnixMs },
    /// Waits until an owner acts at `at`, a standby later.
    Waiting { undecided: Undecided, at: UnixMs },
    /// Asked the store to decide up to `last`.
    Committing { id: CommitId, revision: u64, undecided: Undecided, last: UnixMs },
    /// Never due again.
    Idle,
}

/// The cursor, the first due time after it, and when that is fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided {
    pub(super) cursor: UnixMs,
    pub(super) due: UnixMs,
    pub(super) moment: UnixMs,
}

impl Known {
    pub(super) fn new(planned: Arc<PlannedSchedule>) -> Self {
        let never = UnixMs(i64::MIN);
        let (phase, seen, cursor, highest) = (Phase::Idle, never, never, never);
        Self { planned, phase, seen, cursor, highest, learned: 0, lead: 0, troubles: 0 }
    }

    /// Whether the store lets this definition's ticks commit.
    pub(super) fn agrees_with(&self, state: &ScheduleState) -> bool {
        state.enabled && state.revision == self.planned.revision
    }

    /// Whether this state says nothing new: it waits for the due time after that very cursor.
    pub(super) fn stands_at(&self, state: Option<&ScheduleState>) -> bool {
        match (self.phase, state) {
            (Phase::Waiting { undecided, .. }, Some(state)) => {
                undecided.cursor == state.cursor && self.agrees_with(state)
            }
            _ => false,
        }
    }

    pub(super) fn forget_lead(&mut self, leading: &mut BTreeSet<ScheduleName>) {
        if self.lead != 0 {
            self.lead = 0;
            leading.remove(&self.planned.name);
        }
    }
}
