//! Looks after the stores: returns tasks whose worker was lost, ends what expired, forgets what is old. Every node does it, the Beat often and the others seldom, so that it never depends on one.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use beatmesh_mesh::seeds::SeedList;
use rand::RngExt;
use tokio::sync::Notify;

use crate::beat::driver::beat_ranks;
use crate::notice::Notice;
use crate::queue::TaskQueue;

/// The Beat's pace: a lost lease is noticed at most this much late.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The others' pace.
const OTHERS_EVERY: Duration = Duration::from_secs(5);

/// How often the Beat looks for rows of nodes that were not seen for a day.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// What a sweeper works with.
pub struct SweeperParts {
    /// The seams.
    pub env: Env,
    /// Says who is the Beat.
    pub mesh: Arc<Mesh>,
    /// Tasks.
    pub queue: Arc<dyn TaskQueue>,
    /// The node table.
    pub seeds: Arc<dyn SeedList>,
    /// Rung when a task was returned.
    pub bell: Arc<Notify>,
    /// A task that loses more leases is put aside.
    pub most_lost: u32,
}

/// Sweeps for ever.
pub async fn sweep(parts: SweeperParts) {
    let SweeperParts { env, mesh, queue, seeds, bell, most_lost } = parts;
    let mut dice = env.entropy.rng();
    let mut pruned = None;
    loop {
        let view = mesh.view();
        let is_beat = beat_ranks(&view).first() == Some(&view.me);
        let every = if is_beat { BEAT_EVERY } else { OTHERS_EVERY };
        tokio::time::sleep(every.mul_f64(dice.random_range(0.9..1.1))).await;
        let now = env.clock.now();
        if is_beat && pruned.is_none_or(|last| now.duration_since(last) >= PRUNE_EVERY) {
            pruned = Some(now);
            if let Err(error) = seeds.prune().await {
                tracing::debug!(%error, "the node table could not be pruned");
            }
        }
        match queue.sweep(most_lost).await {
            Ok(swept) => {
                for task in &swept.returned {
                    tracing::warn!(%task, "a task's worker was lost; the task waits for another one");
                }
                for task in &swept.dead {
                    tracing::error!(%task, "a task has lost too many workers and is put aside as dead");
                }
                if !swept.returned.is_empty() {
                    bell.notify_one();
                    mesh.notify_all(&Notice::Work.encode());
                }
            }
            Err(error) => tracing::debug!(%error, "the queue could not be swept"),
        }
    }
}
