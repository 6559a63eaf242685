//! Directories that vanish, stores in them, and the test binary run again as another process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::Env;
use beatmesh_mesh::system::{Ending, SystemClock, SystemEntropy, SystemFiles, SystemNetwork, SystemSpawner};
use beatmesh_node::queue::task::{NewTask, Origin, TaskId};
use beatmesh_node::store::sql::{OpenError, Retention, SqlStore};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use uuid::Uuid;

/// Longer than anything here takes on a loaded machine; reaching it is a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Names the directory to a process started by [`again`].
const DIRECTORY: &str = "BEATMESH_TEST_DIRECTORY";

/// A directory of one test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static DIRECTORIES: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("beatmesh-store-{}-{}", std::process::id(), DIRECTORIES.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn url(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("mesh.db").display())
}

pub async fn open(dir: &Path) -> Arc<SqlStore> {
    let day = Duration::from_secs(86_400);
    Arc::new(try_open(&url(dir), day).await.expect("opened"))
}

pub async fn try_open(url: &str, keep: Duration) -> Result<SqlStore, OpenError> {
    let spawner = Arc::new(SystemSpawner::new(tokio::runtime::Handle::current(), Ending::default()));
    let env = Env {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        network: Arc::new(SystemNetwork),
        files: Arc::new(SystemFiles),
        spawner: spawner.clone(),
        mesh_spawner: spawner,
    };
    SqlStore::open(&env, url, Retention { tasks: keep, ticks: keep }).await
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
    NewTask {
        id: TaskId(Uuid::from_u128(place | u128::from(std::process::id()) << 32)),
        function: "f".parse().expect("a name"),
        queue: "default".parse().expect("a name"),
        priority: 0,
        input: vec![7; 300].into(),
        content_type: String::new(),
        delay: Duration::ZERO,
        expires: None,
        retries: 0,
        origin: Origin::Api,
        reply_to: String::new(),
    }
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
