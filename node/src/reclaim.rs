//! Gives the tasks of a dead worker to others before its leases run out.
//!
//! Two witnesses are needed: the mesh says that the member is dead, or that it lives again under another generation,
//! and the store has not seen a renewal of the lease lately. In a split both sides may reach the store, and each
//! believes that the other is dead: then both go on renewing, and nobody loses anything.
//!
//! What is taken away counts as a lost lease: that a task took its worker down looks just like this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;
use beatmesh_mesh::id::{Generation, NodeId};
use beatmesh_mesh::member::{Liveness, Member};
use beatmesh_mesh::{Mesh, View};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::beat::driver::beat_ranks;
use crate::notice::Notice;
use crate::queue::{Swept, TaskQueue};
use crate::worker::supervisor::RENEW_AT_LEAST_EVERY;

/// A lease that nobody has renewed for so long is silent: one renewal is missing, and a little more.
const SILENT: Duration = Duration::from_millis(1_300);
const _: () = assert!(SILENT.as_millis() > RENEW_AT_LEAST_EVERY.as_millis());

/// A worker that lives again renews under the same name, and may be late once while it starts: its own leases must not
/// pass for those of its life before.
const SILENT_AFTER_RESTART: Duration = Duration::from_millis(2_500);
const _: () = assert!(SILENT_AFTER_RESTART.as_millis() > 2 * RENEW_AT_LEAST_EVERY.as_millis());

/// Between two attempts, from a death on.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// By then every lease of a worker that was dead is silent; and a store that was away has its second chance. What is
/// left goes back when its lease runs out.
const TRY_FOR: Duration = Duration::from_secs(5);

/// The Beat and its first stand-in do it, so that it does not hang on one node and the store is not asked by all.
const RANKS: usize = 2;

/// What a reclaimer works with.
pub struct ReclaimerParts {
    /// The seams.
    pub env: Env,
    /// Says who is dead.
    pub mesh: Arc<Mesh>,
    /// Where the leases are.
    pub queue: Arc<dyn TaskQueue>,
    /// Rung when a task was returned.
    pub bell: Arc<Notify>,
    /// How long leases are.
    pub lease: Duration,
    /// A task that loses more leases is put aside.
    pub most_lost: u32,
}

/// Watches for deaths, for ever.
pub async fn reclaim(parts: ReclaimerParts) {
    let mut views = parts.mesh.watch();
    let mut lives = Lives::default();
    let mut gone: BTreeMap<NodeId, Instant> = BTreeMap::new();
    loop {
        let view = views.borrow_and_update().clone();
        let now = parts.env.clock.now();
        gone.extend(lives.ended(&view).into_iter().map(|id| (id, now)));
        gone.retain(|_, since| now.duration_since(*since) < TRY_FOR);
        if !gone.is_empty() && beat_ranks(&view).iter().take(RANKS).any(|id| *id == view.me) {
            let (again, dead): (Vec<_>, Vec<_>) = gone.keys().partition(|id| is_there(&view, id));
            parts.try_once(&dead, SILENT).await;
            parts.try_once(&again, SILENT_AFTER_RESTART).await;
        }
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(TRY_EVERY), if !gone.is_empty() => {}
        }
    }
}

impl ReclaimerParts {
    async fn try_once(&self, gone: &[&NodeId], silent: Duration) {
        if gone.is_empty() {
            return;
        }
        let workers: Vec<String> = gone.iter().map(ToString::to_string).collect();
        // Shorter leases run out by themselves as fast.
        let reclaimed =
            self.queue.reclaim(&workers, self.lease, silent.min(self.lease), self.most_lost).await;
        match reclaimed {
            Ok(Swept { returned, dead, .. }) => {
                for task in &returned {
                    tracing::warn!(%task, "a task's worker is dead; the task waits for another one");
                }
                for task in &dead {
                    tracing::error!(%task, "a task has lost too many workers and is put aside as dead");
                }
                if !returned.is_empty() {
                    self.bell.notify_one();
                    self.mesh.notify_all(&Notice::Work.encode());
                }
            }
            Err(error) => tracing::debug!(%error, "leases of dead workers could not be taken away"),
        }
    }
}

/// Whether a life of this member runs.
fn is_there(view: &View, id: &NodeId) -> bool {
    let runs = |member: &Arc<Member>| matches!(member.liveness, Liveness::Alive | Liveness::Suspect);
    view.members.get(id).is_some_and(runs)
}

/// Which life of each member runs, as far as this node knows.
#[derive(Debug, Default)]
struct Lives(BTreeMap<NodeId, (Generation, bool)>);

impl Lives {
    /// The members of which a life has ended since the last view.
    fn ended(&mut self, view: &View) -> Vec<NodeId> {
        let mut ended = Vec::new();
        for (id, member) in view.members.iter().filter(|(id, _)| **id != view.me) {
            let runs = matches!(member.liveness, Liveness::Alive | Liveness::Suspect);
            let before = self.0.insert(id.clone(), (member.generation, runs));
            let has_ended = match before {
                Some((generation, ran)) => ran && (!runs || generation < member.generation),
                // A death that this node has only heard of; or a new life of which it has not seen the one before.
                None => member.liveness == Liveness::Dead,
            };
            if has_ended {
                ended.push(id.clone());
            }
        }
        self.0.retain(|id, _| view.members.contains_key(id));
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::gateway::{member, view};

    /// A member of this life.
    fn life(id: &str, generation: u64, liveness: Liveness) -> Member {
        Member { generation: Generation(generation), ..member(id, liveness) }
    }

    /// Whose life each view in turn shows to have ended; node `a` looks.
    fn ended(views: &[&[Member]]) -> Vec<Vec<String>> {
        let me = life("a", 1, Liveness::Alive);
        let mut lives = Lives::default();
        let seen = views.iter().map(|others| {
            let members: Vec<_> = [me.clone()].into_iter().chain(others.iter().cloned()).collect();
            lives.ended(&view(&members)).iter().map(ToString::to_string).collect()
        });
        seen.collect()
    }

    #[test]
    fn a_life_ends_with_a_death_a_goodbye_or_a_later_generation_and_once() {
        use Liveness::{Alive, Dead, Left, Suspect};
        for (before, after, has_ended) in [
            (life("b", 7, Alive), life("b", 7, Dead), true),
            (life("b", 7, Suspect), life("b", 7, Dead), true),
            (life("b", 7, Alive), life("b", 7, Left), true),
            (life("b", 7, Alive), life("b", 8, Alive), true),
            (life("b", 7, Alive), life("b", 8, Dead), true),
            (life("b", 7, Alive), life("b", 7, Suspect), false),
            (life("b", 7, Suspect), life("b", 7, Alive), false),
            (life("b", 7, Dead), life("b", 8, Alive), false),
        ] {
            let seen = ended(&[from_ref(&before), from_ref(&after), from_ref(&after)]);
            let told = if has_ended { vec!["b"] } else { vec![] };
            assert_eq!(seen[1], told, "{before:?} to {after:?}");
            assert!(seen[2].is_empty(), "once: {before:?} to {after:?}");
        }
    }

    #[test]
    fn a_death_that_was_only_heard_of_counts_and_this_node_s_own_life_never_ends() {
        use Liveness::{Alive, Dead, Left};
        assert_eq!(ended(&[&[life("b", 7, Dead), life("c", 7, Left), life("d", 7, Alive)]]), [["b"]]);
        let mut lives = Lives::default();
        lives.ended(&view(&[life("a", 1, Alive)]));
        assert!(lives.ended(&view(&[life("a", 2, Dead)])).is_empty());
        // Whoever was forgotten and is heard of again is new.
        let seen = ended(&[&[life("b", 7, Alive)], &[], &[life("b", 8, Alive)]]);
        assert_eq!(seen, [[""; 0], [], []]);
    }

    #[test]
    fn a_worker_is_there_while_a_life_of_it_runs() {
        let view = view(&[
            life("a", 1, Liveness::Alive),
            life("b", 1, Liveness::Suspect),
            life("c", 1, Liveness::Dead),
        ]);
        let is_there = |id: &str| super::is_there(&view, &id.parse().unwrap());
        assert!(is_there("b") && !is_there("c") && !is_there("nobody"));
    }
}
