//! A disk that says yes and forgets: what a data directory without fsync is to a machine that crashes. The
//! guards `generation_persisted` and `generation_outgrown` taken away.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use beatmesh_mesh::env::{FileLock, Files};

use super::files::Disk;

/// Keeps locks, and the first writes of one life of a node.
pub struct Forgetful {
    disk: Disk,
    /// So many more.
    keeps: AtomicU32,
}

impl Forgetful {
    /// Keeps so many writes. A start makes one, the generation's.
    #[must_use]
    pub fn after(disk: Disk, writes: u32) -> Self {
        Self { disk, keeps: AtomicU32::new(writes) }
    }
}

impl Files for Forgetful {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path, limit)
    }

    fn write_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let left = self.keeps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_or(Ok(()), |_| self.disk.write_durable(path, bytes))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.disk.try_lock(path)
    }
}
