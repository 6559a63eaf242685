//! Every scenario at a fixed seed, and what a swarm of faults leaves undecided: nothing.

use beatmesh_simulations::history::Event;
use beatmesh_simulations::regressions::{self, Regression};
use beatmesh_simulations::scenarios::{self, Scenario};
use beatmesh_simulations::trial;
use beatmesh_simulations::world::store::guards::Guards;

/// These take a debug build half a minute each; `tests/run` plays all scenarios in release.
const LONG: [&str; 4] =
    ["crash_loop", "many_schedules_at_once", "away_longer_than_remembered", "poison_task"];

fn keeps_every_promise(scenario: &Scenario) {
    if LONG.contains(&scenario.name) {
        println!("{} is left to the release build", scenario.name);
        return;
    }
    let outcome = trial::run(scenario, 1, Guards::default());
    assert_eq!(outcome.violations, [], "{}", scenario.name);
    let began = |event: &Event| matches!(event, Event::FaultBegan { .. });
    let count = outcome.history.iter().filter(|record| began(&record.event)).count();
    assert_eq!(count, outcome.faults.len(), "{}: each fault begins once", scenario.name);
}

#[test]
fn what_seeds_have_found_stays_mended() {
    for Regression { scenario, seed, found } in regressions::ALL {
        let scenario = scenarios::find(scenario).expect("it is a scenario's name");
        let outcome = trial::run(&scenario, seed, Guards::default());
        assert_eq!(outcome.violations, [], "seed {seed} of {}: {found}", scenario.name);
    }
}

/// Two tests for two processors.
#[test]
fn every_first_story_of_two_keeps_every_promise() {
    scenarios::ALL.iter().step_by(2).for_each(keeps_every_promise);
}

#[test]
fn every_second_story_of_two_keeps_every_promise() {
    scenarios::ALL.iter().skip(1).step_by(2).for_each(keeps_every_promise);
}

#[test]
fn a_swarm_of_faults_leaves_the_same_trace_when_it_is_played_again() {
    let swarm = scenarios::find("swarm").ok().unwrap();
    let [one, again] = [(); 2].map(|()| trial::run(&swarm, 5, Guards::default()));
    let differs = one.history.iter().zip(&again.history).find(|(one, again)| one != again);
    assert_eq!(differs, None);
    assert_eq!(one.hash, again.hash);
}
