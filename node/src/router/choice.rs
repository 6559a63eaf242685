//! Which workers to try for a call, in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beatmesh_mesh::View;
use beatmesh_mesh::id::NodeId;
use beatmesh_mesh::member::{Liveness, Member};

use crate::roles;

/// So many calls under way at one worker are never too much: a burst with one key should stay together.
const FREE: u64 = 32;

/// The workers to try, best first.
///
/// With a key: the key's owner on the ring, then its successors, so equal keys meet the same worker as
/// long as it lives; but whoever has more than its share of this node's calls `under_way` comes after those
/// that have not, so one busy key does not make one busy node. Without a key: this node when it is a worker, then the others, beginning at a
/// random one. Whoever does not answer now (`doubtful`, or suspected by the mesh) comes last, in the
/// same order.
#[must_use]
pub fn workers(
    view: &View,
    key: Option<&[u8]>,
    doubtful: &BTreeSet<NodeId>,
    under_way: &BTreeMap<NodeId, u64>,
    dice: u64,
) -> Vec<NodeId> {
    // A ring that is kept after a mass death holds members that do not answer.
    let is_worker = |id: &&NodeId| {
        let answers = |member: &Arc<Member>| member.liveness.owns_keys() && roles::is_worker(&member.facts);
        view.members.get(*id).is_some_and(answers)
    };
    let mut order: Vec<NodeId> = match key {
        Some(key) => {
            let load = |id: &NodeId| under_way.get(id).copied().unwrap_or(0);
            view.ring.bounded(key, FREE, |id| is_worker(&id), load).into_iter().cloned().collect()
        }
        None => {
            let mut others: Vec<_> =
                view.ring.members().iter().map(|(id, _)| id).filter(is_worker).cloned().collect();
            if !others.is_empty() {
                let start = usize::try_from(dice % others.len() as u64).expect("smaller than the list");
                others.rotate_left(start);
            }
            if let Some(at) = others.iter().position(|id| *id == view.me) {
                let me = others.remove(at);
                others.insert(0, me);
            }
            others
        }
    };
    // Stable: among equals the order stays.
    order.sort_by_key(|id| {
        *id != view.me && (doubtful.contains(id) || view.members[id].liveness != Liveness::Alive)
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    use beatmesh_mesh::env::UnixMs;
    use beatmesh_mesh::id::{Generation, Incarnation};
    use beatmesh_mesh::member::Facts;
    use beatmesh_mesh::ring::Ring;

    fn view(members: &[(&str, &str, Liveness)]) -> View {
        let members: BTreeMap<NodeId, Arc<Member>> = members
            .iter()
            .map(|(name, roles, liveness)| {
                let member = Member {
                    id: name.parse().unwrap(),
                    generation: Generation(1),
                    process: None,
                    incarnation: Incarnation(0),
                    liveness: *liveness,
                    since: UnixMs(0),
                    addr: "127.0.0.1:1".parse().unwrap(),
                    facts: Facts { version: 1, entries: [("roles".into(), (*roles).into())].into() },
                    suspected_by: Vec::new(),
                };
                (member.id.clone(), Arc::new(member))
            })
            .collect();
        let ring = Arc::new(Ring::new(members.keys().map(|id| (id.clone(), 1))));
        View { me: "a".parse().unwrap(), members, live_ring: ring.clone(), ring }
    }

    fn names(order: &[NodeId]) -> Vec<&str> {
        order.iter().map(NodeId::as_str).collect()
    }

    const ALL: &str = "server,worker,beat";

    #[test]
    fn equal_keys_go_to_one_worker_and_different_keys_spread() {
        let view =
            view(&[("a", ALL, Liveness::Alive), ("b", ALL, Liveness::Alive), ("c", ALL, Liveness::Alive)]);
        let first = |key: &[u8]| workers(&view, Some(key), &BTreeSet::new(), &BTreeMap::new(), 0)[0].clone();
        assert_eq!(first(b"x"), first(b"x"));
        let owners: BTreeSet<_> = (0..50_u8).map(|n| first(&[n])).collect();
        assert_eq!(owners.len(), 3);
    }

    #[test]
    fn without_a_key_this_node_comes_first_if_it_is_a_worker() {
        let all =
            view(&[("a", ALL, Liveness::Alive), ("b", ALL, Liveness::Alive), ("c", ALL, Liveness::Alive)]);
        assert_eq!(names(&workers(&all, None, &BTreeSet::new(), &BTreeMap::new(), 2))[0], "a");
        let server = view(&[
            ("a", "server", Liveness::Alive),
            ("b", ALL, Liveness::Alive),
            ("c", ALL, Liveness::Alive),
        ]);
        let firsts: BTreeSet<_> = (0..4)
            .map(|dice| {
                names(&workers(&server, None, &BTreeSet::new(), &BTreeMap::new(), dice))[0].to_owned()
            })
            .collect();
        assert_eq!(firsts, ["b".to_owned(), "c".to_owned()].into());
    }

    #[test]
    fn who_does_not_answer_is_tried_last() {
        let view =
            view(&[("a", ALL, Liveness::Alive), ("b", ALL, Liveness::Suspect), ("c", ALL, Liveness::Alive)]);
        for key in 0..20_u8 {
            let order = workers(&view, Some(&[key]), &["c".parse().unwrap()].into(), &BTreeMap::new(), 0);
            assert_eq!(order.len(), 3);
            assert_eq!(order[0].as_str(), "a");
        }
    }

    #[test]
    fn who_has_more_than_its_share_of_the_calls_is_tried_after_the_others() {
        let view =
            view(&[("a", ALL, Liveness::Alive), ("b", ALL, Liveness::Alive), ("c", ALL, Liveness::Alive)]);
        let order = |calls| {
            let owner = workers(&view, Some(b"k"), &BTreeSet::new(), &BTreeMap::new(), 0)[0].clone();
            let under_way = [(owner.clone(), calls)].into();
            let order = workers(&view, Some(b"k"), &BTreeSet::new(), &under_way, 0);
            order.iter().position(|id| *id == owner)
        };
        assert_eq!(order(FREE - 1), Some(0), "a burst stays together");
        assert_eq!(order(FREE), Some(2));
    }

    #[test]
    fn whom_a_kept_ring_still_holds_but_does_not_answer_is_not_tried() {
        let view =
            view(&[("a", ALL, Liveness::Dead), ("b", ALL, Liveness::Alive), ("c", ALL, Liveness::Left)]);
        let order = workers(&view, Some(b"k"), &BTreeSet::new(), &BTreeMap::new(), 0);
        assert_eq!(names(&order), ["b"]);
    }

    #[test]
    fn nobody_else_than_workers_is_tried() {
        let view = view(&[("a", "server", Liveness::Alive), ("b", "beat", Liveness::Alive)]);
        assert!(workers(&view, Some(b"k"), &BTreeSet::new(), &BTreeMap::new(), 0).is_empty());
        assert!(workers(&view, None, &BTreeSet::new(), &BTreeMap::new(), 0).is_empty());
    }
}
