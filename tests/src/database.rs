//! The common database, read and written past the nodes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Scratch;
use crate::process::run;

/// Moves the file and what SQLite keeps beside it to another directory, under the feet of whoever has it open.
pub fn put(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory of this test");
    for name in ["mesh.db", "mesh.db-wal", "mesh.db-shm"] {
        if from.join(name).exists() {
            std::fs::rename(from.join(name), to.join(name)).expect("both are on one disk");
        }
    }
}

/// Runs statements of SQL in the database of the nodes of `dir`; answers what they print.
///
/// # Panics
/// When one of them is refused.
pub fn ask(dir: &Scratch, statements: &str) -> String {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 5000"]).arg(dir.join("mesh.db"));
    let said = run(sqlite, statements.as_bytes(), Duration::from_secs(20));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    said.stdout.trim_end().to_owned()
}
