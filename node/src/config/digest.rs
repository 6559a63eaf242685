//! One short text for the settings that must be equal on every node, so that a node that differs is
//! seen before it does harm.

use sha2::{Digest, Sha256};

use super::settings::Settings;

/// 16 hexadecimal digits; equal on two nodes of one version exactly when these settings are: the mesh's name and pace,
/// the queue's durability, leases and retention, the Beat's. Whichever node sweeps the store does so for all,
/// and whichever claims a task keeps it for its own lease.
#[must_use]
pub fn digest(settings: &Settings) -> String {
    // The texts are part of what nodes of different versions compare: add lines, never change one.
    let lines = [
        format!("mesh.name={}", settings.mesh.name),
        format!("queue.durability={}", settings.queue.durability.as_str()),
        format!("queue.max_lost_leases={}", settings.queue.max_lost_leases),
        format!("beat.standby_delay={}", settings.beat.standby_delay),
        format!("queue.lease={}", settings.queue.lease),
        format!("queue.keep_tasks={}", settings.queue.keep_tasks),
        format!("queue.keep_ticks={}", settings.queue.keep_ticks),
        format!("mesh.pace={}", settings.mesh.pace.as_str()),
    ];
    let hash = Sha256::digest(lines.join("\n").as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PaceName;

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

        let changes: [fn(&mut Settings); 7] = [
            |s| s.mesh.name = "other".parse().unwrap(),
            |s| s.mesh.pace = PaceName::Wan,
            |s| s.queue.lease = "20s".parse().unwrap(),
            |s| s.queue.max_lost_leases = 6,
            |s| s.queue.keep_tasks = "2d".parse().unwrap(),
            |s| s.queue.keep_ticks = "2d".parse().unwrap(),
            |s| s.beat.standby_delay = "2s".parse().unwrap(),
        ];
        let mut seen = std::collections::BTreeSet::from([digest(&settings())]);
        for change in changes {
            let mut changed = settings();
            change(&mut changed);
            assert!(seen.insert(digest(&changed)), "{changed:?}");
        }
    }
}
