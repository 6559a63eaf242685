//! The data directory of a node: taken before anything else, kept until its end.
//!
//! Invariant: while a [`DataDir`] lives, no other node on this machine runs on that directory, and every
//! node that ever did is dead: the kernel takes the lock from a process only when it ends.

use std::io;
use std::path::{Path, PathBuf};

use beatmesh_mesh::env::{Clock, FileLock, Files};
use beatmesh_mesh::id::Generation;
use beatmesh_mesh::identity::{IdentityError, next_generation, outgrow};

/// Locked by the node that runs here; its bytes mean nothing.
const LOCK: &str = "lock";

/// Why the directory cannot be had. Nothing of another node was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error("{path}: {reason}")]
    Unusable {
        /// The directory.
        path: String,
        /// What the operating system says.
        reason: io::Error,
    },
    /// Another node has it.
    #[error("{0} is in use by another node on this machine; give each node a directory of its own")]
    Taken(String),
    /// The generation cannot be kept.
    #[error("{0}")]
    Identity(#[from] IdentityError),
}

/// A data directory that this node has for itself.
pub struct DataDir {
    path: PathBuf,
    generation: Generation,
    _lock: Box<dyn FileLock>,
}

impl DataDir {
    /// Makes the directory if need be, locks it, and begins a new generation in it.
    ///
    /// # Errors
    /// [`DataDirError`] names the directory.
    pub fn take(files: &dyn Files, clock: &dyn Clock, path: &Path) -> Result<Self, DataDirError> {
        let shown = || path.display().to_string();
        let unusable = |reason| DataDirError::Unusable { path: shown(), reason };
        files.create_dir(path).map_err(unusable)?;
        let lock = files.try_lock(&path.join(LOCK)).map_err(unusable)?;
        let lock = lock.ok_or_else(|| DataDirError::Taken(shown()))?;
        let generation = next_generation(files, clock, path)?;
        Ok(Self { path: path.to_owned(), generation, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that this node holds locked.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Makes durable that a later generation of this node was seen: the next start goes beyond it.
    ///
    /// # Errors
    /// [`IdentityError`] names the file.
    pub fn outgrow(&self, files: &dyn Files, later: Generation) -> Result<(), IdentityError> {
        outgrow(files, &self.path, later)
    }

    /// The node's generation, durable.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }
}
