//! Which code runs: a failure is worth nothing without it.

use std::process::Command;

/// The commit, with a mark when something was changed since; `unknown` outside of a clone. A build can say
/// it in `BEATMESH_COMMIT`.
pub fn commit() -> String {
    if let Some(commit) = option_env!("BEATMESH_COMMIT") {
        return commit.to_owned();
    }
    let mut git = Command::new("git");
    git.args([
        "-C",
        env!("CARGO_MANIFEST_DIR"),
        "describe",
        "--always",
        "--exclude=*",
        "--abbrev=12",
        "--dirty",
    ]);
    let described = git.output().ok().filter(|output| output.status.success());
    let text = described.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or("unknown".to_owned())
}
