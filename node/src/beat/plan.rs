//! The plan of one node: which due times it asks the store to decide, and when.
//!
//! Pure: facts in, actions out. Invariants:
//! - at most one commit per schedule and one read of the states are in flight;
//! - nothing is committed while *blind*: after the start, a pause, a step back of the clock, and when
//!   this node becomes the owner, the cursors are read anew first;
//! - nothing is committed for a schedule unless the store's state and the catalogue's definition have
//!   the same revision, and the store says that it is enabled;
//! - a standby commits only what a read, asked for after its turn had come, still showed undecided;
//! - a cursor that goes back means that the store has lost what it had taken: said once, and then decided by the
//!   schedule's `on_store_rollback`; what neither this node remembers nor another has told it cannot miss;
//! - whatever ends a commit without saying where the cursor is means "not I": read it again.
//!
//! None of this is needed for safety, which is the store's compare-and-set; it keeps the misfire policy
//! honest and the store free of commits that must fail.

#[cfg(test)]
mod laws;
mod learn;
mod rollback;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::pending::{self, LEAST_GRACE, MOST_DUE_TIMES, Overdue};
use crate::catalogue::function::Backoff;
use crate::catalogue::name::ScheduleName;
use crate::queue::StoreError;
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome};
use crate::units::Span;
pub use rollback::Rollback;
pub use schedule::{FiringSpec, PlannedSchedule};
use schedule::{Known, Phase};

/// How long a standby waits for each one before it. One commit takes milliseconds, so after a second
/// the owner is gone, cut off or overloaded. Promise L1: lateness after a crash p50 <= 1 s, p99 <= 2 s.
pub const STANDBY_DELAY: Duration = Duration::from_secs(1);

/// No standby waits longer than this, so the last member that reaches the store is enough. Ten times
/// the standby delay: ranks beyond the tenth try together, and read before they try.
pub const LONGEST_STANDBY_DELAY: Duration = Duration::from_secs(10);
const _: () = assert!(LONGEST_STANDBY_DELAY.as_millis() == 10 * STANDBY_DELAY.as_millis());
const _: () = assert!(LEAST_GRACE.as_millis() < STANDBY_DELAY.as_millis());

/// The most commits of one node in flight. At a store's 5 ms each that is 50,000 a second; more would
/// only wait in the driver, with cursors that grow old.
pub const MOST_IN_FLIGHT: usize = 256;

/// After an error of the store. The longest is below the two seconds in which the first overdue tick
/// must follow the end of an outage (L8).
const AFTER_ERROR: Backoff =
    Backoff { first: Span(Duration::from_millis(100)), longest: Span(Duration::from_secs(1)) };

/// While store and catalogue disagree about a schedule, or it is paused. An edit is through both within
/// milliseconds; whoever resumes a schedule waits at most the longest of these, if nobody says so.
const WHILE_INCONSISTENT: Backoff =
    Backoff { first: Span(Duration::from_millis(200)), longest: Span(Duration::from_secs(10)) };

/// A clock that goes back by more is not a correction but a step: what was seen "after" may have been
/// before. Corrections of a calibrated clock are a few milliseconds.
const STEP_BACK: Duration = Duration::from_millis(500);

/// How this node stands to the ring's key `beat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Acts when a schedule is due.
    Owner,
    /// The i-th successor, 1 for the first: acts `i` standby delays later.
    Standby(u32),
    /// Does not act: no Beat role, draining, paused, or the store is out of reach.
    Out,
}

/// Names one commit, so that a late answer cannot pass for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId(u64);

/// Names one read; an answer to any but the latest is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(u64);

/// What has happened. `dice` in 0..=1 spreads the pauses that may follow.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The catalogue holds these schedules and no others.
    CatalogueChanged(Vec<Arc<PlannedSchedule>>),
    /// Other nodes say up to where schedules are decided.
    OthersCommitted(Vec<(ScheduleName, UnixMs)>),
    /// The ring, or this node's own condition, gave it another standing.
    StandingChanged(Standing),
    /// The time of a [`Action::WakeAt`] has come, or the estimate of the store's clock was corrected.
    TimerFired,
    /// The node was stopped (its own timer came much too late).
    PauseNoticed,
    /// A read ended: all states that the store holds.
    ReadEnded {
        /// Which one.
        id: ReadId,
        /// What it brought.
        result: Result<Vec<ScheduleState>, StoreError>,
        /// For the pause after an error.
        dice: f64,
    },
    /// A commit ended.
    CommitEnded {
        /// Which one.
        id: CommitId,
        /// How; both `Unavailable` and `Unknown` mean "not by me".
        result: Result<TickOutcome, StoreError>,
        /// For the pause after an error.
        dice: f64,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the store to decide; answer with [`Event::CommitEnded`] exactly once.
    Commit(CommitId, TickCommit),
    /// Ask the store for all states; answer with [`Event::ReadEnded`] exactly once.
    ReadStates(ReadId),
    /// Send [`Event::TimerFired`] then; replaces the wake before it.
    WakeAt(UnixMs),
    /// Tell people that the store has lost what it had taken.
    Report(Rollback),
}

/// What one node knows of all schedules, and when it acts on each.
#[derive(Debug)]
pub struct Plan {
    node: String,
    standby_delay: Duration,
    standing: Standing,
    schedules: BTreeMap<ScheduleName, Known>,
    /// The waiting schedules by the time at which an owner acts on them.
    by_due: BTreeSet<(UnixMs, ScheduleName)>,
    /// The unsure schedules by the time at which to read again.
    by_retry: BTreeSet<(UnixMs, ScheduleName)>,
    /// Schedules whose times are shifted because the store refused them as too early.
    leading: BTreeSet<ScheduleName>,
    in_flight: BTreeMap<CommitId, ScheduleName>,
    reading: Option<Reading>,
    /// No commits until a read has ended well.
    blind: bool,
    read_failures: u32,
    read_not_before: UnixMs,
    /// Cursors that were seen to go back since the last report.
    rollback: Option<Rollback>,
    /// The last id given; ids tell which of two facts is the younger one.
    last_id: u64,
    last_now: UnixMs,
    /// The wake that the driver holds.
    armed: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    id: ReadId,
    asked: UnixMs,
}

impl Plan {
    /// A plan that knows nothing and is [`Standing::Out`]; `node` is named in the ledger. The usual
    /// `standby_delay` is [`STANDBY_DELAY`].
    #[must_use]
    pub fn new(node: impl Into<String>, standby_delay: Duration) -> Self {
        Self {
            node: node.into(),
            standby_delay,
            standing: Standing::Out,
            schedules: BTreeMap::new(),
            by_due: BTreeSet::new(),
            by_retry: BTreeSet::new(),
            leading: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            reading: None,
            blind: true,
            read_failures: 0,
            read_not_before: UnixMs(i64::MIN),
            rollback: None,
            last_id: 0,
            last_now: UnixMs(i64::MIN),
            armed: None,
        }
    }

    /// Takes one fact and says what to do. `now` is the store's clock as the driver estimates it; it
    /// may step in both directions.
    pub fn on_event(&mut self, now: UnixMs, event: Event, actions: &mut Vec<Action>) {
        self.look_at_clock(now);
        match event {
            Event::CatalogueChanged(schedules) => self.take_catalogue(now, schedules),
            Event::StandingChanged(standing) => self.take_standing(now, standing),
            Event::OthersCommitted(told) => self.hear(now, told),
            Event::TimerFired => self.armed = None,
            Event::PauseNoticed => self.go_blind(now),
            Event::ReadEnded { id, result, dice } => self.end_read(now, id, result, dice),
            Event::CommitEnded { id, result, dice } => self.end_commit(now, id, result, dice),
        }
        self.report(actions);
        let hurried = self.act(now, actions);
        self.arm(now, hurried, actions);
    }

    /// How the node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The next due time that is not known to be decided; `None` while that is not known either.
    #[must_use]
    pub fn next_due(&self, schedule: &ScheduleName) -> Option<UnixMs> {
        match self.schedules.get(schedule)?.phase {
            Phase::Waiting { undecided, .. } | Phase::Committing { undecided, .. } => Some(undecided.due),
            Phase::Unsure { .. } | Phase::Idle => None,
        }
    }

    /// How late the latest schedule is, counted from the moment of its firing, as far as this node knows: a metric, and a sign of overload.
    #[must_use]
    pub fn overdue(&self, now: UnixMs) -> Duration {
        self.by_due.first().map_or(Duration::ZERO, |(at, _)| at.until(now))
    }

    /// Commits that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How long after an owner this node acts; `None` when it does not.
    pub(super) fn delay(&self) -> Option<Duration> {
        match self.standing {
            Standing::Owner => Some(Duration::ZERO),
            Standing::Standby(rank) => {
                Some(self.standby_delay.saturating_mul(rank.max(1)).min(LONGEST_STANDBY_DELAY))
            }
            Standing::Out => None,
        }
    }

    /// Does all that may be done now; says whether it stopped early to stay responsive.
    fn act(&mut self, now: UnixMs, actions: &mut Vec<Action>) -> bool {
        let Some(delay) = self.delay() else { return false };
        if self.blind || self.by_retry.first().is_some_and(|(at, _)| *at <= now) {
            self.read(now, actions);
        }
        let mut seen = 0;
        while !self.blind && self.in_flight.len() < MOST_IN_FLIGHT {
            let Some((at, name)) = self.by_due.first() else { break };
            let (turn, name) = (at.plus(delay), name.clone());
            if turn > now {
                break;
            }
            if seen >= MOST_DUE_TIMES {
                return true;
            }
            // All others wait for the same read: it shows every cursor.
            if self.standing != Standing::Owner && self.schedules[&name].seen < turn {
                self.read(now, actions);
                break;
            }
            seen += self.commit(now, &name, actions);
        }
        false
    }

    /// Sends the commit of a waiting schedule; answers how many due times that took to plan.
    fn commit(&mut self, now: UnixMs, name: &ScheduleName, actions: &mut Vec<Action>) -> usize {
        let id = CommitId(self.next_id());
        let known = self.schedules.get_mut(name).expect("the agenda names schedules of the catalogue");
        let Phase::Waiting { undecided, at } = known.phase else {
            unreachable!("only waiting schedules are on the agenda")
        };
        self.by_due.remove(&(at, name.clone()));
        let planned = &known.planned;
        let until = UnixMs(now.0.saturating_sub(known.lead));
        let overdue = Overdue { first: undecided.due, until, decided_before: known.highest };
        let pending = pending::decide(&planned.schedule, &planned.moments(), overdue);
        let Some(last) = pending.decisions.last() else {
            unreachable!("a schedule acts at its moment plus its lead, or later")
        };
        known.phase = Phase::Committing { id, revision: planned.revision, undecided, last: last.due };
        self.in_flight.insert(id, name.clone());
        let commit = planned.commit(undecided.cursor, pending.decisions, self.node.clone());
        actions.push(Action::Commit(id, commit));
        pending.seen
    }

    fn read(&mut self, now: UnixMs, actions: &mut Vec<Action>) {
        if self.reading.is_some() || now < self.read_not_before {
            return;
        }
        let id = ReadId(self.next_id());
        self.reading = Some(Reading { id, asked: now });
        actions.push(Action::ReadStates(id));
    }

    /// Tells the driver when to come back, if it does not know yet.
    fn arm(&mut self, now: UnixMs, hurried: bool, actions: &mut Vec<Action>) {
        let wake = if hurried { Some(now) } else { self.next_wake(now) };
        if let Some(at) = wake
            && self.armed != wake
        {
            actions.push(Action::WakeAt(at));
            self.armed = wake;
        }
    }

    fn next_wake(&self, now: UnixMs) -> Option<UnixMs> {
        let delay = self.delay()?;
        let read_at = self.reading.is_none().then_some(self.read_not_before);
        if self.blind {
            return read_at;
        }
        let retry = self.by_retry.first().and_then(|(at, _)| Some(read_at?.max(*at)));
        let due = match self.by_due.first().map(|(at, _)| at.plus(delay)) {
            // The end of a commit will come first.
            _ if self.in_flight.len() >= MOST_IN_FLIGHT => None,
            // Only a read that is not allowed yet, or has not ended, holds a due schedule back.
            Some(turn) if turn <= now => read_at,
            turn => turn,
        };
        retry.into_iter().chain(due).min()
    }

    /// Nothing that is known may be acted on: asks again, and does not wait for an older answer.
    fn go_blind(&mut self, now: UnixMs) {
        self.blind = true;
        self.reading = None;
        self.read_not_before = now;
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn look_at_clock(&mut self, now: UnixMs) {
        if now < self.last_now {
            // The driver corrected a clock that was ahead: shifts against the old one are void.
            for name in std::mem::take(&mut self.leading) {
                if let Some(known) = self.schedules.get_mut(&name) {
                    known.lead = 0;
                    if let Phase::Waiting { undecided, .. } = known.phase {
                        self.wait(&name, undecided, undecided.moment);
                    }
                }
            }
            if now.plus(STEP_BACK) < self.last_now {
                self.go_blind(now);
            }
        }
        self.last_now = now;
    }
}
