//! What the store holds, and the clock by which it judges.

use std::collections::BTreeMap;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::seeds::Seed;
use beatmesh_node::catalogue::entry::Catalogue;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::order::Order;
use beatmesh_node::queue::task::{TaskId, TaskRecord};
use beatmesh_node::queue::tick::{ScheduleState, TickRecord};
use bytes::Bytes;

use super::guards::Guards;
use crate::history::{EPOCH, History};

/// The tables. The methods that change them, one request each, stand beside this file by subject.
#[derive(Clone)]
pub struct StoreState {
    /// The store's clock when the present request arrived.
    pub(super) now: UnixMs,
    clock: StoreClock,
    pub(super) history: History,
    pub(super) guards: Guards,
    /// How long ended things are kept.
    pub(super) keep: Duration,
    pub(super) catalogue: Catalogue,
    pub(super) schedules: BTreeMap<ScheduleName, ScheduleState>,
    /// The ledger, in the order of commits.
    pub(super) ticks: Vec<(ScheduleName, TickRecord)>,
    pub(super) tasks: BTreeMap<TaskId, Row>,
    pub(super) nodes: BTreeMap<NodeId, Seed>,
    /// Whether tasks and fences are another store's: then an edit is a definition alone.
    pub(super) is_catalogue_only: bool,
}

/// Where a task stands for the store's own purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for its time.
    Waiting,
    /// May be claimed.
    Ready,
    /// Would be ready, but others of its order key are before it.
    Behind,
    /// A worker has it.
    Leased,
    /// Has ended.
    Ended,
}

/// How wrong the store's clock is.
#[derive(Clone)]
struct StoreClock {
    /// True time when it was last looked at.
    looked: UnixMs,
    /// In milliseconds, by the number of the fault, and how many requests came meanwhile.
    off: BTreeMap<usize, (i64, u64)>,
}

/// A task with what only its worker wants to see.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) record: TaskRecord,
    pub(super) phase: Phase,
    /// In `Waiting` when it may be claimed, in `Ready` and `Behind` since when, in `Leased` when its lease runs out.
    pub(super) wake_at: UnixMs,
    pub(super) input: Bytes,
    pub(super) content_type: String,
    pub(super) reply_to: String,
    pub(super) order: Option<Order>,
    /// In its line, if it has joined one and not left it.
    pub(super) place: Option<i64>,
}

impl StoreState {
    pub(super) fn new(history: History, guards: Guards, keep: Duration) -> Self {
        Self {
            now: EPOCH,
            clock: StoreClock { looked: EPOCH, off: BTreeMap::new() },
            history,
            guards,
            keep,
            catalogue: Catalogue::default(),
            schedules: BTreeMap::new(),
            ticks: Vec::new(),
            tasks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            is_catalogue_only: false,
        }
    }

    /// What another kind of store holds, as its tables would.
    pub(in crate::world) fn holding(
        schedules: Vec<ScheduleState>,
        ticks: Vec<(ScheduleName, TickRecord)>,
        tasks: Vec<TaskRecord>,
    ) -> Self {
        let mut state = Self::new(History::default(), Guards::default(), Duration::ZERO);
        state.schedules = schedules.into_iter().map(|state| (state.schedule.clone(), state)).collect();
        state.ticks = ticks;
        let row = |record: TaskRecord| {
            let phase = if record.state.is_final() { Phase::Ended } else { Phase::Waiting };
            let (wake_at, reply_to) = (record.ready_at, String::new());
            let (input, content_type, order, place) = (Bytes::new(), String::new(), None, None);
            Row { record, phase, wake_at, input, content_type, reply_to, order, place }
        };
        state.tasks = tasks.into_iter().map(|record| (record.id, row(record))).collect();
        state
    }

    /// From here on tasks and fences are another store's.
    pub fn keep_no_queue(&mut self) {
        self.is_catalogue_only = true;
    }

    /// The store's clock is right but for what faults do to it. Nothing else makes it step back, though two
    /// hosts within one step of turmoil may run in any order.
    pub(super) fn look_at_clock(&mut self) {
        let clock = &mut self.clock;
        clock.looked = clock.looked.max(self.history.now());
        clock.off.values_mut().for_each(|(_, requests)| *requests += 1);
        self.now = UnixMs(clock.looked.0 + clock.off.values().map(|(off_ms, _)| off_ms).sum::<i64>());
    }

    /// From here on the clock is wrong by so much more.
    pub fn misset(&mut self, fault: usize, off_ms: i64) {
        self.clock.off.insert(fault, (off_ms, 0));
    }

    /// The clock is set right; answers how many requests came while it was wrong.
    pub fn set_right(&mut self, fault: usize) -> u64 {
        self.clock.off.remove(&fault).map_or(0, |(_, requests)| requests)
    }

    /// Everything is again as it was then, but for the clock.
    pub fn go_back_to(&mut self, earlier: Self) {
        let (now, clock) = (self.now, self.clock.clone());
        *self = Self { now, clock, ..earlier };
    }

    /// Where a schedule stands.
    #[must_use]
    pub fn schedule(&self, name: &ScheduleName) -> Option<&ScheduleState> {
        self.schedules.get(name)
    }

    /// A schedule's ledger, in the order of commits.
    pub fn ledger<'a>(&'a self, name: &'a ScheduleName) -> impl Iterator<Item = &'a TickRecord> {
        self.ticks.iter().filter(move |(schedule, _)| schedule == name).map(|(_, tick)| tick)
    }

    /// Every schedule that ever was.
    pub fn all_schedules(&self) -> impl Iterator<Item = &ScheduleState> {
        self.schedules.values()
    }

    /// A task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&TaskRecord> {
        self.tasks.get(&id).map(|row| &row.record)
    }

    /// Every task that ever was.
    pub fn all_tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values().map(|row| &row.record)
    }
}
