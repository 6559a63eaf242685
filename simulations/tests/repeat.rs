//! What all the others rest on: a seed has one trace, and what differs is named. `tests/run` checks a seed of each
//! scenario in release; here are the one that is told most often and the one that has all faults.

use std::path::Path;
use std::process::Command;

use beatmesh_simulations::repeat::{self, NotSame};
use beatmesh_simulations::scenarios;
use beatmesh_simulations::trace;
use beatmesh_simulations::trial;
use beatmesh_simulations::world::store::guards::Guards;

const PROGRAM: &str = env!("CARGO_BIN_EXE_beatmesh-simulations");

#[test]
fn a_seed_has_the_same_trace_on_two_threads_and_in_two_processes() {
    for scenario in ["beat_owner_crashes", "swarm"].map(|name| scenarios::find(name).unwrap()) {
        for seed in [0, 5] {
            let same = repeat::check(&scenario, seed, Path::new(PROGRAM));
            let same = same.unwrap_or_else(|error| panic!("{} seed {seed}: {error}", scenario.name));
            assert!(same.packets > 1_000 && same.events > 100, "{same:?}");
        }
    }
}

/// Two seeds stand in for two runs of one seed that went different ways.
#[test]
fn a_run_that_goes_another_way_is_another_trace_and_its_first_difference_is_named() {
    let [one, other] = [1, 2].map(|seed| trial::run(&scenarios::ALL[0], seed, Guards::default()));
    assert_ne!(one.hash, other.hash);
    let of = |outcome: &trial::Outcome| -> Vec<String> {
        trace::lines(&outcome.history, &outcome.packets).collect()
    };
    let difference = trace::first_difference(of(&one), of(&other)).unwrap();
    assert_ne!(difference.one, difference.other);
    assert!(difference.to_string().contains("one run:  {"), "{difference}");
}

#[test]
fn a_process_that_does_not_play_is_no_proof() {
    let error = repeat::check(&scenarios::ALL[0], 0, Path::new("/bin/true")).unwrap_err();
    assert!(matches!(error, NotSame::NoProcess(_)), "{error}");
}

#[test]
fn the_command_repeats_a_seed_and_says_its_trace() {
    let output =
        Command::new(PROGRAM).args(["repeat", "--seeds", "3..4", "--scenario", "bridge"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("same trace"), "{text}");
}
