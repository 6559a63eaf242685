//! How many calls of this node each worker has under way: what its share is measured by.

use std::collections::BTreeMap;

use beatmesh_mesh::id::NodeId;
use parking_lot::Mutex;

/// The counts. A worker without calls has no entry, so members that went leave nothing behind.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<BTreeMap<NodeId, u64>>);

/// One call, as long as it lives.
pub(super) struct Counted<'a> {
    counts: &'a UnderWay,
    node: NodeId,
}

impl UnderWay {
    /// A call is offered to a worker.
    pub(super) fn begin(&self, node: &NodeId) -> Counted<'_> {
        *self.0.lock().entry(node.clone()).or_default() += 1;
        Counted { counts: self, node: node.clone() }
    }

    /// All counts.
    pub(super) fn now(&self) -> BTreeMap<NodeId, u64> {
        self.0.lock().clone()
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_as_long_as_it_lives() {
        let (under_way, node) = (UnderWay::default(), "a".parse().expect("a name"));
        let first = under_way.begin(&node);
        let second = under_way.begin(&node);
        assert_eq!(under_way.now()[&node], 2);
        drop(first);
        assert_eq!(under_way.now()[&node], 1);
        drop(second);
        assert!(under_way.now().is_empty());
    }
}
