//! What has changed between two views, as events for those who follow the mesh.
//!
//! Pure. Who was slow gets the difference between what it saw last and what is so now: it may miss that a member
//! was suspected for a moment, never how things stand.

use std::sync::Arc;

use beatmesh_mesh::View;
use beatmesh_mesh::id::{Generation, Incarnation, NodeId};
use beatmesh_mesh::member::{Liveness, Member};
use serde::Serialize;

use super::reply;
use crate::beat::driver::beat_ranks;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Change {
    /// A member stands otherwise than before.
    Member(MemberChange),
    /// Others own keys, or the ring is kept although they do not answer.
    Ring(RingChange),
    /// Another node fires schedules.
    Beat {
        /// None when no member of the ring may.
        id: Option<NodeId>,
    },
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MemberChange {
    id: NodeId,
    generation: Generation,
    /// `forgotten` when the node does not know it any more.
    liveness: &'static str,
    incarnation: Incarnation,
    since: String,
    suspected_by: Vec<NodeId>,
    /// Its liveness before, of an earlier generation as well; none when it was not known.
    previous: Option<Liveness>,
}

/// How the ring stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RingChange {
    fingerprint: String,
    members: Vec<NodeId>,
    frozen: bool,
}

impl Change {
    /// The name of the event.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Member(_) => "member",
            Self::Ring(_) => "ring",
            Self::Beat { .. } => "beat",
        }
    }
}

/// What leads from one view to the other: members in the order of their ids, then the ring, then the Beat.
pub(super) fn changes(before: &View, after: &View) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, member) in &after.members {
        let known = before.members.get(id);
        // Mostly it is the very same: a view shares with the one before what has not changed.
        if known.is_none_or(|known| !Arc::ptr_eq(known, member) && stands(known) != stands(member)) {
            let previous = known.map(|known| known.liveness);
            changes.push(member_change(member, member.liveness.as_str(), previous));
        }
    }
    for (_, gone) in before.members.iter().filter(|(id, _)| !after.members.contains_key(*id)) {
        changes.push(member_change(gone, "forgotten", Some(gone.liveness)));
    }
    if (&before.ring, before.is_frozen()) != (&after.ring, after.is_frozen()) {
        changes.push(Change::Ring(RingChange {
            fingerprint: fingerprint(after.ring.fingerprint()),
            members: after.ring.members().iter().map(|(id, _)| id.clone()).collect(),
            frozen: after.is_frozen(),
        }));
    }
    let beat = beat_of(after);
    if beat_of(before) != beat {
        changes.push(Change::Beat { id: beat });
    }
    changes
}

/// What an event tells of a member; its load, say, changes all the time.
fn stands(member: &Member) -> (Generation, Liveness, Incarnation, &[NodeId]) {
    (member.generation, member.liveness, member.incarnation, &member.suspected_by)
}

fn member_change(member: &Member, liveness: &'static str, previous: Option<Liveness>) -> Change {
    Change::Member(MemberChange {
        id: member.id.clone(),
        generation: member.generation,
        liveness,
        incarnation: member.incarnation,
        since: reply::time(member.since),
        suspected_by: member.suspected_by.clone(),
        previous,
    })
}

/// The node that fires schedules, as this view has it.
pub(super) fn beat_of(view: &View) -> Option<NodeId> {
    beat_ranks(view).into_iter().next()
}

/// A ring's fingerprint as people compare it.
pub(super) fn fingerprint(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::slice;
    use std::sync::Arc;

    use beatmesh_mesh::env::UnixMs;
    use beatmesh_mesh::member::{Facts, fact};
    use beatmesh_mesh::ring::Ring;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::roles::facts;

    /// A member that is ready and may be the Beat.
    pub(crate) fn member(id: &str, liveness: Liveness) -> Member {
        let entries = [(fact::READY, "1"), (facts::ROLES, "beat,server,worker")];
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Member {
            id: id.parse().unwrap(),
            generation: Generation(7),
            process: None,
            incarnation: Incarnation(0),
            liveness,
            since: UnixMs(1_000),
            addr: "127.0.0.1:7946".parse().unwrap(),
            facts: Facts { version: 1, entries },
            suspected_by: Vec::new(),
        }
    }

    /// What the first member sees.
    pub(crate) fn view(members: &[Member]) -> View {
        let owners = members.iter().filter(|member| member.in_ring());
        let owners: BTreeMap<_, _> = owners.map(|member| (member.id.clone(), 1)).collect();
        let ring = Arc::new(Ring::new(owners));
        View {
            me: members[0].id.clone(),
            members: members.iter().map(|member| (member.id.clone(), Arc::new(member.clone()))).collect(),
            ring: ring.clone(),
            live_ring: ring,
        }
    }

    fn told(before: &[Member], after: &[Member]) -> Vec<(&'static str, Value)> {
        let changes = changes(&view(before), &view(after)).into_iter();
        changes.map(|change| (change.name(), serde_json::to_value(&change).unwrap())).collect()
    }

    use Liveness::{Alive, Dead, Left, Suspect};

    #[test]
    fn a_death_is_told_in_its_steps_and_then_ring_and_beat_follow() {
        let beat = beat_of(&view(&["a", "b", "c"].map(|id| member(id, Alive)))).unwrap();
        let others = |liveness| {
            ["a", "b", "c"].map(|id| member(id, if id == beat.as_str() { liveness } else { Alive }))
        };
        let mut suspected = others(Suspect);
        let suspect = suspected.iter_mut().find(|member| member.id == beat).unwrap();
        suspect.suspected_by = vec!["a".parse().unwrap()];
        let standing = |liveness: &str, by: &[&str], previous: &str| {
            let json = json!({"id": beat, "generation": 7, "liveness": liveness, "incarnation": 0,
                   "since": "1970-01-01T00:00:01.000Z", "suspected_by": by, "previous": previous});
            ("member", json)
        };
        assert_eq!(told(&others(Alive), &suspected), [standing("suspect", &["a"], "alive")], "its keys stay");
        let after = told(&suspected, &others(Dead));
        assert_eq!(after.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["member", "ring", "beat"]);
        assert_eq!(after[0], standing("dead", &[], "suspect"));
        assert_eq!(after[1].1["frozen"], false);
        let left: Vec<_> = ["a", "b", "c"].into_iter().filter(|id| *id != beat.as_str()).collect();
        assert_eq!(after[1].1["members"], json!(left));
        assert!(left.contains(&after[2].1["id"].as_str().unwrap()), "{after:?}");
    }

    #[test]
    fn newcomers_further_lives_refutations_and_accusers_are_told() {
        let (a, b) = (member("a", Alive), member("b", Alive));
        let of_b = |before: &[Member], after: &Member| {
            let (_, event) = told(before, &[a.clone(), after.clone()]).into_iter().next().expect("a change");
            (event["liveness"].clone(), event["previous"].clone())
        };
        assert_eq!(of_b(slice::from_ref(&a), &b), (json!("alive"), json!(null)));
        let again = Member { generation: Generation(8), ..b.clone() };
        assert_eq!(of_b(&[a.clone(), member("b", Left)], &again), (json!("alive"), json!("left")));
        let refuted = Member { incarnation: Incarnation(1), ..b.clone() };
        assert_eq!(of_b(&[a.clone(), b.clone()], &refuted), (json!("alive"), json!("alive")));
        let doubted = Member { suspected_by: vec!["a".parse().unwrap()], ..member("b", Suspect) };
        assert_eq!(of_b(&[a.clone(), member("b", Suspect)], &doubted), (json!("suspect"), json!("suspect")));
    }

    #[test]
    fn who_is_forgotten_is_told_once_and_with_its_last_standing() {
        let (a, gone) = (member("a", Alive), member("b", Dead));
        let events = told(&[a.clone(), gone], slice::from_ref(&a));
        assert_eq!(events.len(), 1, "the ring was without it");
        assert_eq!(
            (&events[0].1["liveness"], &events[0].1["previous"]),
            (&json!("forgotten"), &json!("dead"))
        );
        assert_eq!(told(slice::from_ref(&a), slice::from_ref(&a)), []);
    }

    #[test]
    fn facts_alone_are_no_event_but_readiness_moves_the_ring() {
        let (a, b) = (member("a", Alive), member("b", Alive));
        let mut other = b.clone();
        other.facts.entries.insert(facts::LOAD.to_owned(), "3".to_owned());
        assert_eq!(told(&[a.clone(), b.clone()], &[a.clone(), other.clone()]), []);
        other.facts.entries.insert(fact::READY.to_owned(), "0".to_owned());
        assert_eq!(told(&[a.clone(), b], &[a, other])[0].0, "ring");
    }

    #[test]
    fn a_ring_that_is_kept_says_so_although_it_is_the_same() {
        let before = view(&["a", "b", "c"].map(|id| member(id, Alive)));
        let mut after = view(&[member("a", Alive), member("b", Dead), member("c", Dead)]);
        after.ring = before.ring.clone();
        let frozen = |from, to| {
            let ring = changes(from, to).into_iter().find_map(|change| match change {
                Change::Ring(ring) => Some(ring),
                _ => None,
            });
            ring.map(|ring| (ring.frozen, ring.members.len()))
        };
        assert_eq!(frozen(&before, &after), Some((true, 3)));
        assert_eq!(frozen(&after, &after), None);
        let thawed = View { ring: after.live_ring.clone(), ..after.clone() };
        assert_eq!(frozen(&after, &thawed), Some((false, 1)));
    }

    /// Views as a slow client may find them: any standing of some members, ready or not, kept ring or not.
    fn any_view() -> impl Strategy<Value = View> {
        let liveness = prop_oneof![Just(Alive), Just(Suspect), Just(Dead), Just(Left)];
        let other = (any::<bool>(), 1..3_u64, 0..2_u64, liveness, any::<bool>());
        (prop::collection::vec(other, 4), any::<bool>()).prop_map(|(others, is_kept)| {
            let mut members = vec![member("me", Alive)];
            for (name, (is_known, generation, incarnation, liveness, is_ready)) in
                ["a", "b", "c", "d"].iter().zip(others)
            {
                let mut one = member(name, liveness);
                (one.generation, one.incarnation) = (Generation(generation), Incarnation(incarnation));
                one.facts.entries.insert(fact::READY.to_owned(), if is_ready { "1" } else { "0" }.to_owned());
                members.extend(is_known.then_some(one));
            }
            let mut seen = view(&members);
            if is_kept {
                seen.ring = view(&["me", "a", "b", "c", "d"].map(|id| member(id, Alive))).ring;
            }
            seen
        })
    }

    /// What a client knows that has read all events.
    #[derive(Debug, Default, PartialEq)]
    struct Known {
        members: BTreeMap<NodeId, (Generation, Incarnation, &'static str)>,
        ring: Option<RingChange>,
        beat: Option<NodeId>,
    }

    impl Known {
        fn take(&mut self, changes: Vec<Change>) {
            for change in changes {
                match change {
                    Change::Member(of) if of.liveness == "forgotten" => drop(self.members.remove(&of.id)),
                    Change::Member(of) => {
                        self.members.insert(of.id, (of.generation, of.incarnation, of.liveness));
                    }
                    Change::Ring(ring) => self.ring = Some(ring),
                    Change::Beat { id } => self.beat = id,
                }
            }
        }
    }

    proptest! {
        // Each case builds some dozens of rings.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_views_a_client_misses_it_knows_how_things_stand(views in prop::collection::vec(any_view(), 1..6)) {
            let nothing = View { members: BTreeMap::new(), ring: Arc::default(), live_ring: Arc::default(), ..views[0].clone() };
            let (mut patient, mut hasty) = (Known::default(), Known::default());
            let mut before = &nothing;
            for view in &views {
                patient.take(changes(before, view));
                before = view;
            }
            hasty.take(changes(&nothing, before));
            let all = before.members.iter();
            let all: BTreeMap<_, _> = all.map(|(id, it)| (id.clone(), (it.generation, it.incarnation, it.liveness.as_str()))).collect();
            prop_assert_eq!(&patient.members, &all);
            prop_assert_eq!(&patient.beat, &beat_of(before));
            prop_assert_eq!(patient, hasty);
            prop_assert_eq!(changes(before, before), vec![]);
        }
    }
}
