//! Writes down which commit is built: a seed tells the same story only with the same code.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn main() {
    // With a mark when something was changed since; outside of a clone nobody knows.
    let commit = git(&["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]);
    println!("cargo::rustc-env=BEATMESH_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    for path in ["src", "../node/src", "../mesh/src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for file in ["HEAD", "index", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
