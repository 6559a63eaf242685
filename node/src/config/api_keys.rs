//! The keys that clients of the HTTP API show: a file of lines `name:key`.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::words::Label;

/// Shorter keys can be guessed over the network.
const SHORTEST_KEY: usize = 16;

/// The largest file that is read: thousands of keys.
const LARGEST_FILE: u64 = 1 << 20;

/// The keys that are accepted; never shown.
#[derive(Debug, Default)]
pub struct ApiKeys(Vec<(Label, SecretString)>);

/// Why the keys cannot be used. Names file and line, never a key.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeysError {
    /// The file cannot be read.
    #[error("security.api_keys_file: {path} cannot be read: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line, or the whole file when `line` is 0, is wrong.
    #[error("security.api_keys_file: {path} line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without a key would lock everybody out.
    #[error("security.api_keys_file: {0} holds no key; write lines `name:key`")]
    Empty(PathBuf),
}

impl ApiKeys {
    /// Reads the text of such a file. A text without keys lets nobody in.
    ///
    /// # Errors
    /// The number of the line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        parse(text).map(Self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, ApiKeysError> {
        let io = |error| ApiKeysError::Io { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(io)?.len() > LARGEST_FILE {
            return Err(io(std::io::Error::other("it is far too large for a file of keys")));
        }
        let text = SecretString::from(std::fs::read_to_string(path).map_err(io)?);
        let keys = parse(text.expose_secret()).map_err(|(line, reason)| ApiKeysError::Line {
            path: path.to_owned(),
            line,
            reason,
        })?;
        if keys.is_empty() { Err(ApiKeysError::Empty(path.to_owned())) } else { Ok(Self(keys)) }
    }

    /// The name of the key that a client shows, or `None` when it is not one of these. Takes the
    /// same time whichever key it is and however much of it is right.
    #[must_use]
    pub fn verify(&self, shown: &str) -> Option<&str> {
        let shown = Sha256::digest(shown.as_bytes());
        let mut found = None;
        for (name, key) in &self.0 {
            let key = Sha256::digest(key.expose_secret().as_bytes());
            if bool::from(key.as_slice().ct_eq(shown.as_slice())) {
                found = Some(name.as_str());
            }
        }
        found
    }

    /// The names of the keys, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

fn parse(text: &str) -> Result<Vec<(Label, SecretString)>, (usize, String)> {
    let mut keys: Vec<(Label, SecretString)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Nothing of the line is repeated: without its colon, all of it may be the key.
        let wrong = |reason: &str| (number, reason.to_owned());
        let (name, key) = line.split_once(':').ok_or_else(|| wrong("write `name:key`"))?;
        let name: Label = name.trim().parse().map_err(|_| {
            wrong("the name before the `:` must be 1 to 63 of a-z, 0-9 and `-`, without `-` at an end")
        })?;
        let key = key.trim();
        if key.len() < SHORTEST_KEY {
            return Err(wrong("the key is shorter than 16 characters"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the key holds a character that no HTTP header can carry"));
        }
        if keys.iter().any(|(other, _)| *other == name) {
            return Err((number, format!("the name `{name}` stands twice")));
        }
        keys.push((name, key.to_owned().into()));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    #[test]
    fn lines_are_names_and_keys() {
        let keys = ApiKeys(parse(&format!("# who\n\n ci : {KEY}\nops:{KEY}x:y\n")).unwrap());
        assert_eq!(keys.names().collect::<Vec<_>>(), ["ci", "ops"]);
        assert_eq!(keys.verify(KEY), Some("ci"));
        assert_eq!(keys.verify(&format!("{KEY}x:y")), Some("ops"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "ci"] {
            assert_eq!(keys.verify(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wrong_lines_are_named_without_showing_a_key() {
        for (text, line, part) in [
            ("canary-canary-canary".to_owned(), 1, "name:key"),
            (format!("a:{KEY}\na:{KEY}"), 2, "twice"),
            ("a:canary".to_owned(), 1, "shorter"),
            (format!("Canary canary:{KEY}"), 1, "name before"),
            (format!("a:{KEY} canary"), 1, "header"),
        ] {
            let (at, reason) = parse(&text).unwrap_err();
            assert_eq!(at, line, "{reason}");
            assert!(reason.contains(part) && !reason.to_lowercase().contains("canary"), "{reason}");
        }
        let error = format!("{:?}", ApiKeys(parse(&format!("a:{KEY}")).unwrap()));
        assert!(!error.contains(KEY), "{error}");
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let path = std::env::temp_dir().join(format!("beatmesh-keys-{}", std::process::id()));
        assert!(ApiKeys::read(&path).unwrap_err().to_string().contains(path.to_str().unwrap()));
        std::fs::write(&path, "# nobody\n").unwrap();
        assert!(matches!(ApiKeys::read(&path), Err(ApiKeysError::Empty(_))));
        std::fs::remove_file(&path).unwrap();
    }
}
