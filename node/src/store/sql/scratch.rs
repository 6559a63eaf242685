//! SQLite stores in directories that vanish: for tests and measurements of whatever works on a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::Env;
use beatmesh_mesh::system::{Ending, SystemSpawner, environment};

use super::{Retention, SqlStore};

/// Longer than anything here lives: nothing is forgotten.
pub const FOREVER: Duration = Duration::from_secs(86_400);

/// A directory that goes when this is dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A fresh one where temporary files go.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "a directory is nobody's default")]
    #[must_use]
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A fresh one below `parent`, to try another disk.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        static DIRECTORIES: AtomicU32 = AtomicU32::new(0);
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("beatmesh-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directories can be made there");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that cannot be removed is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The one file of a directory's store.
#[must_use]
pub fn url(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("mesh.db").display())
}

/// This machine, all tasks on the runtime that asks.
///
/// # Panics
/// Outside of a runtime.
#[must_use]
pub fn here() -> Env {
    let spawner = Arc::new(SystemSpawner::new(tokio::runtime::Handle::current(), Ending::default()));
    environment(spawner.clone(), spawner)
}

/// Opens a directory's store, which keeps everything; many may have it open at once.
///
/// # Panics
/// When it cannot be opened.
pub async fn open(dir: &Path) -> SqlStore {
    let keep = Retention { tasks: FOREVER, most_tasks: u32::MAX, ticks: FOREVER };
    SqlStore::open(&here(), &url(dir), keep).await.expect("a store in a directory of its own opens")
}
