//! A disk in memory: it belongs to the machine, so it outlives the node that writes on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beatmesh_mesh::env::{FileLock, Files};
use parking_lot::Mutex;

/// What an operation says that was made to fail.
pub const DISK_FAILED: &str = "the simulated disk has failed";

/// One machine's disk. Clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// What each file was before it was last written: `None` when it was not there.
    before: BTreeMap<PathBuf, Option<Vec<u8>>>,
    locked: BTreeSet<PathBuf>,
    /// So many operations go well, the next one fails.
    fails_after: Option<u8>,
}

impl Disk {
    /// Each file is again what it was before it was last written, whatever the disk had promised; answers
    /// how many that are.
    pub fn lose_last_writes(&self) -> usize {
        let mut contents = self.0.lock();
        let lost = std::mem::take(&mut contents.before);
        let count = lost.len();
        for (path, bytes) in lost {
            match bytes {
                Some(bytes) => drop(contents.files.insert(path, bytes)),
                None => drop(contents.files.remove(&path)),
            }
        }
        count
    }

    /// Holds what the other one holds: an image of it was put on it. Locks stay with processes.
    pub fn copy(&self, other: &Self) {
        let files = other.0.lock().files.clone();
        *self.0.lock() = Contents { files, ..Contents::default() };
    }

    /// What a file is, whether or not operations fail.
    #[must_use]
    pub fn look(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.lock().files.get(path).cloned()
    }

    /// Makes a file another one behind the back of whoever uses the disk; `None` takes it away.
    pub fn forge(&self, path: &Path, bytes: Option<Vec<u8>>) {
        let mut contents = self.0.lock();
        match bytes {
            Some(bytes) => drop(contents.files.insert(path.to_owned(), bytes)),
            None => drop(contents.files.remove(path)),
        }
    }

    /// After so many more operations one fails.
    pub fn fail_after(&self, operations: u8) {
        self.0.lock().fails_after = Some(operations);
    }

    /// # Errors
    /// It is the operation that fails.
    fn operate(&self) -> io::Result<()> {
        let mut contents = self.0.lock();
        let left = contents.fails_after;
        contents.fails_after = left.and_then(|left| left.checked_sub(1));
        if left == Some(0) { Err(io::Error::other(DISK_FAILED)) } else { Ok(()) }
    }
}

/// Locks go with the process that holds them.
struct DiskLock {
    disk: Disk,
    path: PathBuf,
}

impl FileLock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        self.disk.0.lock().locked.remove(&self.path);
    }
}

impl Files for Disk {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        self.operate()?;
        let bytes = self.0.lock().files.get(path).cloned();
        match bytes {
            Some(bytes) if bytes.len() > limit => Err(io::ErrorKind::FileTooLarge.into()),
            bytes => Ok(bytes),
        }
    }

    fn write_durable(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.operate()?;
        let mut contents = self.0.lock();
        let before = contents.files.insert(path.to_owned(), bytes.to_vec());
        contents.before.insert(path.to_owned(), before);
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.operate()?;
        let fresh = self.0.lock().locked.insert(path.to_owned());
        let lock = || Box::new(DiskLock { disk: self.clone(), path: path.to_owned() }) as Box<dyn FileLock>;
        Ok(fresh.then(lock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_freed_with_its_holder() {
        let disk = Disk::default();
        let path = Path::new("/lock");
        let lock = disk.try_lock(path).unwrap();
        assert!(lock.is_some() && disk.try_lock(path).unwrap().is_none());
        drop(lock);
        assert!(disk.try_lock(path).unwrap().is_some());
    }

    #[test]
    fn a_disk_that_lies_goes_back_by_one_write() {
        let (disk, path) = (Disk::default(), Path::new("/generation"));
        disk.write_durable(path, b"1").unwrap();
        disk.write_durable(path, b"2").unwrap();
        assert_eq!(disk.lose_last_writes(), 1);
        assert_eq!(disk.read(path, 9).unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(disk.lose_last_writes(), 0);
    }
}
