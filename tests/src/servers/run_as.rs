//! Who a server runs as: databases refuse root, or want a user to change to.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Who a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunAs {
    /// User and group; `None` for whoever runs the test.
    ids: Option<(u32, u32)>,
}

impl RunAs {
    /// Whoever runs the test.
    pub(crate) fn myself() -> Self {
        Self { ids: None }
    }

    /// For root the user whom the package made, else whoever runs the test. The command changes the user before
    /// it becomes the server: one that did so itself would lose its death signal.
    ///
    /// # Panics
    /// When there is no such user.
    pub(crate) fn user_for_root(name: &str) -> Self {
        let own = std::fs::metadata("/proc/self").expect("these tests need Linux").uid();
        if own != 0 {
            return Self::myself();
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("these tests need Linux");
        let ids = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_it.then_some((uid, gid))
        });
        assert!(
            ids.is_some(),
            "there is no user {name}: its package makes it, and `tests/run` installs that"
        );
        Self { ids }
    }

    /// The command runs as this user.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
    }

    /// A new directory that is this user's alone to write.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(crate) fn make_dir(self, path: &Path) {
        let made = std::fs::create_dir(path);
        made.unwrap_or_else(|error| panic!("{} cannot be made: {error}", path.display()));
        if let Some((uid, gid)) = self.ids {
            chown(path, Some(uid), Some(gid)).expect("root may give away what it owns");
        }
    }
}
