//! Joins the sources into [`Settings`]: file, then environment, then flags; the later one wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::check;
use super::error::{ConfigError, Problem};
use super::keys;
use super::queue_url::QueueUrl;
use super::settings::Settings;
use super::source::{self, Flag, Given};
use super::store_url::StoreUrl;
use super::words::Label;

/// Variables that belong to the commands for users, not to a node's settings.
pub const CLIENT_VARIABLES: [&str; 5] =
    ["BEATMESH_URL", "BEATMESH_API_KEY", "BEATMESH_API_KEY_FILE", "BEATMESH_CONFIG", "BEATMESH_LOG"];

/// The largest configuration file that is read: a wrong path may name a disk image.
const LARGEST_FILE: u64 = 1 << 20;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// The configuration file, if one was named.
    pub file: Option<&'a Path>,
    /// The environment, as `std::env::vars_os` gives it.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags that were given.
    pub flags: Vec<Flag>,
}

/// What defaults are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The host's name; may be anything.
    pub hostname: String,
    /// Tells hosts of one name apart; may be empty.
    pub id: String,
    /// Cores that this process may use.
    pub cores: u32,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self {
            hostname: read("/proc/sys/kernel/hostname"),
            id: read("/etc/machine-id"),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
        }
    }

    /// A node's name when none is given: the same after a restart, another one for another data
    /// directory or another machine of the same name.
    fn node_name(&self, data_dir: &Path) -> Label {
        let plain: String = self
            .hostname
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let host: String = plain.trim_matches('-').chars().take(48).collect();
        let host = if host.is_empty() { "node" } else { host.trim_end_matches('-') };
        let directory = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let mut hash = Sha256::new();
        hash.update(self.id.as_bytes());
        hash.update([0]);
        hash.update(directory.as_os_str().as_encoded_bytes());
        let mark: String = hash.finalize()[..3].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{host}-{mark}")
            .parse()
            .expect("letters, digits and dashes, at most 55, not beginning with a dash")
    }
}

/// Joins the sources.
///
/// # Errors
/// Everything that is wrong, each with its setting, value and place.
pub fn load(sources: Sources<'_>, machine: &Machine) -> Result<Settings, ConfigError> {
    let file = sources.file.map(|path| Ok::<_, ConfigError>((path, read(path)?))).transpose()?;
    join(file, &sources.environment, sources.flags, machine)
}

/// The same with the text of the file at hand.
pub(super) fn join(
    file: Option<(&Path, String)>,
    environment: &[(OsString, OsString)],
    flags: Vec<Flag>,
    machine: &Machine,
) -> Result<Settings, ConfigError> {
    let mut problems = Vec::new();
    let mut given = Vec::new();
    if let Some((path, text)) = file {
        given.extend(source::from_toml(path, &text, &mut problems));
    }
    given.extend(source::from_environment(environment, is_tolerated, &mut problems));
    given.extend(source::from_flags(flags));

    // Every value is looked at, also one that a later source overrides: it would surprise its author
    // on the day when the other one goes.
    let mut settings = Settings::new(machine.node_name(Path::new("")), "./beatmesh-data".into());
    settings.node.slots = machine.cores.saturating_mul(4).clamp(8, 4_096);
    let mut winners: BTreeMap<&'static str, Given> = BTreeMap::new();
    for one in given {
        let outcome = match keys::find(&one.setting) {
            Some(key) => (key.set)(&mut settings, &one.value).map(|()| Some(key.name)),
            None => Err(keys::unknown(&one)),
        };
        match outcome {
            Ok(Some(name)) => drop(winners.insert(name, one)),
            Ok(None) => {}
            Err(message) => {
                problems.push(Problem { origin: Some(one.origin), setting: one.setting, message });
            }
        }
    }
    if !winners.contains_key("node.name") {
        settings.node.name = machine.node_name(&settings.node.data_dir);
    }
    if !winners.contains_key("seeds.database") {
        settings.seeds.database = StoreUrl::default_in(&settings.node.data_dir);
    }
    if !winners.contains_key("queue.url") {
        settings.queue.url = QueueUrl::Sql(settings.seeds.database.clone());
    }
    if problems.is_empty() {
        let origin = |setting: &str| winners.get(setting).map(|given| given.origin.clone());
        check::check(&settings, origin, &mut problems);
    }
    if problems.is_empty() { Ok(settings) } else { Err(ConfigError { problems }) }
}

/// Variables that begin like ours and are none of ours: client variables, and what Kubernetes sets
/// in every pod when a service is called `beatmesh`.
fn is_tolerated(name: &str) -> bool {
    let of_kubernetes = ["BEATMESH_SERVICE_HOST", "BEATMESH_SERVICE_PORT", "BEATMESH_PORT"];
    CLIENT_VARIABLES.contains(&name)
        || (!name.contains("__") && of_kubernetes.iter().any(|begin| name.starts_with(begin)))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let complain = |message: String| {
        ConfigError::from(Problem {
            origin: None,
            setting: String::new(),
            message: format!("the configuration file {} {message}", path.display()),
        })
    };
    let about = std::fs::metadata(path).map_err(|e| complain(format!("cannot be read: {e}")))?;
    if about.is_dir() {
        return Err(complain("is a directory; name a file".to_owned()));
    }
    if about.len() > LARGEST_FILE {
        return Err(complain(format!("is larger than {LARGEST_FILE} bytes; is it the right one?")));
    }
    std::fs::read_to_string(path).map_err(|e| complain(format!("cannot be read: {e}")))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
