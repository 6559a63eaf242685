//! What a deployment would change: the manifest held against what the mesh has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::manifest::Manifest;
use super::name::FunctionName;

/// What happens to one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The mesh does not have it.
    Create,
    /// The mesh has another one.
    Update,
    /// The mesh has the same.
    Unchanged,
    /// The manifest does not have it, and `--prune` was asked for.
    Delete,
}

impl Change {
    /// The word for people and for `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Unchanged => "unchanged",
            Self::Delete => "delete",
        }
    }
}

/// Holds what is `wanted` against what is `there`; by name, in order. What is there and not wanted is
/// deleted only with `prune`.
///
/// `there` maps a name to its definition, `None` when that could not be read: then it differs.
#[must_use]
pub fn plan<N: Ord + Display, D: PartialEq>(
    wanted: &BTreeMap<N, D>,
    there: &BTreeMap<String, Option<D>>,
    prune: bool,
) -> Vec<(String, Change)> {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for (name, definition) in wanted {
        let name = name.to_string();
        let change = match there.get(&name) {
            None => Change::Create,
            Some(Some(old)) if old == definition => Change::Unchanged,
            Some(_) => Change::Update,
        };
        changes.insert(name, change);
    }
    if prune {
        for name in there.keys() {
            changes.entry(name.clone()).or_insert(Change::Delete);
        }
    }
    changes.into_iter().collect()
}

/// Schedules of the manifest whose function would not exist afterwards, each with that function.
#[must_use]
pub fn orphans<'m>(
    manifest: &'m Manifest,
    functions_there: &BTreeSet<String>,
    prune: bool,
) -> Vec<(&'m str, &'m FunctionName)> {
    let will_exist = |name: &FunctionName| {
        manifest.functions.contains_key(name) || (!prune && functions_there.contains(name.as_str()))
    };
    manifest
        .schedules
        .iter()
        .filter(|(_, schedule)| !will_exist(&schedule.function))
        .map(|(name, schedule)| (name.as_str(), &schedule.function))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_against_each_other() {
        let wanted = BTreeMap::from([("new", 1), ("same", 2), ("other", 3), ("unread", 4)]);
        let there = BTreeMap::from([
            ("same".to_owned(), Some(2)),
            ("other".to_owned(), Some(0)),
            ("unread".to_owned(), None),
            ("old".to_owned(), Some(5)),
        ]);
        let words = |prune| {
            let changes = plan(&wanted, &there, prune);
            changes
                .iter()
                .map(|(name, change)| format!("{name}:{}", change.as_str()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(words(false), "new:create other:update same:unchanged unread:update");
        assert_eq!(words(true), "new:create old:delete other:update same:unchanged unread:update");
    }

    #[test]
    fn a_schedule_needs_its_function() {
        let manifest: Manifest =
            "[schedules.s]\ncron = \"* * * * *\"\nfunction = \"there\"\n".parse().expect("a manifest");
        let there = BTreeSet::from(["there".to_owned()]);
        assert!(orphans(&manifest, &there, false).is_empty());
        assert_eq!(orphans(&manifest, &there, true).len(), 1, "--prune deletes the function");
        assert_eq!(orphans(&manifest, &BTreeSet::new(), false)[0].0, "s");
    }
}
