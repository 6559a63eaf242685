//! The file that a store lives in: made for its owner alone, and watched.
//!
//! A process that has an SQLite file open goes on with it after it was removed or replaced, and whatever it
//! commits then is gone at its end. So the path is held against the open file around every transaction and
//! before every read; a look is one `stat`, about a microsecond.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Clock;
use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use crate::queue::StoreError;

/// For its owner alone: it holds inputs, results and the environment of functions. SQLite gives its log and
/// its index the same mode.
const MODE: u32 = 0o600;

/// Which file a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` when there is none, or when nobody can say.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { device: found.dev(), inode: found.ino() })
    }
}

/// The path of a store's file; a database in memory has one that leads nowhere.
pub(super) fn path(url: &str) -> sqlx::Result<PathBuf> {
    Ok(SqliteConnectOptions::from_str(url)?.get_filename().to_owned())
}

/// Makes an empty file, which SQLite takes for a new database, if there is none. What is there keeps its
/// mode. Why it cannot be made is told by SQLite, which tries next.
pub(super) fn make(path: &Path) {
    let is_in_memory = path.to_str().is_some_and(|path| path.starts_with("file:"));
    if !is_in_memory {
        let _ = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    }
}

/// What stands where the open file should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// The open file.
    Same,
    /// None.
    Gone,
    /// One that is not open here.
    Another,
}

/// The place of the open file, and since when it was there without a doubt.
pub(super) struct Home {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    file: FileId,
    /// Connections that are older may have another file open.
    since: Instant,
    is_away: bool,
}

impl Home {
    pub(super) fn new(path: PathBuf, file: FileId, clock: Arc<dyn Clock>) -> Self {
        let known = Known { file, since: clock.now(), is_away: false };
        Self { path, clock, known: Mutex::new(known) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks, and says so in the log when the file has gone or come back.
    pub(super) fn look(&self) -> Sight {
        let found = FileId::at(&self.path);
        let mut known = self.known.lock();
        let sight = match found {
            Some(file) if file == known.file => Sight::Same,
            Some(_) => Sight::Another,
            None => Sight::Gone,
        };
        let is_away = sight != Sight::Same;
        if is_away != known.is_away {
            known.is_away = is_away;
            known.since = self.clock.now();
            let path = self.path.display();
            if is_away {
                tracing::error!(%path, "the database file was removed or replaced under this node: nothing is stored or read until it is back");
            } else {
                tracing::info!(%path, "the database file is back");
            }
        }
        sight
    }

    /// The store was found in this file: it may be a copy that took the place of the first one.
    pub(super) fn move_to(&self, file: FileId) {
        let mut known = self.known.lock();
        if known.file != file {
            (known.file, known.since) = (file, self.clock.now());
        }
    }

    /// Nothing is asked of a file that is not in its place.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.look() {
            Sight::Same => Ok(()),
            Sight::Gone | Sight::Another => Err(Self::unavailable()),
        }
    }

    /// Whether a connection that was opened so long ago has the present file open.
    pub(super) fn holds(&self, age: Duration) -> bool {
        age < self.clock.now().duration_since(self.known.lock().since)
    }

    /// Where the file should be stands in the log, not in answers to clients.
    pub(super) fn unavailable() -> StoreError {
        let reason = "the database file was removed or replaced; put it back, or restart all nodes to begin with another";
        StoreError::Unavailable(reason.to_owned())
    }
}
