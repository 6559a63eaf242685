//! The directory of a `dev` mesh: locked for one at a time, with the secret that its nodes share.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use crate::config::secret;

/// The directory, as long as this process has it for itself.
pub(super) struct Place {
    dir: PathBuf,
    /// The lock goes when the file is closed, also by `kill -9`.
    _lock: File,
}

impl Place {
    /// Makes the directory and what belongs into it.
    pub(super) fn take(dir: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::usage(format!("--data-dir: {} {why}", dir.display()));
        // Nodes get it as text, and as part of a store's URL.
        match dir.to_str() {
            Some("") => return Err(Failure::usage("--data-dir: it is empty; write a path")),
            Some(text) if text.contains(['?', '\n']) || text.contains("://") => {
                return Err(wrong("holds a character that no URL of a store can carry".to_owned()));
            }
            Some(_) => {}
            None => return Err(wrong("is not valid UTF-8".to_owned())),
        }
        // For the owner only: it holds the secret and whatever functions leave there.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| wrong(format!("cannot be made: {error}")))?;
        let lock = lock(dir).map_err(wrong)?;
        secret::read_or_create(&dir.join("secret"))
            .map_err(|error| Failure::usage(error.without_setting()))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// A file or directory in it, as text for a flag. `take` has seen that it is text.
    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }
}

fn lock(dir: &Path) -> Result<File, String> {
    let open =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("dev.lock"));
    let mut file = open.map_err(|error| format!("cannot be written: {error}"))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for the message below; the lock works without it.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            let _ = file.rewind();
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(format!(
                "is used by another `beatmesh dev` (pid {}); stop it, or choose another directory",
                holder.trim()
            ))
        }
        Err(TryLockError::Error(error)) => Err(format!("cannot be locked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_at_a_time() {
        let dir = std::env::temp_dir().join(format!("beatmesh-place-{}", std::process::id()));
        let first = Place::take(&dir).unwrap();
        let Err(Failure::Usage(lines)) = Place::take(&dir) else { panic!("it was taken twice") };
        assert!(lines[0].contains(&std::process::id().to_string()), "{lines:?}");
        drop(first);
        drop(Place::take(&dir).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
