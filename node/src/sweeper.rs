//! Looks after the queue's store: returns tasks whose worker was lost, ends what expired, forgets what
//! is old. Every node does it, the Beat often and the others seldom, so that it never depends on one.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use rand::RngExt;
use tokio::sync::Notify;

use crate::beat::driver::beat_ranks;
use crate::notice::Notice;
use crate::queue::TaskQueue;

/// The Beat's pace: a lost lease is noticed at most this much late.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The others' pace.
const OTHERS_EVERY: Duration = Duration::from_secs(5);

/// Sweeps for ever.
pub async fn sweep(env: Env, mesh: Arc<Mesh>, queue: Arc<dyn TaskQueue>, bell: Arc<Notify>, most_lost: u32) {
    let mut dice = env.entropy.rng();
    loop {
        let view = mesh.view();
        let every = if beat_ranks(&view).first() == Some(&view.me) { BEAT_EVERY } else { OTHERS_EVERY };
        tokio::time::sleep(every.mul_f64(dice.random_range(0.9..1.1))).await;
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
