//! The common database, read and written past the nodes.

use std::process::Command;
use std::time::Duration;

use crate::Scratch;
use crate::process::run;

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
