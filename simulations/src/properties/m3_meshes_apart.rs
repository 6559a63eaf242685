//! M3: meshes do not mix. Nobody sees as a member who is of another mesh, has another store or speaks another
//! version, whatever the node table says. (Who has another secret does not get as far as a hello; that is tested
//! with real connections, `tests/tests/strangers.rs`.)

use std::collections::BTreeSet;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "M3 meshes do not mix", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut strangers: BTreeSet<&str> = BTreeSet::new();
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut violations = Vec::new();
    for record in evidence.history {
        match &record.event {
            Event::Stranger { node, .. } => drop(strangers.insert(node)),
            Event::MemberSeen { observer, member, .. }
                if strangers.contains(observer.as_str()) != strangers.contains(member.as_str())
                    && told.insert((observer, member)) =>
            {
                let what = format!("{observer} sees {member} as a member, which is a stranger to it");
                violations.push(Violation::at(record.at, what));
            }
            _ => {}
        }
    }
    violations
}
