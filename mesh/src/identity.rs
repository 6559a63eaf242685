//! A node's generation: counted in its data directory, never going back.
//!
//! `max(last + 1, unix milliseconds)`: the counter survives a clock that was set back, the clock
//! survives a data directory that was lost. Written with fsync before the node says a word, because a
//! generation that was used once must never be used again (peers would ignore the new life: measured
//! 158 s of invisibility).
//!
//! A node id is one process. Of two, the later generation stays. Of two with one generation (a copied machine, or a
//! disk that lost its last write, on a machine whose clock is back) the one with the higher process number stays,
//! whoever came first: each member lets that one take the other one's place, and refuses the other one for as long
//! as it does not hold that life for dead, also without a link. So it is the same one everywhere, and the one that
//! stays is never refused, not even where the two came up on either side of a cut. The refused one asks the same
//! member again after the time in which a dead process is found dead; only if that still knows the same other
//! process does it end, without a goodbye, which would end the life that both have. A life that has left is over:
//! its generation is refused until the next start begins a later one.

use std::io;
use std::path::Path;

use crate::env::{Clock, Files};
use crate::id::{Generation, ProcessId};

const FILE: &str = "generation";

/// Why there is no generation.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The data directory cannot be used.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system says.
        reason: io::Error,
    },
    /// Somebody wrote something else there.
    #[error("{path} does not hold a generation; remove it if this data directory belongs to no other node")]
    Malformed {
        /// The file.
        path: String,
    },
    /// Somebody speaks of a generation that no clock can have begun. Nothing was written.
    #[error("no clock can have begun generation {0}")]
    MadeUp(Generation),
}

/// No generation that began by a clock is later: unix milliseconds of the year 10889. Beyond it lies what
/// somebody made up, and what would leave no room for the next one.
const LATEST: u64 = 1 << 48;

/// Why a process is not the node that it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Another process answers with the node's id at the address where the node was last seen.
    Elsewhere,
    /// Another process of the same generation is a member, and of the two it is the one that stays. The next
    /// start begins a later generation.
    Twin {
        /// The one that stays.
        process: ProcessId,
    },
    /// A later generation of the node was seen in the mesh: another process has begun it, or the disk lost
    /// this node's count while its clock was set back.
    Outdated {
        /// The generation that was seen.
        later: Generation,
    },
}

/// Begins a new generation in `data_dir` and makes it durable.
///
/// # Errors
/// [`IdentityError`] names the file.
pub fn next_generation(
    files: &dyn Files,
    clock: &dyn Clock,
    data_dir: &Path,
) -> Result<Generation, IdentityError> {
    let wall = u64::try_from(clock.wall().0).unwrap_or(0);
    let next = last(files, data_dir)?.saturating_add(1).max(wall);
    write(files, data_dir, next)?;
    Ok(Generation(next))
}

/// Makes durable that `later` was begun, wherever that was: the next start goes beyond it.
///
/// # Errors
/// [`IdentityError`] names the file.
pub fn outgrow(files: &dyn Files, data_dir: &Path, later: Generation) -> Result<(), IdentityError> {
    if later.0 > LATEST {
        return Err(IdentityError::MadeUp(later));
    }
    if last(files, data_dir)? < later.0 { write(files, data_dir, later.0) } else { Ok(()) }
}

/// 0 when none was ever begun here.
fn last(files: &dyn Files, data_dir: &Path) -> Result<u64, IdentityError> {
    let path = data_dir.join(FILE);
    let shown = || path.display().to_string();
    match files.read(&path, 64).map_err(|reason| IdentityError::Io { path: shown(), reason })? {
        None => Ok(0),
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .ok_or_else(|| IdentityError::Malformed { path: shown() }),
    }
}

fn write(files: &dyn Files, data_dir: &Path, generation: u64) -> Result<(), IdentityError> {
    let path = data_dir.join(FILE);
    let io = |reason| IdentityError::Io { path: path.display().to_string(), reason };
    files.write_durable(&path, format!("{generation}\n").as_bytes()).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::UnixMs;
    use crate::system::SystemFiles;
    use tokio::time::Instant;

    struct Fixed(i64);

    impl Clock for Fixed {
        fn now(&self) -> Instant {
            unreachable!("a generation needs only the wall clock")
        }

        fn wall(&self) -> UnixMs {
            UnixMs(self.0)
        }
    }

    #[test]
    fn a_generation_grows_even_when_the_clock_goes_back() {
        let dir = std::env::temp_dir().join(format!("beatmesh-generation-{}", std::process::id()));
        SystemFiles.create_dir(&dir).unwrap();
        let next = |wall| next_generation(&SystemFiles, &Fixed(wall), &dir).unwrap().0;
        assert_eq!(next(1_000), 1_000);
        assert_eq!(next(2_000), 2_000);
        assert_eq!(next(500), 2_001);
        assert_eq!(next(-5), 2_002);
        outgrow(&SystemFiles, &dir, Generation(9_000)).unwrap();
        outgrow(&SystemFiles, &dir, Generation(8_000)).unwrap();
        assert_eq!(next(3_000), 9_001, "beyond what was seen elsewhere");
        assert!(matches!(outgrow(&SystemFiles, &dir, Generation(u64::MAX)), Err(IdentityError::MadeUp(_))));
        assert_eq!(next(3_000), 9_002, "there is always a next one");
        std::fs::write(dir.join(FILE), "garbage").unwrap();
        assert!(matches!(
            next_generation(&SystemFiles, &Fixed(1), &dir),
            Err(IdentityError::Malformed { .. })
        ));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
