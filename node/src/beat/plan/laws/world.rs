//! The world of the laws: a store that compares and sets, a network, nodes that hold nothing but a
//! plan, and a heap of what happens next. Everything is drawn from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;

use crate::beat::plan::*;
use crate::beat::timetable::Timetable;
use crate::catalogue::schedule::{Misfire, Schedule};
use crate::queue::tick::{EARLIEST_MS, TickDecision};

/// 2026-03-29T00:59:00Z, a minute before Berlin's clocks go forward.
pub(super) const START: i64 = 1_774_745_940_000;
/// Faults end here, ms after the start.
const HEAL: i64 = 50_000;
pub(super) const END: i64 = 80_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) nodes: usize,
    /// Per cent of requests and of answers.
    pub(super) loss: u64,
    pub(super) crashes: bool,
    pub(super) pauses: bool,
    pub(super) steps: bool,
    pub(super) stale: bool,
    pub(super) edits: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Guards {
    pub(super) cursor: bool,
    pub(super) not_before_due: bool,
    pub(super) pauses_are_noticed: bool,
}

#[derive(Debug)]
enum Happening {
    Commit {
        node: usize,
        id: CommitId,
        commit: TickCommit,
    },
    Read {
        node: usize,
        id: ReadId,
    },
    /// An answer, a standing, a catalogue: lost when the node is dead, late when it is paused.
    Told(usize, Event),
    Woken {
        node: usize,
        arming: u64,
    },
    Crashed(usize),
    Paused {
        node: usize,
        until: i64,
    },
    Stepped {
        node: usize,
        ahead: i64,
    },
    Fenced(usize),
    Healed,
}

/// What the store has done, in its order.
#[derive(Clone, Debug)]
pub(super) enum Line {
    Decided { at: i64, revision: u64, decision: TickDecision },
    Fenced { revision: u64, cursor: UnixMs },
}

struct Node {
    plan: Plan,
    dead: bool,
    paused_until: i64,
    /// How far its estimate is ahead of the store's clock.
    ahead: i64,
    arming: u64,
    /// Sent, and not yet ended.
    committing: BTreeMap<CommitId, ScheduleName>,
    /// Asked, and not yet answered.
    reads: BTreeSet<ReadId>,
    /// It was stopped, and no read that it asked for afterwards has ended.
    must_look: bool,
}

pub(super) struct Row {
    pub(super) state: ScheduleState,
    /// Of every revision; the definitions that the catalogue will hold are here before the fence.
    pub(super) planned: Vec<Arc<PlannedSchedule>>,
    pub(super) lines: Vec<Line>,
}

pub(super) struct World {
    now: i64,
    dice: u64,
    faults: Faults,
    guards: Guards,
    heap: BTreeMap<(i64, u64), Happening>,
    sequence: u64,
    nodes: Vec<Node>,
    pub(super) rows: Vec<Row>,
    pub(super) misconduct: Vec<String>,
    /// Commits that changed nothing.
    pub(super) refused: u64,
}

fn planned(name: &str, revision: u64, cron: &str, misfire: Misfire) -> Arc<PlannedSchedule> {
    let text =
        format!("cron = \"{cron}\"\nfunction = \"f\"\ntimezone = \"Europe/Berlin\"\nmisfire_grace = \"3s\"");
    let mut schedule: Schedule = toml::from_str(&text).unwrap();
    schedule.misfire = misfire;
    let timetable = Timetable::parse(cron, &schedule.timezone).unwrap();
    let name = name.parse().unwrap();
    Arc::new(PlannedSchedule::new(name, revision, schedule.into(), timetable.into(), FiringSpec::default()))
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, guards: Guards) -> Self {
        let rows = [
            ("every-second", "* * * * * *", Misfire::FireAll),
            ("latest", "*/2 * * * * *", Misfire::FireLatest),
            ("skips", "*/3 * * * * *", Misfire::Skip),
            ("odd", "1,2,7,30,31,59 * * * * *", Misfire::FireAll),
            ("minutely", "* * * * *", Misfire::FireLatest),
        ];
        let row = |(name, cron, misfire)| {
            let planned = planned(name, 1, cron, misfire);
            let (schedule, cursor) = (planned.name.clone(), UnixMs(START));
            let state = ScheduleState { schedule, revision: 1, enabled: true, cursor };
            Row { state, planned: vec![planned], lines: Vec::new() }
        };
        let node = |nth| Node {
            plan: Plan::new(format!("n{nth}"), STANDBY_DELAY),
            dead: false,
            paused_until: 0,
            ahead: 0,
            arming: 0,
            committing: BTreeMap::new(),
            reads: BTreeSet::new(),
            must_look: true,
        };
        Self {
            now: START,
            dice: seed,
            faults,
            guards,
            heap: BTreeMap::new(),
            sequence: 0,
            nodes: (0..faults.nodes).map(node).collect(),
            rows: rows.map(row).into(),
            misconduct: Vec::new(),
            refused: 0,
        }
    }

    /// Makes every schedule `fire_all`.
    pub(super) fn fire_all(&mut self) {
        for row in &mut self.rows {
            let mut changed = PlannedSchedule::clone(&row.planned[0]);
            Arc::make_mut(&mut changed.schedule).misfire = Misfire::FireAll;
            row.planned[0] = Arc::new(changed);
        }
    }

    pub(super) fn ledger(&self) -> Vec<&Vec<Line>> {
        self.rows.iter().map(|row| &row.lines).collect()
    }

    pub(super) fn run(&mut self) {
        self.tell_catalogue(0);
        self.rank(0);
        self.draw_faults();
        self.push(HEAL, Happening::Healed);
        while let Some(((at, _), happening)) = self.heap.pop_first() {
            if at > START + END {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
    }

    /// splitmix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn span(&mut self, from: i64, until: i64) -> i64 {
        from + self.below((until - from) as u64) as i64
    }

    fn push(&mut self, after_start: i64, happening: Happening) {
        self.sequence += 1;
        self.heap.insert((START + after_start, self.sequence), happening);
    }

    fn push_in(&mut self, delay: i64, happening: Happening) {
        self.push(self.now - START + delay, happening);
    }

    fn tell_in(&mut self, delay: i64, node: usize, event: Event) {
        self.push_in(delay, Happening::Told(node, event));
    }

    /// Tells the living their ranks, each after a delay of its own.
    fn rank(&mut self, most_delay: i64) {
        let living: Vec<_> = (0..self.nodes.len()).filter(|nth| !self.nodes[*nth].dead).collect();
        for (rank, node) in living.into_iter().enumerate() {
            let standing = if rank == 0 { Standing::Owner } else { Standing::Standby(rank as u32) };
            let delay = self.span(0, most_delay + 1);
            self.tell_in(delay, node, Event::StandingChanged(standing));
        }
    }

    fn draw_faults(&mut self) {
        let n = self.nodes.len();
        if self.faults.crashes {
            let at = self.span(5_000, 40_000);
            self.push(at, Happening::Crashed(0));
        }
        for _ in 0..6 {
            let (at, node) = (self.span(2_000, 45_000), self.below(n as u64) as usize);
            if self.faults.pauses {
                let until = at + self.span(600, 8_000);
                self.push(at, Happening::Paused { node, until: START + until });
            }
            let (at, node) = (self.span(2_000, 45_000), self.below(n as u64) as usize);
            if self.faults.steps {
                let size = [30, 700, 5_000, 3_600_000][self.below(4) as usize];
                let ahead = self.span(-size, size);
                self.push(at, Happening::Stepped { node, ahead });
            }
            let (at, node) = (self.span(2_000, 45_000), self.below(n as u64) as usize);
            if self.faults.stale {
                let standings = [Standing::Owner, Standing::Owner, Standing::Standby(1), Standing::Out];
                let standing = standings[self.below(4) as usize];
                self.push(at, Happening::Told(node, Event::StandingChanged(standing)));
            }
        }
        if self.faults.edits {
            for row in [0, 1, 2, 1] {
                let at = self.span(3_000, 45_000);
                self.push(at, Happening::Fenced(row));
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Told(node, event) => self.tell(node, event),
            Happening::Woken { node, arming } => {
                if self.nodes[node].arming == arming {
                    self.tell(node, Event::TimerFired);
                }
            }
            Happening::Commit { node, id, commit } => {
                let result = Ok(self.decide(commit));
                self.answer(node, |dice| Event::CommitEnded { id, result, dice });
            }
            Happening::Read { node, id } => {
                let result = Ok(self.rows.iter().map(|row| row.state.clone()).collect());
                self.answer(node, |dice| Event::ReadEnded { id, result, dice });
            }
            Happening::Crashed(node) => {
                self.nodes[node].dead = true;
                // Seen after a while, or not before all is healed.
                if self.below(2) == 0 {
                    self.rank(5_000);
                }
            }
            Happening::Paused { node, until } => {
                self.nodes[node].paused_until = until;
                self.nodes[node].must_look = true;
                if self.guards.pauses_are_noticed {
                    self.push(until - START, Happening::Told(node, Event::PauseNoticed));
                }
            }
            Happening::Stepped { node, ahead } => {
                self.nodes[node].ahead = ahead;
                self.tell(node, Event::TimerFired);
            }
            Happening::Fenced(row) => self.edit(row),
            Happening::Healed => {
                self.faults.loss = 0;
                for node in 0..self.nodes.len() {
                    self.nodes[node].ahead = 0;
                    self.tell(node, Event::TimerFired);
                }
                self.tell_catalogue(0);
                self.rank(0);
            }
        }
    }

    /// The edit of a schedule: the fence in the store, then the catalogue.
    fn edit(&mut self, nth: usize) {
        let row = &mut self.rows[nth];
        let revision = row.state.revision + 1;
        let name = row.state.schedule.as_str();
        let (cron, same_times) = match (nth, revision % 2) {
            (0, 0) => ("*/2 * * * * *", false),
            (0, _) => ("* * * * * *", false),
            _ => (if nth == 1 { "*/2 * * * * *" } else { "*/3 * * * * *" }, true),
        };
        row.planned.push(planned(name, revision, cron, row.planned[0].schedule.misfire));
        let cursor = if same_times { row.state.cursor } else { row.state.cursor.max(UnixMs(self.now)) };
        (row.state.revision, row.state.cursor) = (revision, cursor);
        row.lines.push(Line::Fenced { revision, cursor });
        self.tell_catalogue(3_000);
    }

    /// Each node hears of it after a delay of its own; two edits may be heard of in the wrong order.
    fn tell_catalogue(&mut self, most_delay: i64) {
        let catalogue: Vec<_> = self.rows.iter().map(|row| row.planned.last().unwrap().clone()).collect();
        for node in 0..self.nodes.len() {
            let delay = self.span(0, most_delay + 1);
            self.tell_in(delay, node, Event::CatalogueChanged(catalogue.clone()));
        }
    }

    /// The store: compare, check the clock, set.
    fn decide(&mut self, commit: TickCommit) -> TickOutcome {
        let row = self.rows.iter_mut().find(|row| row.state.schedule == commit.schedule).unwrap();
        let (now, revision) = (self.now, commit.revision);
        let moved = self.guards.cursor && row.state.cursor != commit.expected_cursor;
        if moved || row.state.revision != revision || !row.state.enabled {
            self.refused += 1;
            return TickOutcome::Moved(Some(row.state.clone()));
        }
        let last = commit.decisions.last().unwrap().due;
        if self.guards.not_before_due && last.0 > now + EARLIEST_MS {
            self.refused += 1;
            return TickOutcome::TooEarly { store_now: UnixMs(now) };
        }
        row.state.cursor = last;
        row.lines.extend(commit.decisions.into_iter().map(|decision| Line::Decided {
            at: now,
            revision,
            decision,
        }));
        TickOutcome::Committed { fired: Vec::new() }
    }

    fn lost(&mut self) -> bool {
        self.below(100) < self.faults.loss
    }

    fn answer(&mut self, node: usize, event: impl FnOnce(f64) -> Event) {
        let dice = self.below(1_000) as f64 / 1_000.0;
        let mut event = event(dice);
        let mut delay = self.span(0, 25);
        if self.lost() {
            delay = 1_000;
            unknown(&mut event);
        }
        self.tell_in(delay, node, event);
    }

    fn tell(&mut self, nth: usize, event: Event) {
        let node = &mut self.nodes[nth];
        if node.dead {
            return;
        }
        // A driver looks for a pause before anything else, also before what is due in the very millisecond of its end.
        let comes_after = self.guards.pauses_are_noticed && !matches!(event, Event::PauseNoticed);
        if self.now < node.paused_until || (self.now == node.paused_until && comes_after) {
            let at = node.paused_until - START + i64::from(comes_after);
            return self.push(at, Happening::Told(nth, event));
        }
        match &event {
            Event::CommitEnded { id, .. } => {
                node.committing.remove(id);
            }
            Event::ReadEnded { id, result, .. } => {
                node.must_look &= !(node.reads.remove(id) && result.is_ok());
            }
            Event::PauseNoticed => {
                node.must_look = true;
                node.reads.clear();
            }
            _ => {}
        }
        let mut actions = Vec::new();
        node.plan.on_event(UnixMs(self.now + node.ahead), event, &mut actions);
        for action in actions {
            self.carry_out(nth, action);
        }
    }

    fn carry_out(&mut self, nth: usize, action: Action) {
        let delay = self.span(0, 25);
        let lost = self.lost();
        let dice = self.below(1_000) as f64 / 1_000.0;
        let node = &mut self.nodes[nth];
        match action {
            Action::Report(rollback) => self.misconduct.push(format!("n{nth} believes in {rollback:?}")),
            Action::WakeAt(at) => {
                node.arming += 1;
                let (arming, wait) = (node.arming, (at.0 - self.now - node.ahead).max(0));
                self.push_in(wait + delay / 10, Happening::Woken { node: nth, arming });
            }
            Action::ReadStates(id) => {
                node.reads.insert(id);
                let failed =
                    Event::ReadEnded { id, result: Err(StoreError::Unavailable("lost".into())), dice };
                let sent = Happening::Read { node: nth, id };
                self.push_in(
                    if lost { 1_000 } else { delay },
                    if lost { Happening::Told(nth, failed) } else { sent },
                );
            }
            Action::Commit(id, commit) => {
                if node.must_look {
                    self.misconduct.push(format!("n{nth} commits {} without looking first", commit.schedule));
                }
                if commit.decisions.is_empty() {
                    self.misconduct.push(format!("n{nth} commits nothing for {}", commit.schedule));
                }
                let failed =
                    Event::CommitEnded { id, result: Err(StoreError::Unavailable("lost".into())), dice };
                let sent = Happening::Commit { node: nth, id, commit };
                self.push_in(
                    if lost { 1_000 } else { delay },
                    if lost { Happening::Told(nth, failed) } else { sent },
                );
            }
        }
    }
}

/// The answer is lost after the store has done what it was asked.
fn unknown(event: &mut Event) {
    match event {
        Event::CommitEnded { result, .. } => *result = Err(StoreError::Unknown("lost".into())),
        Event::ReadEnded { result, .. } => *result = Err(StoreError::Unknown("lost".into())),
        _ => {}
    }
}
