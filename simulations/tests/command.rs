//! The command: what it prints, what it refuses, and with which exit codes.

use std::process::Command;

use serde_json::Value;

fn command(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_beatmesh-simulations")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Where any scenario will do.
const ONE: [&str; 2] = ["--scenario", "beat_owner_crashes"];
/// Without refutation nobody who was stopped comes back.
const PAUSED: [&str; 2] = ["--scenario", "beat_owner_paused"];

#[test]
fn it_lists_scenarios_and_guards() {
    let (code, out, _) = command(&["list"]);
    assert!(code == Some(0) && out.contains("beat_owner_crashes") && out.contains("cursor_compare"), "{out}");
}

#[test]
fn what_it_does_not_know_is_answered_with_the_nearest_name_and_exit_code_2() {
    let (code, _, error) = command(&["run", "--scenario", "beat_owner_crashed"]);
    assert!(code == Some(2) && error.contains("did you mean `beat_owner_crashes`?"), "{error}");
    let (code, _, error) = command(&["run", "--property", "views"]);
    assert!(code == Some(2) && error.contains("did you mean `"), "{error}");
    let (code, _, error) = command(&["replay", "--seed", "1", "--without", "cursor"]);
    assert!(code == Some(2) && error.contains("did you mean `cursor_compare`?"), "{error}");
    for wrong in [
        &["run", "--seeds", "5..5"][..],
        &["run", "--nodes", "2"],
        &["run", "--minutes", "0"],
        &["run", "--minutes", "1", "--seeds", "0..1"],
        &["replay", "--seed", "1", "--only", "first"],
        &["replay", "--seed", "1", "--only", "99"],
        &["replay", "--seed", "1", "--picture", "/nowhere/p.html"],
        &["run", "--scenario", "bridge", "--nodes", "3"],
        &["run", "--minutes", "1e300"],
        &["teeth", "--guard", "cursor"],
        &["run", "--property", "T0"],
    ] {
        let (code, _, error) = command(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {error}");
    }
}

#[test]
fn a_green_run_says_the_commit_its_speed_and_what_it_measured() {
    let (code, out, _) = command(&[&["run", "--seeds", "0..1", "--nodes", "4"][..], &ONE].concat());
    assert!(code == Some(0) && out.contains("0 of 1 seeds failed") && out.contains("p99="), "{out}");
    assert!(out.starts_with("commit ") && out.contains("simulated seconds a minute"), "{out}");
}

#[test]
fn a_red_run_says_property_seed_events_and_the_command_that_plays_it_again() {
    let run = [&["run", "--seeds", "0..2", "--without", "refutation"][..], &PAUSED].concat();
    let (code, out, _) = command(&run);
    assert!(code == Some(1) && out.contains("L5") && out.contains("replay --scenario"), "{out}");
    let (code, out, _) = command(&[&run[..], &["--property", "Q1"]].concat());
    assert!(code == Some(0) && !out.contains("L5"), "judged by another promise: {out}");
    let (code, out, _) = command(&[&run[..], &["--json"]].concat());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(code, Some(1), "{out}");
    assert_eq!(lines.first().unwrap()["kind"], "failure");
    assert!(lines[0]["replay"].as_str().unwrap().contains("--without refutation"));
    assert!(!lines[0]["events"].as_array().unwrap().is_empty());
    assert_eq!(lines.last().unwrap()["kind"], "scenario");
}

#[test]
fn a_time_is_filled_with_seeds_that_nobody_has_seen() {
    let (code, out, _) = command(&[&["run", "--minutes", "0.01", "--json"][..], &ONE].concat());
    let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(code == Some(0) && summary["seeds"].as_u64() >= Some(1), "{out}");
}

#[test]
fn a_failing_plan_is_shrunk_to_what_it_needs_and_can_be_played_again() {
    let guard = ["--without", "edits_leave_lines"];
    // Which seeds need the guard changes with every byte that nodes send.
    let search = ["run", "--scenario", "bridge", "--seeds", "0..60", "--json"];
    let (_, out, _) = command(&[&search[..], &guard].concat());
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["kind"], "failure", "no seed needs the guard");
    let seed = first["seed"].to_string();
    let replay = ["replay", "--scenario", "bridge", "--seed", &seed];
    let (code, out, _) = command(&[&replay[..], &["--shrink"], &guard].concat());
    assert!(code == Some(1) && out.contains("the smallest plan that breaks \"T1"), "{out}");
    let only = out.rsplit_once("--only '").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
    let (code, out, _) = command(&[&replay[..], &["--only", only], &guard].concat());
    assert!(code == Some(1) && out.contains("T1"), "{out}");
}

#[test]
fn a_guard_that_nothing_misses_is_a_failure() {
    let (code, out, _) =
        command(&[&["teeth", "--guard", "refutation", "--seeds", "0..2"][..], &PAUSED].concat());
    assert!(code == Some(0) && out.contains("L5"), "{out}");
    // Nobody is stopped for longer than a lease there.
    let (code, out, _) =
        command(&[&["teeth", "--guard", "attempt_token", "--seeds", "0..1"][..], &ONE].concat());
    assert!(code == Some(1) && out.contains("NOTHING"), "{out}");
}
