//! The commands `report`, `replay --picture`, `core` and `membership`, as people type them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn command(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_beatmesh-simulations")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_report_is_one_page_with_each_scenario() {
    let to = file("report.html");
    let arguments = ["report", "--scenario", "bridge", "--seeds", "0..2", "--out", to.to_str().unwrap()];
    let (code, out, error) = command(&arguments);
    assert!(code == Some(0) && out.contains("report.html"), "{out}{error}");
    let page = std::fs::read_to_string(to).unwrap();
    assert!(page.contains("<section id=\"bridge\">") && page.contains("--scenario bridge --seeds 0..2"));
    let (code, _, error) = command(&["report", "--seeds", "0..1", "--out", "/nowhere/page.html"]);
    assert!(code == Some(2) && error.contains("/nowhere/page.html"), "{error}");
}

#[test]
fn a_replayed_seed_can_be_drawn() {
    let to = file("picture.html");
    let (code, out, error) = command(&["replay", "--seed", "0", "--picture", to.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(std::fs::read_to_string(to).unwrap().contains("seed 0"));
}

#[test]
fn the_core_prints_its_figures_and_refuses_what_proves_nothing() {
    let (code, out, _) = command(&["core", "--nodes", "40", "--seconds", "40", "--seeds", "0..2"]);
    assert!(code == Some(0) && out.contains("40 nodes, 40 s, 2 seeds: 0 violations"), "{out}");
    assert!(out.contains("double commits:                        0"), "{out}");
    for wrong in [["core", "--nodes", "3"], ["core", "--seconds", "5"]] {
        let (code, _, error) = command(&wrong);
        assert!(code == Some(2) && error.contains("at least"), "{error}");
    }
}

#[test]
fn the_membership_prints_its_figures_misses_its_parts_and_refuses_nonsense() {
    let small = ["membership", "--nodes", "5", "--quick", "--seeds", "0..2"];
    let (code, out, error) = command(&small);
    assert!(code == Some(0) && out.contains("kill: gone from all views"), "{out}{error}");
    let (code, out, _) = command(&[&small[..], &["--without", "refutation", "--json"]].concat());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.lines().all(|line| line.starts_with('{')), "{out}");
    for (wrong, says) in [
        (["--nodes", "2"], "from 3"),
        (["--loss", "90"], "percent"),
        (["--without", "luck"], "pause_guard"),
        (["--story", "fairy"], "isolated"),
        (["--seeds", "3..3"], "no seed"),
    ] {
        let (code, _, error) = command(&["membership", wrong[0], wrong[1]]);
        assert!(code == Some(2) && error.contains(says), "{error}");
    }
}
