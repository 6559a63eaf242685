//! The secret that the nodes of a mesh share. Who holds it can join as any node, so it has at least
//! 128 bits: with fewer, one recorded handshake could be guessed at offline.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::{alphabet, engine::DecodePaddingMode};
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::settings::Settings;

/// Tells a secret of beatmesh from other random texts, for people and for scanners of repositories.
const PREFIX: &str = "bm1_";

/// 128 bits.
const LEAST_BYTES: usize = 16;

/// What a fresh secret holds: 256 bits.
const FRESH_BYTES: usize = 32;

/// A fresh secret's characters after the prefix.
const FRESH_CHARS: usize = 43;

/// Part of a secret is still a secret, of another mesh: told here, or two nodes refuse each other without a reason
/// that anybody sees.
const CUT: &str =
    "is not whole: what begins with bm1_ has 43 characters after that; copy it from another node once more";

/// Fewer distinct byte values than this were not drawn at random (32 random bytes have about 30, 16
/// have about 15).
const LEAST_DISTINCT: usize = 8;

/// The largest secret file that is read.
const LARGEST_FILE: u64 = 64 * 1024;

/// The shared secret; never shown.
#[derive(Clone)]
pub struct MeshSecret(SecretSlice<u8>);

impl MeshSecret {
    /// Reads a secret from its text: hexadecimal, or base64 in either alphabet; the prefix is optional.
    ///
    /// # Errors
    /// Why the text is no secret; never repeats it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).unwrap_or(text);
        if body.is_empty() {
            return Err("is empty");
        }
        if text.starts_with(PREFIX) && body.len() != FRESH_CHARS {
            return Err(CUT);
        }
        let bytes = decode(body).ok_or("holds no secret: neither base64 nor hexadecimal")?;
        if bytes.len() < LEAST_BYTES {
            return Err("is too short: a secret has at least 128 bits");
        }
        if bytes.iter().collect::<std::collections::BTreeSet<_>>().len() < LEAST_DISTINCT {
            return Err("repeats itself: it was not drawn at random");
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, to derive keys from.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for MeshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshSecret(***)")
    }
}

/// Why there is no secret. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such file.
    #[error(
        "security.secret_file: there is no file {0}; make one with `beatmesh secret new --out {0}` and give every node the same"
    )]
    Missing(PathBuf),
    /// The file is there and cannot be read or written.
    #[error("security.secret_file: {path} {what}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// The content is no secret.
    #[error("security.secret_file: {path} {reason}{}", if *reason == CUT { "" } else { "; make one with `beatmesh secret new`" })]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl SecretError {
    /// The error without the setting's name, for a command that was given the file directly.
    #[must_use]
    pub fn without_setting(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("security.secret_file: ").unwrap_or(&text).to_owned()
    }
}

/// The secret of a node with these settings. Without `security.secret_file` it is the file `secret`
/// in the data directory, which is made when it is missing.
///
/// # Errors
/// When the file is missing though it was named, unreadable, or no secret.
pub fn of(settings: &Settings) -> Result<MeshSecret, SecretError> {
    match &settings.security.secret_file {
        Some(path) => read(path),
        None => read_or_create(&settings.node.data_dir.join("secret")),
    }
}

/// Reads a secret file; warns in the log when others on this machine can read it too. That is no
/// refusal, because secrets mounted into containers usually look like this.
///
/// # Errors
/// When the file is missing, unreadable, or no secret.
pub fn read(path: &Path) -> Result<MeshSecret, SecretError> {
    let io = |what| move |error| SecretError::Io { path: path.to_owned(), what, error };
    let about = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SecretError::Missing(path.to_owned()));
        }
        about => about.map_err(io("cannot be read"))?,
    };
    let unfit = |reason| SecretError::Unfit { path: path.to_owned(), reason };
    if !about.is_file() {
        return Err(unfit("is not a file"));
    }
    if about.len() > LARGEST_FILE {
        return Err(unfit("is far too large for a secret"));
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(io("cannot be read"))?);
    if is_open_to_others(about.mode()) {
        tracing::warn!(
            file = %path.display(),
            "the secret can be read by other users of this machine; `chmod 600` keeps it private"
        );
    }
    MeshSecret::parse(text.expose_secret()).map_err(unfit)
}

/// Reads a secret file, or makes it with a fresh secret, readable by its owner only.
///
/// # Errors
/// As [`read`], and when the file cannot be written.
pub fn read_or_create(path: &Path) -> Result<MeshSecret, SecretError> {
    match read(path) {
        Err(SecretError::Missing(_)) => match create(path, &fresh()) {
            // Two nodes started at once: the other one's secret stands.
            Err(SecretError::Io { error, .. }) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                read(path)
            }
            Err(other) => Err(other),
            Ok(()) => read(path),
        },
        other => other,
    }
}

/// Writes a new file for its owner only; never overwrites one.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create(path: &Path, secret: &SecretString) -> Result<(), SecretError> {
    let io = |error| SecretError::Io { path: path.to_owned(), what: "cannot be written", error };
    // Under another name first: a crash must not leave half a secret, which would be no secret.
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            writeln!(file, "{}", secret.expose_secret())?;
            file.sync_all()?;
            std::fs::hard_link(&draft, path)
        });
    let _ = std::fs::remove_file(&draft);
    written.map_err(io)
}

/// A fresh secret as text: `bm1_` and 43 characters.
#[must_use]
pub fn fresh() -> SecretString {
    let mut bytes = [0_u8; FRESH_BYTES];
    SysRng.try_fill_bytes(&mut bytes).expect("the kernel's random source answers on every supported system");
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

fn decode(body: &str) -> Option<Vec<u8>> {
    // Hexadecimal first: its digits are base64 too, and every node must read the same bytes.
    if body.len().is_multiple_of(2) && body.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pair = |i: usize| u8::from_str_radix(&body[i..i + 2], 16).ok();
        return (0..body.len()).step_by(2).map(pair).collect();
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::URL_SAFE, &alphabet::STANDARD]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(body).ok())
}

/// Group or world may read it.
fn is_open_to_others(mode: u32) -> bool {
    mode & 0o044 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_secret_reads_back_and_no_two_are_equal() {
        let (one, two) = (fresh(), fresh());
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert_eq!(one.expose_secret().len(), 4 + 43);
        assert_eq!(MeshSecret::parse(one.expose_secret()).unwrap().expose().len(), FRESH_BYTES);
    }

    #[test]
    fn hexadecimal_and_base64_are_taken_and_weak_ones_refused() {
        for good in
            ["000102030405060708090a0b0c0d0e0f", "AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0ODw\n"]
        {
            assert_eq!(MeshSecret::parse(good).unwrap().expose(), (0..16).collect::<Vec<u8>>(), "{good}");
        }
        for (bad, part) in [
            ("", "empty"),
            ("bm1_", "empty"),
            ("bm1_AAECAwQFBgcICQoLDA0ODw", "not whole"),
            ("bm1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A", "not whole"),
            ("correct horse battery staple", "neither"),
            ("000102030405060708090a0b0c0d0e", "128 bits"),
            ("00000000000000000000000000000000", "random"),
        ] {
            assert!(MeshSecret::parse(bad).unwrap_err().contains(part), "{bad}");
        }
    }

    #[test]
    fn a_file_is_made_once_for_its_owner_only_and_errors_name_it() {
        let dir = std::env::temp_dir().join(format!("beatmesh-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("secret");
        assert!(read(&path).unwrap_err().to_string().contains("beatmesh secret new --out"));
        let first = read_or_create(&path).unwrap();
        assert_eq!(first.expose(), read_or_create(&path).unwrap().expose());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(create(&path, &fresh()).is_err(), "a secret is never overwritten");
        std::fs::write(&path, "canary").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && !error.contains("canary"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn others_reading_is_noticed() {
        assert!(!is_open_to_others(0o100_600));
        assert!(is_open_to_others(0o100_640));
        assert!(is_open_to_others(0o100_604));
    }
}
