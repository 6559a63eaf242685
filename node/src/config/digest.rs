//! One short text for the settings that must be equal on every node, so that a node that differs is
//! seen before it does harm.

use sha2::{Digest, Sha256};

use super::settings::Settings;

/// 16 hexadecimal digits; equal on two nodes exactly when these settings are: mesh name, durability
/// of the queue, lease rules, Beat.
#[must_use]
pub fn digest(settings: &Settings) -> String {
    // The texts are part of what nodes of different versions compare: add lines, never change one.
    let lines = [
        format!("mesh.name={}", settings.mesh.name),
        format!("queue.durability={}", settings.queue.durability.as_str()),
        format!("queue.max_lost_leases={}", settings.queue.max_lost_leases),
        format!("beat.standby_delay={}", settings.beat.standby_delay),
    ];
    let hash = Sha256::digest(lines.join("\n").as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let mut other = settings();
        other.mesh.name = "other".parse().unwrap();
        let mut slower = settings();
        slower.beat.standby_delay = "2s".parse().unwrap();
        assert_ne!(digest(&other), digest(&settings()));
        assert_ne!(digest(&slower), digest(&settings()));
    }
}
