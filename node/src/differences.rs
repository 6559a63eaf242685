//! Says which members run with other settings than this node where all nodes must have the same. Going
//! on is safe, for the store decides; but each node then keeps to rules of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::member::Facts;

use crate::config::differing_settings;
use crate::roles::facts;

/// Warns once of each member that differs, and again when it differs in another way.
pub async fn watch(mesh: Arc<Mesh>) {
    let mut views = mesh.watch();
    let mut told = Told::default();
    loop {
        let view = views.borrow_and_update().clone();
        let mine = &view.myself().facts;
        for member in view.alive() {
            if told.is_news(&member.id, mine, &member.facts) {
                tracing::warn!(
                    member = %member.id,
                    settings = named(mine, &member.facts),
                    "a member runs with other settings; make them equal on all nodes"
                );
            }
        }
        if views.changed().await.is_err() {
            // The mesh has stopped, which stops the node.
            return;
        }
    }
}

/// The digests that have been warned of.
#[derive(Default)]
struct Told(BTreeMap<NodeId, String>);

impl Told {
    fn is_news(&mut self, member: &NodeId, mine: &Facts, theirs: &Facts) -> bool {
        match differing(mine, theirs) {
            None => {
                self.0.remove(member);
                false
            }
            Some(digest) => self.0.insert(member.clone(), digest.to_owned()).as_deref() != Some(digest),
        }
    }
}

/// The other's digest when it tells of other settings. Another version digests other settings: while a mesh
/// is being upgraded nothing can be said.
fn differing<'f>(mine: &Facts, theirs: &'f Facts) -> Option<&'f str> {
    let same = |name| mine.get(name) == theirs.get(name);
    theirs.get(facts::DIGEST).filter(|_| same(facts::VERSION) && !same(facts::DIGEST))
}

/// Which settings differ, as text.
fn named(mine: &Facts, theirs: &Facts) -> String {
    let digest = |facts: &Facts| facts.get(facts::DIGEST).unwrap_or_default().to_owned();
    differing_settings(&digest(mine), &digest(theirs)).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(version: &str, digest: &str) -> Facts {
        let entries = [(facts::VERSION, version), (facts::DIGEST, digest)];
        let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Facts { version: 1, entries: entries.into() }
    }

    #[test]
    fn each_difference_is_told_once() {
        let (mut told, mine) = (Told::default(), facts_of("1", "aa"));
        let member: NodeId = "b".parse().unwrap();
        let mut is_news = |version, digest| told.is_news(&member, &mine, &facts_of(version, digest));
        assert!(!is_news("1", "aa"), "equal");
        assert!(is_news("1", "bb") && !is_news("1", "bb"), "once");
        assert!(is_news("1", "cc"), "it differs in another way");
        assert!(!is_news("1", "aa") && is_news("1", "cc"), "it was repaired and differs again");
        assert!(!is_news("2", "dd"), "another version digests other settings");
    }
}
