//! A disk that says yes and forgets: what a data directory without fsync is to a machine that crashes. The
//! guard `generation_persisted` taken away.

use std::io;
use std::path::Path;

use beatmesh_mesh::env::{FileLock, Files};

use super::files::Disk;

/// Keeps locks and nothing else: each life of the node finds the directory as new.
pub struct Forgetful(pub Disk);

impl Files for Forgetful {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.read(path, limit)
    }

    fn write_durable(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.0.try_lock(path)
    }
}
