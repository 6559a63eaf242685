//! All settings in one table: the name that users write, and what a value does. Adding a setting
//! means a field in `settings`, a default there, and a line here.

use super::nearest::nearest;
use super::settings::Settings;
use super::source::{Given, Origin, variable_of};
use super::value::Value;
use super::words::{HostPort, Roles};
use crate::units::{ByteSize, Span};

/// One setting.
pub(super) struct Key {
    /// `section.key`.
    pub(super) name: &'static str,
    /// Reads the value and puts it in its place.
    pub(super) set: fn(&mut Settings, &Value) -> Result<(), String>,
}

/// More slots or connections than this are a slip of the finger.
const MOST: u32 = 1_000_000;

/// With fewer, results are forgotten before anybody has asked for them. Guess.
const FEWEST_KEPT: u32 = 1_000;

/// Every setting there is.
pub(super) const KEYS: &[Key] = &[
    Key { name: "mesh.name", set: |s, v| put(&mut s.mesh.name, v.parse()) },
    Key { name: "mesh.pace", set: |s, v| put(&mut s.mesh.pace, v.parse()) },
    Key { name: "node.name", set: |s, v| put(&mut s.node.name, v.parse()) },
    Key { name: "node.roles", set: |s, v| put(&mut s.node.roles, roles(v)) },
    Key { name: "node.pools", set: |s, v| put(&mut s.node.pools, filled(v)) },
    Key { name: "node.zone", set: |s, v| put(&mut s.node.zone, v.parse().map(Some)) },
    Key { name: "node.data_dir", set: |s, v| put(&mut s.node.data_dir, v.path()) },
    Key { name: "node.slots", set: |s, v| put(&mut s.node.slots, v.number(1, MOST)) },
    Key { name: "listen.http", set: |s, v| put(&mut s.listen.http, v.address()) },
    Key { name: "listen.mesh", set: |s, v| put(&mut s.listen.mesh, v.address()) },
    Key { name: "listen.advertise", set: |s, v| put(&mut s.listen.advertise, v.address().map(Some)) },
    Key { name: "seeds.database", set: |s, v| put(&mut s.seeds.database, v.parse()) },
    Key { name: "seeds.peers", set: |s, v| put(&mut s.seeds.peers, v.list::<HostPort>()) },
    Key { name: "queue.url", set: |s, v| put(&mut s.queue.url, v.parse()) },
    Key { name: "queue.durability", set: |s, v| put(&mut s.queue.durability, v.parse()) },
    Key { name: "queue.replicas", set: |s, v| put(&mut s.queue.replicas, v.number(1, 100)) },
    Key { name: "queue.lease", set: |s, v| put(&mut s.queue.lease, v.parse()) },
    Key { name: "queue.max_lost_leases", set: |s, v| put(&mut s.queue.max_lost_leases, v.number(1, 1_000)) },
    Key { name: "queue.result_limit", set: |s, v| put(&mut s.queue.result_limit, size(v)) },
    Key { name: "queue.keep_tasks", set: |s, v| put(&mut s.queue.keep_tasks, span(v)) },
    Key {
        name: "queue.max_kept_tasks",
        set: |s, v| put(&mut s.queue.max_kept_tasks, v.number(FEWEST_KEPT, u32::MAX)),
    },
    Key { name: "queue.keep_ticks", set: |s, v| put(&mut s.queue.keep_ticks, span(v)) },
    Key { name: "beat.standby_delay", set: |s, v| put(&mut s.beat.standby_delay, span(v)) },
    Key { name: "limits.input", set: |s, v| put(&mut s.limits.input, size(v)) },
    Key { name: "limits.output", set: |s, v| put(&mut s.limits.output, size(v)) },
    Key { name: "limits.headers", set: |s, v| put(&mut s.limits.headers, size(v)) },
    Key { name: "limits.header_timeout", set: |s, v| put(&mut s.limits.header_timeout, span(v)) },
    Key { name: "limits.idle_timeout", set: |s, v| put(&mut s.limits.idle_timeout, span(v)) },
    Key { name: "limits.connections", set: |s, v| put(&mut s.limits.connections, v.number(1, MOST)) },
    Key { name: "limits.wait", set: |s, v| put(&mut s.limits.wait, span(v)) },
    Key { name: "limits.shutdown", set: |s, v| put(&mut s.limits.shutdown, v.parse()) },
    Key { name: "security.secret_file", set: |s, v| put(&mut s.security.secret_file, v.path().map(Some)) },
    Key {
        name: "security.api_keys_file",
        set: |s, v| put(&mut s.security.api_keys_file, v.path().map(Some)),
    },
    Key { name: "log.format", set: |s, v| put(&mut s.log.format, v.parse()) },
    Key { name: "log.level", set: |s, v| put(&mut s.log.level, v.parse()) },
];

/// Settings that a later version brings: their users should not search for a typing error.
const LATER: &[&str] = &["security.ca", "security.cert", "security.key"];

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    value.map(|value| *place = value)
}

fn span(value: &Value) -> Result<Span, String> {
    let span: Span = value.parse()?;
    if span.0.is_zero() { Err("it must be longer than zero".to_owned()) } else { Ok(span) }
}

fn size(value: &Value) -> Result<ByteSize, String> {
    let size: ByteSize = value.parse()?;
    if size.0 == 0 { Err("it must be larger than zero".to_owned()) } else { Ok(size) }
}

fn filled<T: std::str::FromStr<Err: std::fmt::Display>>(value: &Value) -> Result<Vec<T>, String> {
    let list = value.list()?;
    if list.is_empty() {
        Err("it is empty; name at least one, or leave the setting out".to_owned())
    } else {
        Ok(list)
    }
}

fn roles(value: &Value) -> Result<Roles, String> {
    Roles::new(value.list()?).ok_or_else(|| {
        "it is empty: a node without a role does nothing; there are server, worker and beat".to_owned()
    })
}

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Why a name is no setting, with the nearest one that is, written as its source would write it.
pub(super) fn unknown(given: &Given) -> String {
    let name = given.setting.as_str();
    if LATER.contains(&name) {
        return "own certificates come in a later version; this one takes `security.secret_file`".to_owned();
    }
    let in_environment = matches!(given.origin, Origin::Environment { .. });
    if let Some(near) = nearest(name, KEYS.iter().map(|key| key.name)) {
        let near = if in_environment { variable_of(near) } else { near.to_owned() };
        return format!("there is no such setting; did you mean `{near}`?");
    }
    let mut sections: Vec<&str> = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
    sections.dedup();
    let section = name.split('.').next().unwrap_or(name);
    let known: Vec<&str> =
        KEYS.iter().filter_map(|key| key.name.strip_prefix(section)?.strip_prefix('.')).collect();
    if in_environment {
        format!("there is no such setting; variables are named like {}", variable_of("listen.http"))
    } else if known.is_empty() && !name.contains('.') {
        format!("it stands outside of any section; there are {}", sections.join(", "))
    } else if known.is_empty() {
        format!("there is no such section; there are {}", sections.join(", "))
    } else {
        format!("there is no such setting; [{section}] has {}", known.join(", "))
    }
}
