//! Stores in directories that vanish, and the test binary run again as another process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beatmesh_node::queue::task::{NewTask, TaskId};
use beatmesh_node::store::sql::scratch::here;
pub use beatmesh_node::store::sql::scratch::{Scratch, url};
use beatmesh_node::store::sql::{OpenError, Retention, SqlStore, scratch};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use uuid::Uuid;

/// Longer than anything here takes on a loaded machine; reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Names the directory to a process started by [`again`].
const DIRECTORY: &str = "BEATMESH_TEST_DIRECTORY";

pub async fn open(dir: &Path) -> Arc<SqlStore> {
    Arc::new(scratch::open(dir).await)
}

pub async fn try_open(url: &str, keep: Duration) -> Result<SqlStore, OpenError> {
    try_open_with(url, keep, u32::MAX).await
}

pub async fn try_open_with(url: &str, keep: Duration, most: u32) -> Result<SqlStore, OpenError> {
    SqlStore::open(&here(), url, Retention { tasks: keep, most_tasks: most, ticks: keep }).await
}

/// A connection of somebody else.
pub async fn stranger(dir: &Path) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&url(dir)).await.expect("connected")
}

pub async fn run(connection: &mut AnyConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect(statement);
}

/// The single number that a query answers.
pub async fn number(connection: &mut AnyConnection, query: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(connection).await.expect(query);
    row.try_get::<Option<i64>, _>(0).expect(query).unwrap_or(0)
}

pub fn task() -> NewTask {
    static TASKS: AtomicU64 = AtomicU64::new(1);
    let place = u128::from(TASKS.fetch_add(1, Ordering::Relaxed)) << 64;
    let id = TaskId(Uuid::from_u128(place | u128::from(std::process::id()) << 32));
    NewTask { input: vec![7; 300].into(), ..NewTask::new(id, "f".parse().expect("a name")) }
}

/// This test binary once more, as another process that runs only `test`, over `dir`.
pub fn again(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// The directory, in a process started by [`again`]; `None` in the first process, where the test that
/// asks has nothing to do.
pub fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// A file system of its own over `dir`, as small as `options` say; `None` where that is not allowed.
pub fn mount(dir: &Path, options: &str) -> Option<Mounted> {
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output();
    match mount {
        Ok(output) if output.status.success() => Some(Mounted(dir.to_owned())),
        other => {
            println!("skipped: this user may not mount a file system: {other:?}");
            None
        }
    }
}

/// Gone when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().expect("mount runs");
        assert!(status.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
