//! The mark that every program of a node carries in its environment, so that the node's next life knows
//! what the last one has left behind.
//!
//! `BEATMESH_LIFE=<token>-<device>-<inode>/<life>`. In front of the slash stands the node: a random token
//! kept in the data directory, and where on this machine the locked file lies. Whoever holds that lock
//! knows that every other node which could have written the same is dead; a copied data directory has the
//! token but not the place, so a copy never kills for the original. Behind the slash stands the life, random
//! too: a node never takes what it has started itself for something left behind.
//!
//! The mark names, it does not authorise: whoever can read or set it could kill the process anyway.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::{fs, io};

use beatmesh_mesh::env::Entropy;

use crate::data_dir::DataDir;

/// The variable that holds it.
pub(super) const VARIABLE: &str = "BEATMESH_LIFE";

/// The token's file in the data directory.
const FILE: &str = "process-mark";

/// Bytes of the token: nobody else draws the same.
const TOKEN: usize = 16;

/// One life of a node, as its programs are marked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    node: String,
    life: String,
    /// The token is new: no process on this machine can carry it yet.
    pub(super) first: bool,
}

impl Mark {
    /// The mark of a life that begins now. That `data_dir` is held is what makes the lives before it dead.
    ///
    /// # Errors
    /// When the data directory cannot be read or written.
    pub fn of_new_life(data_dir: &DataDir, dice: &dyn Entropy) -> io::Result<Self> {
        let path = data_dir.path().join(FILE);
        let known = known_token(&path)?;
        let first = known.is_none();
        let token = match known {
            Some(token) => token,
            None => new_token(&path, dice)?,
        };
        let lock = fs::metadata(data_dir.lock_file())?;
        let node = format!("{token}-{:x}-{:x}", lock.dev(), lock.ino());
        Ok(Self { node, life: drawn::<8>(dice), first })
    }

    /// What the programs of this life find in [`VARIABLE`].
    pub(super) fn value(&self) -> String {
        format!("{}/{}", self.node, self.life)
    }

    /// Whether a process with this environment was left behind by another life of this node.
    pub(super) fn left_behind(&self, environment: &[u8]) -> bool {
        variable(environment, VARIABLE)
            .and_then(|value| value.strip_prefix(self.node.as_bytes())?.strip_prefix(b"/"))
            .is_some_and(|life| life != self.life.as_bytes())
    }
}

/// The value of a variable in an environment as the kernel shows it: entries that end with NUL. Of two with
/// the same name the first counts, as for `getenv`.
pub(super) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut entries = environment.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// `None` also when the file is torn or holds something else: what nobody can read nobody has been marked with.
fn known_token(path: &Path) -> io::Result<Option<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let token = String::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned());
    Ok(token.filter(|text| text.len() == 2 * TOKEN && text.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

/// Not made durable: what a power cut takes away it takes together with every process that was marked.
fn new_token(path: &Path, dice: &dyn Entropy) -> io::Result<String> {
    let token = drawn::<TOKEN>(dice);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, format!("{token}\n").as_bytes())?;
    Ok(token)
}

/// So many random bytes, in hexadecimal.
fn drawn<const BYTES: usize>(dice: &dyn Entropy) -> String {
    let mut bytes = [0; BYTES];
    dice.fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(node: &str, life: &str) -> Mark {
        Mark { node: node.to_owned(), life: life.to_owned(), first: false }
    }

    #[test]
    fn only_another_life_of_the_same_node_has_left_it_behind() {
        let me = mark("0a1b-fd01-7", "11");
        let table: [(&[u8], bool); 16] = [
            (b"BEATMESH_LIFE=0a1b-fd01-7/22\0", true),
            (b"PATH=/bin\0BEATMESH_LIFE=0a1b-fd01-7/22\0HOME=/\0", true),
            // The last entry of an environment that was cut off by a limit.
            (b"PATH=/bin\0BEATMESH_LIFE=0a1b-fd01-7/22", true),
            // This life.
            (b"BEATMESH_LIFE=0a1b-fd01-7/11\0", false),
            // Another token, another device, another inode: also when one begins like the other.
            (b"BEATMESH_LIFE=0a1c-fd01-7/22\0", false),
            (b"BEATMESH_LIFE=0a1b-fd02-7/22\0", false),
            (b"BEATMESH_LIFE=0a1b-fd01-70/22\0", false),
            (b"BEATMESH_LIFE=0a1b-fd01-\0", false),
            (b"BEATMESH_LIFE=0a1b-fd01-7\0", false),
            // Another variable, or the text inside another value.
            (b"XBEATMESH_LIFE=0a1b-fd01-7/22\0", false),
            (b"BEATMESH_LIFE2=0a1b-fd01-7/22\0", false),
            (b"X=BEATMESH_LIFE=0a1b-fd01-7/22\0", false),
            // The first entry is what the program itself sees.
            (b"BEATMESH_LIFE=\0BEATMESH_LIFE=0a1b-fd01-7/22\0", false),
            (b"", false),
            (b"\0\0\0", false),
            (b"\xff\xfe=\0BEATMESH_LIFE\0", false),
        ];
        for (environment, left) in table {
            assert_eq!(me.left_behind(environment), left, "{}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn what_a_life_writes_its_next_life_recognises_and_it_does_not() {
        let (me, next, copy) = (mark("ab-1-2", "11"), mark("ab-1-2", "12"), mark("ab-1-3", "12"));
        let environment = format!("A=b\0{VARIABLE}={}\0", me.value()).into_bytes();
        assert!(next.left_behind(&environment));
        assert!(!me.left_behind(&environment));
        assert!(!copy.left_behind(&environment));
    }

    #[test]
    fn a_variable_may_be_empty_or_hold_anything() {
        assert_eq!(variable(b"A=1\0B=\0C=x=y\0", "B"), Some(&b""[..]));
        assert_eq!(variable(b"A=1\0B=\0C=x=y\0", "C"), Some(&b"x=y"[..]));
        assert_eq!(variable(b"A=\xff\0", "A"), Some(&b"\xff"[..]));
        assert_eq!(variable(b"A=1\0", "D"), None);
    }
}
