//! A node's generation: counted in its data directory, never going back.
//!
//! `max(last + 1, unix milliseconds)`: the counter survives a clock that was set back, the clock
//! survives a data directory that was lost. Written with fsync before the node says a word, because a
//! generation that was used once must never be used again (peers would ignore the new life: measured
//! 158 s of invisibility).

use std::io;
use std::path::Path;

use crate::env::{Clock, Files};
use crate::id::Generation;

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
    let path = data_dir.join(FILE);
    let io = |reason| IdentityError::Io { path: path.display().to_string(), reason };
    let last = match files.read(&path, 64).map_err(io)? {
        None => 0,
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .ok_or_else(|| IdentityError::Malformed { path: path.display().to_string() })?,
    };
    let wall = u64::try_from(clock.wall().0).unwrap_or(0);
    let next = last.saturating_add(1).max(wall);
    files.write_durable(&path, format!("{next}\n").as_bytes()).map_err(io)?;
    Ok(Generation(next))
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
        std::fs::write(dir.join(FILE), "garbage").unwrap();
        assert!(matches!(
            next_generation(&SystemFiles, &Fixed(1), &dir),
            Err(IdentityError::Malformed { .. })
        ));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
