//! Laws: many plans, one store, one event loop in virtual time. The network delays and loses, nodes
//! crash and pause, clocks step, two nodes believe to be the owner, schedules are edited. Whatever
//! happens, the store's ledger must list every due time once. A law that cannot fail proves nothing,
//! so each guard is taken away in turn, and some seed must turn red.

mod checks;
mod world;

use proptest::prelude::*;

use world::{Faults, Guards, World};

const ALL: Guards = Guards { cursor: true, not_before_due: true, pauses_are_noticed: true };

fn everything() -> Faults {
    Faults { nodes: 4, loss: 10, crashes: true, pauses: true, steps: true, stale: true, edits: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_due_time_is_decided_once_and_never_early(seed in any::<u64>()) {
        let mut world = World::new(seed, everything(), ALL);
        world.run();
        world.check_ledger().and_then(|()| world.check_conduct()).map_err(TestCaseError::fail)?;
        world.check_progress().map_err(TestCaseError::fail)?;
    }

    #[test]
    fn when_the_owner_dies_the_first_standby_fires_within_its_delay(seed in any::<u64>()) {
        let faults = Faults { nodes: 3, crashes: true, ..Faults::default() };
        let mut world = World::new(seed, faults, ALL);
        world.fire_all();
        world.run();
        world.check_ledger().and_then(|()| world.check_conduct()).map_err(TestCaseError::fail)?;
        // A read and a commit, each there and back.
        world.check_nothing_skipped_nor_later_than(1_000 + 250).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn with_nothing_wrong_all_fire_on_time_and_one_node_commits(seed in any::<u64>()) {
        let mut world = World::new(seed, Faults { nodes: 5, ..Faults::default() }, ALL);
        world.fire_all();
        world.run();
        world.check_ledger().map_err(TestCaseError::fail)?;
        world.check_nothing_skipped_nor_later_than(60).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.refused, 0, "nobody but the owner tries");
    }
}

/// How many of `n` seeds turn red, and the first verdict.
fn red(guards: Guards, n: u64) -> (u64, String) {
    let (mut count, mut first) = (0, String::new());
    for seed in 0..n {
        let mut world = World::new(seed, everything(), guards);
        world.run();
        if let Err(verdict) = world.check_ledger().and_then(|()| world.check_conduct()) {
            count += 1;
            if first.is_empty() {
                first = format!("seed {seed}: {verdict}");
            }
        }
    }
    (count, first)
}

#[test]
fn each_guard_taken_away_turns_a_run_red() {
    for (name, guards, verdict) in [
        ("cursor comparison", Guards { cursor: false, ..ALL }, "decided twice"),
        ("not before due", Guards { not_before_due: false, ..ALL }, "early"),
        ("pause guard", Guards { pauses_are_noticed: false, ..ALL }, "without looking"),
    ] {
        let (count, first) = red(guards, 20);
        println!("without {name}: {count} of 20 red; {first}");
        assert!(first.contains(verdict), "without {name}: {first}");
    }
    assert_eq!(red(ALL, 20), (0, String::new()), "with all guards");
}

/// What a seed has found: a timer that was due in the millisecond in which a pause ended.
#[test]
fn a_seed_that_was_red_is_green() {
    let mut world = World::new(436_966_713_117_148_889, everything(), ALL);
    world.run();
    assert_eq!(world.check_ledger().and_then(|()| world.check_conduct()), Ok(()));
}

#[test]
fn the_same_seed_gives_the_same_ledger() {
    let ledger = |seed| {
        let mut world = World::new(seed, everything(), ALL);
        world.run();
        format!("{:?}", world.ledger())
    };
    assert_eq!(ledger(7), ledger(7));
    assert_ne!(ledger(7), ledger(8));
}
