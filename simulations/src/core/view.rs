//! What one node believes of the others, by the mesh's own rule of precedence; kept so small that thousands
//! of nodes have one each.
//!
//! A node needs one number to know its rank as the Beat: how many living members stand before it. That is
//! enough because the order of successors does not change when members come and go (a law of the ring,
//! tested there and checked in every run by `movement`).

use std::collections::BTreeMap;

use beatmesh_mesh::id::{Generation, Incarnation};
use beatmesh_mesh::member::{Claim, Liveness};
use beatmesh_node::beat::plan::Standing;

/// The first claim about each member that was there at the start.
pub(super) const FIRST: Claim =
    Claim { generation: Generation(1), incarnation: Incarnation(0), liveness: Liveness::Alive };

/// One node's view.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// This node's place in the order of successors.
    me: usize,
    /// Members of which something else is known than at the start, by their place.
    claims: BTreeMap<usize, Claim>,
    /// Members before this node that own keys.
    ahead: u32,
}

/// Who was there at the start, by place in the order of successors.
pub(super) type Founders = [bool];

impl View {
    /// What the node at place `me` knows when it starts: all that is true.
    pub(super) fn new(me: usize, founders: &Founders, truth: &BTreeMap<usize, Claim>) -> Self {
        let mut view = Self { me, claims: BTreeMap::new(), ahead: 0 };
        view.ahead = founders[..me].iter().map(|founder| u32::from(*founder)).sum();
        for (member, claim) in truth {
            view.take(*member, *claim, founders);
        }
        view
    }

    /// Takes a claim about the member at a place; answers whether this node's rank changed.
    pub(super) fn take(&mut self, member: usize, claim: Claim, founders: &Founders) -> bool {
        let known = self.claims.get(&member).copied().or(founders[member].then_some(FIRST));
        if known.is_some_and(|known| !claim.supersedes(&known)) {
            return false;
        }
        self.claims.insert(member, claim);
        let before = known.is_some_and(|known| known.liveness.owns_keys());
        let after = claim.liveness.owns_keys();
        if member >= self.me || before == after {
            return false;
        }
        self.ahead = if after { self.ahead + 1 } else { self.ahead - 1 };
        true
    }

    /// How the node stands to the key of the Beat.
    pub(super) fn standing(&self) -> Standing {
        match self.ahead {
            0 => Standing::Owner,
            rank => Standing::Standby(rank),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_in_any_order_leave_the_same_rank() {
        let founders = [true, true, true, false];
        let dead = Claim { liveness: Liveness::Dead, ..FIRST };
        let back = Claim { generation: Generation(2), ..FIRST };
        let mut late = View::new(2, &founders, &BTreeMap::new());
        assert_eq!(late.standing(), Standing::Standby(2));
        assert!(late.take(0, dead, &founders));
        assert_eq!(late.standing(), Standing::Standby(1));
        assert!(!late.take(3, FIRST, &founders), "who stands behind does not count");
        assert!(late.take(0, back, &founders));
        let mut early = View::new(2, &founders, &BTreeMap::new());
        assert!(!early.take(0, back, &founders) && !early.take(0, dead, &founders));
        assert_eq!(early.standing(), late.standing());
        assert_eq!(View::new(2, &founders, &[(0, dead), (1, dead)].into()).standing(), Standing::Owner);
    }
}
