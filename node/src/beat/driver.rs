//! The loop around a [`Plan`]: owns its timers, asks the store, takes no decision. What it looks after besides firing
//! stands in `upkeep`.
//!
//! Time is the store's: monotonic time plus an offset that is measured again and again, so a wall clock
//! that jumps on this machine neither fires early nor loses a tick.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::{Env, OnExit, UnixMs};
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::{Mesh, View};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::plan::{
    Action, CommitId, Event, FiringSpec, MOST_IN_FLIGHT, Plan, PlannedSchedule, ReadId, Rollback, Standing,
};
use super::tally::BeatTally;
use super::timetable::Timetables;
use super::told::Committed;
use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::entry::Catalogue;
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Times;
use crate::hints::Hints;
use crate::queue::tick::{ScheduleState, TickCommit, TickOutcome};
use crate::queue::{StoreError, TaskQueue};
use crate::roles;
use crate::store::CatalogueStore;

/// The key of the ring whose owner is the Beat.
pub const BEAT_KEY: &[u8] = b"beat";

/// How often the store's clock is asked. Crystals drift by some 50 ppm: 0.25 ms in this time.
const CALIBRATE_EVERY: Duration = Duration::from_secs(5);

/// A store that has not answered by then gets "unknown" in its place: the plan reads the cursor again.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// The pause guard: a heartbeat that comes later than this was held up, by SIGSTOP or by a machine that
/// slept. A loaded machine may look the same; then one needless read is the price. A shorter stop goes unnoticed: then
/// what this node would fire twice the store refuses, and it reads again.
const HEARTBEAT: Duration = Duration::from_millis(500);
const HELD_UP: Duration = Duration::from_millis(1_000);
const _: () = assert!(HELD_UP.as_millis() == 2 * HEARTBEAT.as_millis());

/// The members that may fire schedules, the Beat first, then its stand-ins in order. Only those that answer: a
/// ring that is kept after a mass death would make somebody wait for the dead.
#[must_use]
pub fn beat_ranks(view: &View) -> Vec<NodeId> {
    let is_beat = |id: &&NodeId| view.members.get(*id).is_some_and(|member| roles::is_beat(&member.facts));
    view.live_ring.successors(BEAT_KEY).filter(is_beat).cloned().collect()
}

/// How a node stands by a ranking.
fn standing(ranks: &[NodeId], me: &NodeId) -> Standing {
    match ranks.iter().position(|id| id == me) {
        Some(0) => Standing::Owner,
        Some(rank) => Standing::Standby(u32::try_from(rank).unwrap_or(u32::MAX)),
        None => Standing::Out,
    }
}

/// What a driver works with.
pub struct BeatParts {
    /// The seams.
    pub env: Env,
    /// Says who is the Beat.
    pub mesh: Arc<Mesh>,
    /// Definitions.
    pub catalogue: Arc<CatalogueCache>,
    /// Where pauses are ended.
    pub store: Arc<dyn CatalogueStore>,
    /// Where ticks are committed.
    pub queue: Arc<dyn TaskQueue>,
    /// What it does is counted here.
    pub tally: Arc<BeatTally>,
    /// Wakes task runners after a firing.
    pub hints: Arc<Hints>,
    /// How long a stand-in waits for each one before it.
    pub standby_delay: Duration,
    /// Cancelled when the node stops: it fires nothing more.
    pub stop: CancellationToken,
}

/// Answers of the store, on their way back into the loop.
enum Answer {
    Read(ReadId, Result<Vec<ScheduleState>, StoreError>),
    Commit(CommitId, TickCommit, Result<TickOutcome, StoreError>),
    /// States that were asked for only to see whether all are there.
    Surveyed(Result<Vec<ScheduleState>, StoreError>),
    /// Fences that the store did not have were written, or could not be.
    Repaired,
    /// Pauses were ended, or some could not be.
    Resumed {
        all: bool,
    },
    /// The store's clock, and when it was asked and answered.
    Clock(Result<UnixMs, StoreError>, Instant, Instant),
}

/// Fires schedules until the node stops.
pub async fn drive(parts: BeatParts) {
    let (answers, answered) = mpsc::channel(MOST_IN_FLIGHT + 8);
    let dice = parts.env.entropy.rng();
    let plan = Plan::new(parts.mesh.view().me.to_string(), parts.standby_delay);
    let driver = Driver {
        parts,
        plan,
        answers,
        dice,
        store_time: None,
        asking_clock: false,
        repairing: false,
        suspected: BTreeSet::new(),
        surveying: false,
        resuming: false,
        pause_ends: None,
        wake: None,
        planned: BTreeMap::new(),
        timetables: Timetables::default(),
        committed: Committed::default(),
        beat: None,
    };
    driver.run(answered).await;
}

/// A reading of the store's clock.
#[derive(Clone, Copy)]
struct StoreTime {
    at: Instant,
    store: UnixMs,
    /// How long the answer took: half of it is the error.
    took: Duration,
}

/// A slow answer says little about the time: one that took this much longer than the last good one is
/// asked for again, unless that one has grown old.
const SLOWER: Duration = Duration::from_millis(10);
const OLD_READING: Duration = Duration::from_secs(60);

/// Before the store's clock is asked again after an error or a slow answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

struct Driver {
    parts: BeatParts,
    plan: Plan,
    answers: mpsc::Sender<Answer>,
    dice: StdRng,
    store_time: Option<StoreTime>,
    /// A reading of the store's clock is under way.
    asking_clock: bool,
    /// Fences that the store did not have are being written.
    repairing: bool,
    /// Fences that were missing at the last look. Of an edit that is under way the second half is on its way, so only
    /// what is missing twice is missing.
    suspected: BTreeSet<(ScheduleName, u64)>,
    /// A look at all schedules is under way.
    surveying: bool,
    /// Pauses are being ended.
    resuming: bool,
    /// When the next pause is to be ended by this node.
    pause_ends: Option<UnixMs>,
    wake: Option<UnixMs>,
    planned: BTreeMap<ScheduleName, Arc<PlannedSchedule>>,
    timetables: Timetables,
    /// What the other nodes are told.
    committed: Committed,
    /// Who was the Beat last; for the log.
    beat: Option<NodeId>,
}

impl Driver {
    async fn run(mut self, mut answered: mpsc::Receiver<Answer>) {
        let (mut views, mut catalogues) = (self.parts.mesh.watch(), self.parts.catalogue.watch());
        let stop = self.parts.stop.clone();
        let mut calibrate = tokio::time::interval(CALIBRATE_EVERY);
        calibrate.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut survey = tokio::time::interval(upkeep::SURVEY_EVERY);
        survey.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_beat = self.parts.env.clock.now();
        views.mark_changed();
        catalogues.mark_changed();
        loop {
            let wake = self.wake_instant();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Before anything else: after a pause nothing that waits may be taken at face value.
                _ = heartbeat.tick() => {
                    let now = self.parts.env.clock.now();
                    if now.duration_since(last_beat) > HELD_UP {
                        tracing::warn!(held_up = ?now.duration_since(last_beat), "this node was stopped for a while; reading the schedules again before it fires anything");
                        self.ask_clock();
                        self.take(Event::PauseNoticed);
                    }
                    last_beat = now;
                    self.tell();
                }
                Some(answer) = answered.recv() => self.on_answer(answer),
                Ok(()) = views.changed() => {
                    let view = views.borrow_and_update().clone();
                    self.on_view(&view);
                }
                Ok(()) = catalogues.changed() => {
                    let catalogue = catalogues.borrow_and_update().clone();
                    self.on_catalogue(&catalogue);
                }
                _ = calibrate.tick() => self.ask_clock(),
                _ = survey.tick() => self.survey_after(Duration::ZERO),
                () = sleep_until(wake) => {
                    self.end_pauses();
                    self.wake = None;
                    self.take(Event::TimerFired);
                }
            }
        }
        self.take(Event::StandingChanged(Standing::Out));
    }

    /// Hands one fact to the plan and does what it says. Without the store's clock nothing is due yet.
    fn take(&mut self, event: Event) {
        let Some(now) = self.store_now() else { return };
        let mut actions = Vec::new();
        self.plan.on_event(now, event, &mut actions);
        for action in actions {
            match action {
                Action::WakeAt(at) => self.wake = Some(at),
                Action::ReadStates(id) => self.read(id),
                Action::Commit(id, commit) => self.commit(id, commit),
                Action::Report(rollback) => {
                    self.parts.tally.rollbacks.add(1);
                    say(&rollback);
                }
            }
        }
        self.parts.tally.pending.set(self.plan.in_flight());
    }

    fn read(&self, id: ReadId) {
        let (queue, answers) = (self.parts.queue.clone(), self.answers.clone());
        self.spawn(async move {
            let states = within(queue.schedule_states()).await;
            let _ = answers.send(Answer::Read(id, states)).await;
        });
    }

    fn commit(&self, id: CommitId, commit: TickCommit) {
        let (queue, answers) = (self.parts.queue.clone(), self.answers.clone());
        self.spawn(async move {
            let outcome = within(queue.commit_tick(commit.clone())).await;
            let _ = answers.send(Answer::Commit(id, commit, outcome)).await;
        });
    }

    fn ask_clock(&mut self) {
        self.ask_clock_after(Duration::ZERO);
    }

    /// Asks for the store's clock, one question at a time.
    fn ask_clock_after(&mut self, pause: Duration) {
        if std::mem::replace(&mut self.asking_clock, true) {
            return;
        }
        let (queue, answers, clock) =
            (self.parts.queue.clone(), self.answers.clone(), self.parts.env.clock.clone());
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            let asked = clock.now();
            let now = within(queue.now()).await;
            let _ = answers.send(Answer::Clock(now, asked, clock.now())).await;
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.parts.env.spawner.spawn("beat", OnExit::Fine, Box::pin(task));
    }

    fn on_answer(&mut self, answer: Answer) {
        let dice = self.dice.random_range(0.0..=1.0);
        match answer {
            Answer::Read(id, result) => {
                match &result {
                    Ok(states) => self.repair(states),
                    Err(error) => tracing::warn!(%error, "the schedules' states cannot be read"),
                }
                self.take(Event::ReadEnded { id, result, dice });
            }
            Answer::Commit(id, commit, result) => {
                self.note_outcome(&commit, &result);
                self.take(Event::CommitEnded { id, result, dice });
            }
            Answer::Surveyed(result) => {
                self.surveying = false;
                match result {
                    Ok(states) => self.repair(&states),
                    Err(error) => tracing::debug!(%error, "the schedules cannot be looked at"),
                }
            }
            Answer::Repaired => self.repairing = false,
            Answer::Resumed { all } => {
                self.resuming = false;
                if all {
                    self.end_pauses();
                } else {
                    self.pause_ends = self.store_now().map(|now| now.plus(upkeep::END_AGAIN));
                }
            }
            Answer::Clock(reading, asked, answered) => {
                self.asking_clock = false;
                self.on_clock(reading, asked, answered);
            }
        }
    }

    fn on_clock(&mut self, reading: Result<UnixMs, StoreError>, asked: Instant, answered: Instant) {
        let took = answered - asked;
        let store = match reading {
            Ok(store) => store,
            Err(error) => {
                tracing::debug!(%error, "the store's clock cannot be read");
                return self.ask_clock_after(ASK_AGAIN);
            }
        };
        let is_worse = |known: StoreTime| took > known.took + SLOWER && answered - known.at < OLD_READING;
        if self.store_time.is_some_and(is_worse) {
            return self.ask_clock_after(ASK_AGAIN);
        }
        let first = self.store_time.is_none();
        // The store looked at its clock somewhere between asking and answering.
        self.store_time = Some(StoreTime { at: asked + took / 2, store, took });
        if first {
            // What came before the first reading of the clock was not handed in.
            self.on_catalogue(&self.parts.catalogue.current());
            self.on_view(&self.parts.mesh.view());
        }
        self.take(Event::TimerFired);
    }

    /// Tells the workers about firings, and people about what went wrong.
    fn note_outcome(&mut self, commit: &TickCommit, outcome: &Result<TickOutcome, StoreError>) {
        self.parts.tally.note(commit, outcome);
        match outcome {
            Ok(TickOutcome::Committed { fired }) => {
                let latest = commit.decisions.last().map(|decision| decision.due);
                let moments = self.planned.get(&commit.schedule).map(|planned| planned.moments());
                let latest = latest.map(|due| moments.map_or(due, |moments| moments.of(due)));
                let lateness = latest.zip(self.store_now()).map(|(moment, now)| now.millis_since(moment));
                tracing::debug!(schedule = %commit.schedule, fired = fired.len(), lateness_ms = lateness, "ticks committed");
                if let Some(last) = commit.decisions.last() {
                    self.committed.note(&commit.schedule, last.due);
                    self.tell();
                }
                if !fired.is_empty() {
                    let late = lateness.and_then(|late| u64::try_from(late).ok()).unwrap_or(0);
                    self.parts.tally.lateness.observe(Duration::from_millis(late).as_secs_f64());
                    self.parts.hints.there_is_work();
                }
            }
            Ok(TickOutcome::TooEarly { store_now }) => {
                let at = self.parts.env.clock.now();
                if let Some(ahead) =
                    self.store_now().map(|now| now.millis_since(*store_now)).filter(|ahead| *ahead > 1_000)
                {
                    tracing::warn!(schedule = %commit.schedule, ahead_ms = ahead, "the store's clock has stepped back; schedules wait until it has caught up");
                }
                self.store_time = Some(StoreTime { at, store: *store_now, took: Duration::ZERO });
            }
            Ok(TickOutcome::Moved(_)) => {}
            Err(error) => {
                tracing::warn!(schedule = %commit.schedule, %error, "a tick was not committed by this node")
            }
        }
    }

    fn on_view(&mut self, view: &View) {
        self.hear(view);
        let ranks = beat_ranks(view);
        if self.beat.as_ref() != ranks.first() {
            self.beat = ranks.first().cloned();
            match &self.beat {
                Some(beat) if *beat == view.me => tracing::info!(beat = %beat, "this node is the Beat now"),
                Some(beat) => tracing::info!(%beat, "the Beat is another node now"),
                None => tracing::warn!("no member may fire schedules"),
            }
        }
        let standing = standing(&ranks, &view.me);
        let has_moved = standing != self.plan.standing();
        self.take(Event::StandingChanged(standing));
        if has_moved {
            self.end_pauses();
        }
    }

    fn on_catalogue(&mut self, catalogue: &Catalogue) {
        let mut planned = BTreeMap::new();
        for entry in catalogue.schedules.values().filter(|entry| entry.enabled) {
            let function = catalogue.functions.get(&entry.definition.function);
            let firing = function.map_or_else(FiringSpec::default, |function| FiringSpec {
                queue: function.definition.queue.clone(),
                retries: function.definition.retries.max,
                per_order_key: function.definition.per_order_key,
            });
            let known = self.planned.get(&entry.name);
            let known = known.filter(|known| known.revision == entry.revision && known.firing == firing);
            let schedule = match known {
                Some(known) => known.clone(),
                None => {
                    let Times { cron, timezone } = entry.definition.times();
                    let timetable = match self.timetables.get(&cron, &timezone) {
                        Ok(timetable) => timetable,
                        Err(error) => {
                            tracing::error!(schedule = %entry.name, %error, "this schedule cannot be read by this version and is not fired here");
                            continue;
                        }
                    };
                    let (name, definition) = (entry.name.clone(), entry.definition.clone());
                    Arc::new(PlannedSchedule::new(name, entry.revision, definition, timetable, firing))
                }
            };
            planned.insert(entry.name.clone(), schedule);
        }
        self.planned = planned;
        self.parts.tally.schedules.set(self.planned.len());
        self.timetables.forget_unused();
        self.take(Event::CatalogueChanged(self.planned.values().cloned().collect()));
        self.hear(&self.parts.mesh.view());
        self.end_pauses();
    }

    /// The store's clock now, as far as it is known.
    fn store_now(&self) -> Option<UnixMs> {
        let StoreTime { at, store, .. } = self.store_time?;
        Some(store.plus(self.parts.env.clock.now().saturating_duration_since(at)))
    }

    /// The wake as a moment of this node's timers.
    fn wake_instant(&self) -> Option<Instant> {
        let StoreTime { at, store, .. } = self.store_time?;
        let wake = self.wake.into_iter().chain(self.pause_ends).min()?;
        let after = u64::try_from(wake.millis_since(store)).unwrap_or(0);
        Some(at + Duration::from_millis(after))
    }
}

fn say(Rollback { refire, skip, example, furthest_ms }: &Rollback) {
    tracing::error!(refire, skip, %example, furthest_ms, "the queue's store has gone back to an earlier state: it lost what it had taken, with a failover, or an old copy was put back; by their `on_store_rollback`, schedules fire again what is due by the store (refire), or skip what this node knows to be decided (skip)");
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = |_| Err(StoreError::Unknown(format!("no answer within {ANSWER_WITHIN:?}")));
    tokio::time::timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(silent)
}
