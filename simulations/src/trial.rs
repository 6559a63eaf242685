//! One seed: builds the world, lets it run, lets go wrong what the plan says, judges.
//!
//! Each trial has a thread of its own, so that thread-local state (turmoil's world, tokio's runtimes,
//! generators inside dependencies) begins fresh.

mod havoc;
mod panics;
mod queue;
mod stage;

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::config::Durability;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::epochs::Remembered;
use crate::faults::Fault;
use crate::history::{EPOCH, Event, Record};
use crate::measures::Measures;
use crate::properties::{self, Evidence, Violation};
use crate::scenarios::{Queue, Scenario, Script};
use crate::trace::Packet;
use crate::workload;
use crate::world::World;
use crate::world::kin::Kin;
use crate::world::store::guards::Guards;
use stage::Stage;

/// How the run itself failed, whatever the properties say.
pub const RUN: &str = "the run";

/// A run in which nothing was at stake.
pub const VACUOUS: &str = "the run proves something";

/// Deep futures of a debug build need more than the usual two megabytes.
const STACK: usize = 16 << 20;

/// What one seed brought.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its faults.
    pub faults: Vec<Fault>,
    /// How much time was simulated.
    pub length: Duration,
    /// What was wrong; nothing in a good run.
    pub violations: Vec<Violation>,
    /// What happened.
    pub history: Vec<Record>,
    /// The packets, in their place between the events.
    pub packets: Vec<Packet>,
    /// [`crate::trace::hash`].
    pub hash: u64,
    /// How late ticks were, and what else takes time.
    pub measures: Measures,
}

/// Runs one seed on a fresh thread.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64, guards: Guards) -> Outcome {
    run_edited(scenario, seed, guards, |_| {})
}

/// As [`run`], but `edit` changes what the seed has drawn: other faults, more nodes. The dice go on from the
/// same point, so that what was not changed stays as it was.
#[expect(clippy::disallowed_methods, reason = "a world has its own thread, which no node sees")]
#[must_use]
pub fn run_edited(
    scenario: &Scenario,
    seed: u64,
    guards: Guards,
    edit: impl FnOnce(&mut Script) + Send + 'static,
) -> Outcome {
    let script = scenario.script;
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(STACK);
    let running = thread.spawn(move || run_here(script, edit, seed, guards));
    let running = running.expect("the operating system gives a thread");
    running.join().expect("a trial catches the panics of its world")
}

fn run_here(
    script: fn(&mut StdRng) -> Script,
    edit: impl FnOnce(&mut Script),
    seed: u64,
    guards: Guards,
) -> Outcome {
    crate::world::interpose::begin(seed, EPOCH.0.cast_unsigned() * 1_000_000);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut script = script(&mut dice);
    edit(&mut script);
    let world = World::new(seed, &script, guards, &mut dice);
    let mut fire_all = workload::prepare(&mut world.store.state(), script.schedules);
    fire_all.push(workload::SCHEDULE.parse().expect("the schedule's name is one"));
    let skips_rollbacks = script.skips_rollbacks.then(|| workload::SKIPPING.parse().expect("it is a name"));
    let skips_rollbacks: Vec<_> = skips_rollbacks.into_iter().collect();
    let mut stage = Stage::new(&world, seed, &script, dice);
    let ended = panics::catch(|| stage.play());
    let effects = stage.effects();
    // Dropping the hosts drops the nodes, which may panic too; the verdict is the same.
    let dropped = panics::catch(move || drop(stage));

    let mut violations = Vec::new();
    let mut fault_of_run =
        |what: String| violations.push(Violation { property: RUN, ..Violation::at_the_end(what) });
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fault_of_run(error),
        Err(panic) => fault_of_run(format!("a simulated host panicked: {panic}")),
    }
    if let Err(panic) = dropped {
        fault_of_run(format!("a panic while the world ended: {panic}"));
    }
    world.failures.all().into_iter().for_each(fault_of_run);

    let history = world.history.records();
    let remembered = Remembered::of(&history);
    let settled = EPOCH.plus(script.settled);
    let (store, tables) = (world.store.state(), world.redis.as_ref().map(|redis| redis.tables()));
    let evidence = Evidence {
        history: &remembered.history,
        forgotten: &remembered.forgotten,
        forgotten_edits: &remembered.forgotten_edits,
        store: tables.as_ref().unwrap_or(&store),
        is_durable: script.queue == Queue::Replicated(Durability::Replicated),
        settled,
        fire_all: &fire_all,
        lost_ticks: &remembered.lost_ticks,
        skips_rollbacks: &skips_rollbacks,
    };
    // After a run that broke off, what is missing at the end says nothing.
    if violations.is_empty() {
        violations.extend(properties::check(&evidence));
        let excused = !script.each_fault_counts && effects.missing.len() < script.faults.len();
        violations.extend(effects.missing.iter().filter(|_| !excused).map(|fault| Violation {
            property: VACUOUS,
            ..Violation::at_the_end(format!("this fault met nobody: {fault}"))
        }));
    }
    let healed = history.iter().rposition(|record| matches!(record.event, Event::FaultEnded { .. }));
    let is_served = |record: &Record| matches!(record.event, Event::Acknowledged { .. });
    if violations.is_empty() && !history[healed.unwrap_or(0)..].iter().any(is_served) {
        let what = "after the last fault no task was accepted".to_owned();
        violations.push(Violation { property: RUN, ..Violation::at_the_end(what) });
    }
    let is_refused = |record: &Record| {
        let about = |topic: &str| ["version", "mesh", "store"].contains(&topic);
        matches!(&record.event, Event::Refused { topic, .. } if about(topic))
    };
    let has_strangers = world.nodes.iter().any(|node| node.kin.is_stranger());
    if has_strangers && violations.is_empty() && !history.iter().any(is_refused) {
        let what = "nobody ever met a stranger".to_owned();
        violations.push(Violation { property: VACUOUS, ..Violation::at_the_end(what) });
    }
    let of_kin = |kin: Kin| world.nodes.iter().filter(move |node| node.kin == kin);
    let is_seen = |record: &Record| {
        let by = |name: &str| of_kin(Kin::Ordinary).any(|node| node.name == name);
        matches!(&record.event, Event::FactSeen { observer, .. } if by(observer))
    };
    if of_kin(Kin::Later).next().is_some() && violations.is_empty() && !history.iter().any(is_seen) {
        let what = "nobody ever saw what a later version says".to_owned();
        violations.push(Violation { property: VACUOUS, ..Violation::at_the_end(what) });
    }
    let is_skipped = |record: &Record| matches!(&record.event, Event::TickCommitted { skipped, .. } if skipped.as_deref() == Some("store_rolled_back"));
    if script.skips_rollbacks && violations.is_empty() && !history.iter().any(is_skipped) {
        let what = "nobody ever skipped what the store had lost".to_owned();
        violations.push(Violation { property: VACUOUS, ..Violation::at_the_end(what) });
    }
    if script.keys && violations.is_empty() && !properties::q4_keys_in_order::anybody_waited(&evidence) {
        let what = "nobody ever waited for a task of the same key".to_owned();
        violations.push(Violation { property: VACUOUS, ..Violation::at_the_end(what) });
    }
    let measures = Measures::of(&history, &effects.beat_crashes);
    if measures.lateness.quantile(0.5).is_none() && violations.is_empty() {
        let what = "no tick was fired".to_owned();
        violations.push(Violation { property: VACUOUS, ..Violation::at_the_end(what) });
    }
    let (packets, hash) = (world.history.packets(), world.history.hash());
    let Script { faults, length, .. } = script;
    Outcome { seed, faults, length, violations, history, packets, hash, measures }
}

/// What the faults did.
#[derive(Clone, Debug, Default)]
struct Effects {
    /// Faults that must take effect and did not.
    missing: Vec<Fault>,
    /// When the Beat was crashed.
    beat_crashes: Vec<UnixMs>,
}

/// How much virtual time turmoil gives every host in turn. Smaller steps are truer and slower: at 1 ms a
/// run takes twice as long. Timers inside a step are exact; only messages wait for the next step.
const STEP: Duration = Duration::from_millis(5);
