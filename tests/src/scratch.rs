//! Private directories of tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test; kept when the test fails.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A fresh directory.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = std::env::var_os("BEATMESH_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = base.join(format!("beatmesh-e2e-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Self { path }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file in it, with this content.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).expect("the test's directory can be written");
        path
    }

    /// A file that only its owner can read, as secrets must be.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn secret_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .expect("the owner may change the mode");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("files of the failed test: {}", self.path.display());
        } else {
            // A directory that cannot be removed is in nobody's way.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
