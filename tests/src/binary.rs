//! Which binary is tested: `BEATMESH_BIN`, else the one that stands where Cargo puts it for this build.

use std::path::PathBuf;
use std::process::Command;

/// The binary `beatmesh`.
///
/// # Panics
/// When there is none. The message says how to build it.
#[must_use]
pub fn path() -> PathBuf {
    find().unwrap_or_else(|problem| panic!("{problem}"))
}

/// The binary `beatmesh`.
///
/// # Errors
/// There is none: in words for people.
pub fn find() -> Result<PathBuf, String> {
    let path = match std::env::var_os("BEATMESH_BIN") {
        Some(path) => PathBuf::from(path),
        // target/<profile>/deps/<test> or target/<profile>/<benchmark> -> target/<profile>/beatmesh
        None => {
            let own = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
            let dir = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
            dir.expect("a file lies in a directory").join("beatmesh")
        }
    };
    // Absolute: nodes run in directories of their own.
    path.canonicalize().ok().filter(|path| path.is_file()).ok_or_else(|| {
        let path = path.display();
        format!(
            "there is no {path}: build it with `cargo build --release -p beatmesh-node`, or set BEATMESH_BIN"
        )
    })
}

/// A command of the binary, without this machine's own settings.
#[must_use]
pub fn command() -> Command {
    without_settings(Command::new(path()))
}

/// A command that leads to the binary in another way, without this machine's own settings.
#[must_use]
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BEATMESH_") {
            command.env_remove(name);
        }
    }
    command
}
