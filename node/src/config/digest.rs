//! A short text for the settings that must be equal on every node, so that a node that differs is seen before
//! it does harm, and in what.

use sha2::{Digest, Sha256};

use super::settings::Settings;

/// The name of a setting, and its value as text.
type Shared = (&'static str, fn(&Settings) -> String);

/// The settings that must be equal: the mesh's name and pace, the queue's durability, leases and retention, the
/// Beat's. Whichever node sweeps the store does so for all, and whichever claims a task keeps it for its own lease.
///
/// Nodes of one version compare the values in this order.
const SHARED: [Shared; 11] = [
    ("mesh.name", |s| s.mesh.name.to_string()),
    ("mesh.pace", |s| s.mesh.pace.as_str().to_owned()),
    ("queue.url", redis),
    ("queue.durability", |s| s.queue.durability.as_str().to_owned()),
    ("queue.replicas", |s| s.queue.replicas.to_string()),
    ("queue.lease", |s| s.queue.lease.to_string()),
    ("queue.max_lost_leases", |s| s.queue.max_lost_leases.to_string()),
    ("queue.keep_tasks", |s| s.queue.keep_tasks.to_string()),
    ("queue.max_kept_tasks", |s| s.queue.max_kept_tasks.to_string()),
    ("queue.keep_ticks", |s| s.queue.keep_ticks.to_string()),
    ("beat.standby_delay", |s| s.beat.standby_delay.to_string()),
];

/// Of the database each node may have a name of its own, and its id is checked. A Redis that was emptied looks like
/// any other, so only the words can tell two of them apart.
fn redis(settings: &Settings) -> String {
    settings.queue.url.redis().map(ToString::to_string).unwrap_or_default()
}

/// Hexadecimal digits of one setting: two values pass for equal once in sixteen million.
const DIGITS: usize = 6;

/// Six hexadecimal digits for each of the settings that must be equal on nodes of one version.
#[must_use]
pub fn digest(settings: &Settings) -> String {
    SHARED.iter().map(|(name, value)| digits(name, &value(settings))).collect()
}

fn digits(name: &str, value: &str) -> String {
    let hash = Sha256::digest(format!("{name}={value}"));
    hash[..DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of the settings in which two digests differ; empty when they are equal, or not digests of this
/// version.
#[must_use]
pub fn differing(mine: &str, theirs: &str) -> Vec<&'static str> {
    let is_digest = |text: &str| text.len() == SHARED.len() * DIGITS && text.is_ascii();
    if !is_digest(mine) || !is_digest(theirs) {
        return Vec::new();
    }
    let parts = mine.as_bytes().chunks(DIGITS).zip(theirs.as_bytes().chunks(DIGITS));
    let named = SHARED.iter().zip(parts);
    named.filter(|(_, (mine, theirs))| mine != theirs).map(|((name, _), _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Durability, PaceName};

    fn settings() -> Settings {
        Settings::new("a".parse().expect("a label"), "data".into())
    }

    #[test]
    fn a_node_s_own_settings_do_not_count_and_shared_ones_do() {
        let mut own = settings();
        own.node.name = "b".parse().unwrap();
        own.node.data_dir = "elsewhere".into();
        own.listen.http.set_port(1);
        assert_eq!(digest(&own), digest(&settings()));

        let changes: [(_, fn(&mut Settings)); SHARED.len()] = [
            ("mesh.name", |s| s.mesh.name = "other".parse().unwrap()),
            ("mesh.pace", |s| s.mesh.pace = PaceName::Wan),
            ("queue.url", |s| s.queue.url = "redis://other".parse().unwrap()),
            ("queue.durability", |s| s.queue.durability = Durability::Replicated),
            ("queue.replicas", |s| s.queue.replicas = 2),
            ("queue.lease", |s| s.queue.lease = "20s".parse().unwrap()),
            ("queue.max_lost_leases", |s| s.queue.max_lost_leases = 6),
            ("queue.keep_tasks", |s| s.queue.keep_tasks = "2d".parse().unwrap()),
            ("queue.max_kept_tasks", |s| s.queue.max_kept_tasks = 2_000),
            ("queue.keep_ticks", |s| s.queue.keep_ticks = "2d".parse().unwrap()),
            ("beat.standby_delay", |s| s.beat.standby_delay = "2s".parse().unwrap()),
        ];
        let first = digest(&settings());
        let mut all = settings();
        for (name, change) in changes {
            let mut changed = settings();
            change(&mut changed);
            change(&mut all);
            assert_eq!(differing(&first, &digest(&changed)), [name]);
        }
        assert_eq!(differing(&first, &digest(&all)).len(), changes.len());
    }

    #[test]
    fn nothing_is_said_of_what_is_no_digest_of_this_version() {
        let first = digest(&settings());
        assert!(differing(&first, &first).is_empty());
        for odd in ["", "a1b2", &"\u{e4}".repeat(24), &first[..42]] {
            assert!(differing(&first, odd).is_empty() && differing(odd, &first).is_empty(), "{odd}");
        }
    }
}
