//! Tables for the rules of a plan, one fact at a time.

use super::*;
use crate::beat::timetable::Timetables;
use crate::catalogue::schedule::{Misfire, OnStoreRollback, Schedule};
use crate::queue::tick::{SkipReason, TickDecision, Verdict};
use crate::units::Span;

/// A plan and what it asked for since the last look.
struct Stage {
    plan: Plan,
    timetables: Timetables,
    actions: Vec<Action>,
    read: Option<ReadId>,
    commits: Vec<(CommitId, TickCommit)>,
    reports: Vec<Rollback>,
    wake: Option<i64>,
}

impl Stage {
    fn new() -> Self {
        let plan = Plan::new("n1", STANDBY_DELAY);
        let (timetables, actions, commits, reports) = <_>::default();
        Self { plan, timetables, actions, read: None, commits, reports, wake: None }
    }

    /// A stage where this node has looked, at `now`: schedule `a`, every ten seconds, cursor 0.
    fn looked(standing: Standing, now: i64) -> Self {
        let mut stage = Self::new();
        let catalogue = vec![stage.planned("a", 1, "*/10 * * * * *")];
        stage.on(now, Event::CatalogueChanged(catalogue));
        stage.on(now, Event::StandingChanged(standing));
        // A node that is out does not even look.
        if standing != Standing::Out {
            stage.answer_read(now, vec![state("a", 1, 0)]);
        }
        stage
    }

    fn planned(&mut self, name: &str, revision: u64, cron: &str) -> Arc<PlannedSchedule> {
        let schedule: Schedule =
            toml::from_str(&format!("cron = \"{cron}\"\nfunction = \"f\"\ninput = {{ x = 1 }}")).unwrap();
        let timetable = self.timetables.get(cron, "UTC").unwrap();
        let firing = FiringSpec { queue: "q".parse().unwrap(), retries: 3, per_order_key: 1 };
        Arc::new(PlannedSchedule::new(name.parse().unwrap(), revision, schedule.into(), timetable, firing))
    }

    fn on(&mut self, now: i64, event: Event) {
        self.plan.on_event(UnixMs(now), event, &mut self.actions);
        for action in self.actions.drain(..) {
            match action {
                Action::Commit(id, commit) => self.commits.push((id, commit)),
                Action::ReadStates(id) => self.read = Some(id),
                Action::WakeAt(at) => self.wake = Some(at.0),
                Action::Report(rollback) => self.reports.push(rollback),
            }
        }
    }

    fn tick(&mut self, now: i64) {
        self.on(now, Event::TimerFired);
    }

    fn answer_read(&mut self, now: i64, states: Vec<ScheduleState>) {
        let id = self.read.take().expect("a read was asked for");
        self.on(now, Event::ReadEnded { id, result: Ok(states), dice: 0.0 });
    }

    fn fail_read(&mut self, now: i64) {
        let id = self.read.take().expect("a read was asked for");
        self.on(now, Event::ReadEnded { id, result: Err(StoreError::Unavailable("down".into())), dice: 0.0 });
    }

    /// The due times of the one commit that was asked for.
    fn commit(&mut self) -> (CommitId, TickCommit) {
        assert_eq!(self.commits.len(), 1, "{:?}", self.commits);
        self.commits.remove(0)
    }

    fn end(&mut self, now: i64, id: CommitId, result: Result<TickOutcome, StoreError>) {
        self.on(now, Event::CommitEnded { id, result, dice: 0.0 });
    }

    fn quiet(&self) -> bool {
        self.commits.is_empty() && self.read.is_none()
    }
}

fn state(name: &str, revision: u64, cursor: i64) -> ScheduleState {
    ScheduleState { schedule: name.parse().unwrap(), revision, enabled: true, cursor: UnixMs(cursor) }
}

fn committed() -> Result<TickOutcome, StoreError> {
    Ok(TickOutcome::Committed { fired: Vec::new() })
}

fn fire(due: i64) -> TickDecision {
    TickDecision { due: UnixMs(due), from: UnixMs(due), count: 1, verdict: Verdict::Fire }
}

#[test]
fn an_owner_commits_at_the_due_time_and_goes_on_from_there() {
    let mut stage = Stage::looked(Standing::Owner, 1_000);
    assert!(stage.quiet());
    assert_eq!(stage.wake, Some(10_000));
    stage.tick(9_999);
    assert!(stage.quiet(), "a wake that comes early is harmless");
    stage.tick(10_003);
    let (id, commit) = stage.commit();
    assert_eq!((commit.expected_cursor, commit.revision, commit.retries), (UnixMs(0), 1, 3));
    assert_eq!(
        (commit.queue.as_str(), &commit.input[..], commit.node.as_str()),
        ("q", &b"{\"x\":1}"[..], "n1")
    );
    assert_eq!(commit.decisions, [fire(10_000)]);
    stage.tick(20_500);
    assert!(stage.quiet(), "one commit in flight per schedule");
    stage.end(20_600, id, committed());
    let (_, commit) = stage.commit();
    assert_eq!((commit.expected_cursor, commit.decisions), (UnixMs(10_000), vec![fire(20_000)]));
}

#[test]
fn each_standing_waits_its_own_delay() {
    for (standing, delay) in [
        (Standing::Owner, Some(0)),
        (Standing::Standby(0), Some(1_000)),
        (Standing::Standby(1), Some(1_000)),
        (Standing::Standby(2), Some(2_000)),
        (Standing::Standby(9), Some(9_000)),
        (Standing::Standby(4_000_000), Some(10_000)),
        (Standing::Out, None),
    ] {
        let mut stage = Stage::new();
        let catalogue = vec![stage.planned("a", 1, "*/10 * * * * *")];
        stage.on(0, Event::CatalogueChanged(catalogue));
        stage.on(0, Event::StandingChanged(standing));
        match delay {
            Some(delay) => {
                stage.answer_read(0, vec![state("a", 1, 0)]);
                assert_eq!(stage.wake, Some(10_000 + delay), "{standing:?}");
            }
            None => assert!(stage.quiet() && stage.wake.is_none(), "{standing:?}"),
        }
    }
}

#[test]
fn a_standby_looks_before_it_tries() {
    let mut stage = Stage::looked(Standing::Standby(1), 0);
    stage.tick(10_500);
    assert!(stage.quiet());
    stage.tick(11_000);
    assert!(stage.commits.is_empty() && stage.read.is_some());
    stage.answer_read(11_010, vec![state("a", 1, 10_000)]);
    assert!(stage.quiet(), "the owner was there");
    assert_eq!(stage.wake, Some(21_000));
    stage.tick(21_000);
    stage.answer_read(21_010, vec![state("a", 1, 10_000)]);
    assert_eq!(stage.commit().1.decisions, [fire(20_000)], "the owner was not there");
}

#[test]
fn a_node_looks_before_it_acts_when_it_starts_wakes_up_or_becomes_the_owner() {
    for before in [Standing::Standby(1), Standing::Out] {
        let mut stage = Stage::looked(before, 0);
        stage.on(10_000, Event::StandingChanged(Standing::Owner));
        assert!(stage.commits.is_empty());
        stage.answer_read(10_010, vec![state("a", 1, 0)]);
        assert_eq!(stage.commit().1.expected_cursor, UnixMs(0), "from the cursor, not from now");
    }
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.on(95_000, Event::PauseNoticed);
    assert!(stage.commits.is_empty());
    let old = stage.read.expect("it looks");
    stage.on(96_000, Event::PauseNoticed);
    assert_ne!(stage.read, Some(old), "an answer from before the pause is worth nothing");
    stage.on(96_010, Event::ReadEnded { id: old, result: Ok(vec![state("a", 1, 0)]), dice: 0.0 });
    assert!(stage.commits.is_empty());
    stage.answer_read(96_020, vec![state("a", 1, 80_000)]);
    assert_eq!(stage.commit().1.expected_cursor, UnixMs(80_000));
}

#[test]
fn what_a_commit_ends_with_decides_what_follows() {
    let moved = |state| Ok(TickOutcome::Moved(state));
    // Outcome, then: the cursor of an immediate commit, or the wake.
    for (result, again, wake) in [
        (moved(Some(state("a", 1, 20_000))), None, Some(30_000)),
        (moved(Some(state("a", 1, 10_000))), Some(10_000), None),
        (moved(Some(state("a", 2, 10_000))), None, Some(20_210)),
        (moved(Some(ScheduleState { enabled: false, ..state("a", 1, 0) })), None, Some(20_210)),
        (moved(None), None, Some(20_210)),
        // It says "moved" and shows what was expected: not asked again at once.
        (moved(Some(state("a", 1, 0))), None, Some(20_110)),
        (Err(StoreError::Unavailable(String::new())), None, Some(20_110)),
        (Err(StoreError::Unknown(String::new())), None, Some(20_110)),
        (Err(StoreError::Refused(String::new())), None, Some(20_210)),
        (Ok(TickOutcome::TooEarly { store_now: UnixMs(9_000) }), None, Some(21_010)),
        // The first due time has passed in the store, the second not.
        (Ok(TickOutcome::TooEarly { store_now: UnixMs(12_000) }), Some(0), None),
    ] {
        let mut stage = Stage::looked(Standing::Owner, 0);
        stage.tick(20_000);
        let (id, _) = stage.commit();
        stage.wake = None;
        stage.end(20_010, id, result.clone());
        let cursor = stage.commits.first().map(|(_, commit)| commit.expected_cursor.0);
        assert_eq!((cursor, stage.wake), (again, wake), "{result:?}");
    }
}

#[test]
fn a_commit_that_was_too_early_is_repeated_with_what_is_due_by_the_stores_clock() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.tick(25_000);
    let (id, commit) = stage.commit();
    assert_eq!(commit.decisions.len(), 2);
    stage.end(25_010, id, Ok(TickOutcome::TooEarly { store_now: UnixMs(12_000) }));
    let (id, commit) = stage.commit();
    assert_eq!(commit.decisions, [fire(10_000)]);
    stage.end(25_020, id, committed());
    // The shift is forgotten with a success: the driver may have corrected its clock meanwhile.
    assert_eq!(stage.commit().1.decisions, [fire(20_000)]);
}

#[test]
fn a_corrected_clock_forgets_what_the_wrong_one_was_told() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.tick(13_000);
    let (id, _) = stage.commit();
    stage.end(13_000, id, Ok(TickOutcome::TooEarly { store_now: UnixMs(9_000) }));
    assert_eq!(stage.wake, Some(14_000));
    stage.tick(9_100);
    stage.answer_read(9_100, vec![state("a", 1, 0)]);
    assert_eq!(stage.wake, Some(10_000));
}

#[test]
fn errors_make_the_pauses_grow_up_to_a_second() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.on(1_000, Event::PauseNoticed);
    let (mut now, mut pauses) = (1_000, Vec::new());
    for _ in 0..6 {
        stage.fail_read(now);
        let at = stage.wake.expect("it will ask again");
        stage.tick(at - 1);
        assert!(stage.read.is_none(), "not before its time");
        pauses.push(at - now);
        now = at;
        stage.tick(now);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    stage.answer_read(now, vec![state("a", 1, 0)]);
    assert_eq!(stage.wake, Some(10_000));
}

#[test]
fn nothing_commits_while_store_and_catalogue_disagree() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    let edited = vec![stage.planned("a", 2, "*/5 * * * * *")];
    stage.on(1_000, Event::CatalogueChanged(edited));
    stage.answer_read(1_010, vec![state("a", 1, 0)]);
    stage.tick(1_200);
    assert!(stage.quiet());
    stage.tick(1_210);
    stage.answer_read(1_220, vec![state("a", 2, 1_000)]);
    assert_eq!(stage.wake, Some(5_000), "the fence has arrived");
    let gone = Vec::new();
    stage.on(2_000, Event::CatalogueChanged(gone));
    stage.tick(60_000);
    assert!(stage.quiet(), "deleted");
}

#[test]
fn an_edit_during_a_commit_is_read_when_the_commit_has_ended() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.tick(10_000);
    let (id, _) = stage.commit();
    let edited = vec![stage.planned("a", 2, "*/5 * * * * *")];
    stage.on(10_001, Event::CatalogueChanged(edited));
    assert!(stage.quiet());
    stage.end(10_010, id, committed());
    assert!(stage.commits.is_empty());
    stage.answer_read(10_020, vec![state("a", 2, 10_005)]);
    assert_eq!(stage.wake, Some(15_000));
}

#[test]
fn an_answer_to_an_older_question_does_not_turn_the_cursor_back() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.tick(10_000);
    let (id, _) = stage.commit();
    let new = vec![stage.planned("a", 1, "*/10 * * * * *"), stage.planned("b", 1, "*/10 * * * * *")];
    stage.on(10_001, Event::CatalogueChanged(new));
    stage.end(10_005, id, committed());
    stage.answer_read(10_010, vec![state("a", 1, 0), state("b", 1, 10_000)]);
    assert!(stage.quiet(), "the read was asked for before the commit had ended");
    assert_eq!(stage.wake, Some(20_000));
    // A store that lost writes is believed when it is asked afterwards.
    stage.on(12_000, Event::PauseNoticed);
    stage.answer_read(12_010, vec![state("a", 1, 0), state("b", 1, 10_000)]);
    assert_eq!(stage.commit().1.decisions, [fire(10_000)]);
    let example = "a".parse().unwrap();
    assert_eq!(stage.reports, [Rollback { refire: 1, skip: 0, example, furthest_ms: 10_000 }]);
}

#[test]
fn a_store_that_went_back_is_noticed_by_owner_and_standby_and_said_once() {
    for standing in [Standing::Owner, Standing::Standby(1)] {
        let mut stage = Stage::new();
        let mut catalogue = Vec::new();
        for (name, policy) in
            [("a", OnStoreRollback::Refire), ("b", OnStoreRollback::Skip), ("c", OnStoreRollback::Skip)]
        {
            let mut planned = PlannedSchedule::clone(&stage.planned(name, 1, "*/10 * * * * *"));
            let schedule = Arc::make_mut(&mut planned.schedule);
            (schedule.misfire, schedule.on_store_rollback) = (Misfire::FireAll, policy);
            catalogue.push(planned.into());
        }
        stage.on(0, Event::CatalogueChanged(catalogue));
        stage.on(0, Event::StandingChanged(standing));
        stage.answer_read(55_000, ["a", "b", "c"].map(|name| state(name, 1, 50_000)).to_vec());
        assert!(stage.quiet());
        let lost = [state("a", 1, 20_000), state("b", 1, 30_000), state("c", 1, 50_000)];
        let now = match standing {
            // It is told when it commits, and looks at all of them before it goes on.
            Standing::Owner => {
                stage.tick(60_000);
                let commits = std::mem::take(&mut stage.commits);
                assert_eq!(commits.len(), 3);
                for (id, commit) in commits {
                    let state = lost.iter().find(|state| state.schedule == commit.schedule).unwrap();
                    let outcome = if state.cursor.0 == 50_000 {
                        committed()
                    } else {
                        Ok(TickOutcome::Moved(Some(state.clone())))
                    };
                    stage.end(60_010, id, outcome);
                }
                assert!(stage.commits.is_empty() && stage.reports.is_empty());
                60_010
            }
            // It is told when it looks.
            _ => {
                stage.tick(61_000);
                61_000
            }
        };
        let c = if standing == Standing::Owner { 60_000 } else { 50_000 };
        stage.answer_read(now, vec![lost[0].clone(), lost[1].clone(), state("c", 1, c)]);
        let example = "a".parse().unwrap();
        assert_eq!(stage.reports, [Rollback { refire: 1, skip: 1, example, furthest_ms: 30_000 }]);
        stage.tick(now + 1_000);
        if let Some(id) = stage.read.take() {
            let states = vec![lost[0].clone(), lost[1].clone(), state("c", 1, 60_000)];
            stage.on(now + 1_000, Event::ReadEnded { id, result: Ok(states), dice: 0.0 });
        }
        let of = |name: &str| {
            let found = stage.commits.iter().find(|(_, commit)| commit.schedule.as_str() == name);
            found.map(|(_, commit)| commit.decisions.clone())
        };
        let again = [30_000, 40_000, 50_000, 60_000].map(fire);
        assert_eq!(of("a"), Some(again.to_vec()), "{standing:?}: at least once");
        let skipped = TickDecision {
            due: UnixMs(50_000),
            from: UnixMs(40_000),
            count: 2,
            verdict: Verdict::Skip(SkipReason::StoreRolledBack),
        };
        assert_eq!(
            of("b"),
            Some(vec![skipped, fire(60_000)]),
            "{standing:?}: what it remembers, and no more"
        );
        assert_eq!(stage.reports.len(), 1, "said once");
    }
}

#[test]
fn what_a_node_does_not_remember_it_does_not_miss() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    // The schedule was made anew: other due times, another memory.
    stage.on(1_000, Event::CatalogueChanged(Vec::new()));
    let anew = vec![stage.planned("a", 2, "*/10 * * * * *")];
    stage.on(2_000, Event::CatalogueChanged(anew));
    stage.answer_read(2_010, vec![state("a", 2, -5_000)]);
    assert_eq!(stage.commit().1.decisions, [fire(0)]);
    assert!(stage.reports.is_empty());
}

#[test]
fn a_read_during_a_commit_does_not_start_a_second_one() {
    let mut stage = Stage::looked(Standing::Owner, 0);
    stage.tick(10_000);
    let (id, _) = stage.commit();
    stage.on(14_000, Event::PauseNoticed);
    stage.answer_read(14_010, vec![state("a", 1, 0)]);
    assert!(stage.quiet(), "the commit may still be on its way");
    stage.end(15_000, id, committed());
    assert_eq!(stage.wake, Some(20_000));
}

#[test]
fn commits_in_flight_are_bounded_and_each_end_makes_room() {
    let mut stage = Stage::new();
    let n = MOST_IN_FLIGHT + 10;
    let catalogue: Vec<_> = (0..n).map(|nth| stage.planned(&format!("s{nth:04}"), 1, "* * * * *")).collect();
    stage.on(0, Event::CatalogueChanged(catalogue));
    stage.on(0, Event::StandingChanged(Standing::Owner));
    stage.answer_read(0, (0..n).map(|nth| state(&format!("s{nth:04}"), 1, 0)).collect());
    stage.tick(60_000);
    assert_eq!((stage.commits.len(), stage.plan.in_flight()), (MOST_IN_FLIGHT, MOST_IN_FLIGHT));
    let (id, _) = stage.commits.remove(0);
    stage.end(60_005, id, committed());
    assert_eq!(stage.commits.len(), MOST_IN_FLIGHT);
}

#[test]
fn one_long_gap_does_not_hold_up_the_others() {
    let mut stage = Stage::new();
    let mut catalogue: Vec<_> =
        (0..3).map(|nth| stage.planned(&format!("gap{nth}"), 1, "* * * * * *")).collect();
    catalogue.push(stage.planned("zz", 1, "0 0 * * *"));
    stage.on(0, Event::CatalogueChanged(catalogue));
    stage.on(0, Event::StandingChanged(Standing::Owner));
    let just_after_midnight = 86_400_005;
    let states = ["gap0", "gap1", "gap2", "zz"].map(|name| state(name, 1, 0));
    stage.answer_read(just_after_midnight, states.to_vec());
    assert_eq!(stage.wake, Some(just_after_midnight), "it comes back at once, after other facts");
    let mut order = Vec::new();
    while order.len() < 8 {
        for (id, commit) in std::mem::take(&mut stage.commits) {
            order.push(commit.schedule.to_string());
            stage.end(just_after_midnight, id, committed());
        }
        stage.tick(just_after_midnight);
    }
    assert_eq!(order[..4], ["gap0", "gap1", "gap2", "zz"]);
}

/// Not a test: `cargo test -p beatmesh-node --release -- --ignored --nocapture plan_costs`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a real clock")]
fn plan_costs() {
    use std::time::Instant;
    let mut stage = Stage::new();
    let n = 100_000_i64;
    // Each once in two minutes: 833 a second.
    let catalogue: Vec<_> = (0..n)
        .map(|nth| {
            stage.planned(&format!("s{nth:06}"), 1, &format!("{} {}-59/2 * * * *", nth % 60, nth / 60 % 2))
        })
        .collect();
    let states: Vec<_> = (0..n).map(|nth| state(&format!("s{nth:06}"), 1, 0)).collect();
    let timed = |what: &str, begun: Instant, per: usize| {
        println!("{what}: {:?}, {:?} each", begun.elapsed(), begun.elapsed() / per as u32);
    };
    let begun = Instant::now();
    stage.on(0, Event::CatalogueChanged(catalogue.clone()));
    timed("a catalogue of 100,000", begun, 100_000);
    stage.on(0, Event::StandingChanged(Standing::Owner));
    let begun = Instant::now();
    stage.answer_read(0, states.clone());
    timed("the first read of 100,000", begun, 100_000);
    let (begun, mut commits) = (Instant::now(), 0);
    for second in 1..=120 {
        let now = second * 1_000;
        stage.tick(now);
        while let Some((id, _)) = stage.commits.pop() {
            commits += 1;
            stage.end(now, id, committed());
        }
    }
    timed("120 seconds as the owner", begun, 120);
    timed(&format!("{commits} ticks"), begun, commits);
    let begun = Instant::now();
    stage.on(120_500, Event::PauseNoticed);
    let at = |known: &Known| match known.phase {
        Phase::Waiting { undecided, .. } => undecided.cursor.0,
        _ => panic!("all wait"),
    };
    let states: Vec<_> =
        stage.plan.schedules.iter().map(|(name, known)| state(name.as_str(), 1, at(known))).collect();
    timed("(making the states)", begun, 100_000);
    let begun = Instant::now();
    stage.answer_read(120_500, states);
    timed("a read of 100,000 that shows nothing new", begun, 100_000);
    let begun = Instant::now();
    stage.on(120_600, Event::CatalogueChanged(catalogue));
    timed("the same catalogue again", begun, 100_000);
}

#[test]
fn what_is_due_once_fires_once_also_late_and_again_when_its_time_is_edited() {
    let mut stage = Stage::new();
    let once = |stage: &mut Stage, revision, at| vec![stage.planned("a", revision, at)];
    let catalogue = once(&mut stage, 1, "@at 1970-01-01T00:00:10");
    stage.on(0, Event::CatalogueChanged(catalogue));
    stage.on(0, Event::StandingChanged(Standing::Owner));
    // The mesh was down when its time came.
    stage.answer_read(70_000, vec![state("a", 1, 0)]);
    let (id, commit) = stage.commit();
    assert_eq!(commit.decisions, [fire(10_000)]);
    stage.wake = None;
    stage.end(70_010, id, committed());
    assert_eq!(stage.plan.next_due(&"a".parse().unwrap()), None, "it is over");
    assert_eq!(stage.wake, None);
    stage.on(80_000, Event::PauseNoticed);
    stage.answer_read(80_010, vec![state("a", 1, 10_000)]);
    assert!(stage.quiet(), "whoever looks again fires nothing");
    let later = once(&mut stage, 2, "@at 1970-01-01T00:02:00");
    stage.on(90_000, Event::CatalogueChanged(later));
    stage.answer_read(90_010, vec![state("a", 2, 90_000)]);
    assert_eq!(stage.wake, Some(120_000));
    stage.tick(120_000);
    assert_eq!(stage.commit().1.decisions, [fire(120_000)]);
}

#[test]
fn a_jitter_puts_off_the_owner_and_the_standbys_and_leaves_the_due_time_alone() {
    for (standing, delay) in [(Standing::Owner, 0), (Standing::Standby(1), 1_000)] {
        let mut stage = Stage::new();
        let mut planned = PlannedSchedule::clone(&stage.planned("a", 1, "*/10 * * * * *"));
        Arc::make_mut(&mut planned.schedule).jitter = Span(Duration::from_secs(8));
        let moment = planned.moments().of(UnixMs(10_000)).0;
        assert!(moment > 10_000 && moment < 18_000, "this one is put off: {moment}");
        stage.on(0, Event::CatalogueChanged(vec![planned.into()]));
        stage.on(0, Event::StandingChanged(standing));
        stage.answer_read(0, vec![state("a", 1, 0)]);
        assert_eq!(stage.wake, Some(moment + delay), "{standing:?}");
        assert_eq!(stage.plan.next_due(&"a".parse().unwrap()), Some(UnixMs(10_000)));
        assert_eq!(stage.plan.overdue(UnixMs(moment + 7)), Duration::from_millis(7));
        stage.tick(moment + delay - 1);
        assert!(stage.quiet());
        stage.tick(moment + delay);
        if standing != Standing::Owner {
            stage.answer_read(moment + delay, vec![state("a", 1, 0)]);
        }
        let (id, commit) = stage.commit();
        assert_eq!(commit.decisions, [fire(10_000)]);
        // By the store's clock it is 300 ms before the due time.
        stage.end(moment + delay, id, Ok(TickOutcome::TooEarly { store_now: UnixMs(9_700) }));
        let lead = moment + delay - 9_700;
        assert_eq!(stage.wake, Some(moment + lead + delay));
    }
}

#[test]
fn the_misfire_policy_reaches_the_commit() {
    let mut stage = Stage::new();
    let mut planned = PlannedSchedule::clone(&stage.planned("a", 1, "*/10 * * * * *"));
    Arc::make_mut(&mut planned.schedule).misfire = Misfire::FireAll;
    stage.on(0, Event::CatalogueChanged(vec![planned.into()]));
    stage.on(0, Event::StandingChanged(Standing::Owner));
    stage.answer_read(35_000, vec![state("a", 1, 0)]);
    assert_eq!(stage.commit().1.decisions, [fire(10_000), fire(20_000), fire(30_000)]);
}
