//! Looks through the queue's store for what disagrees there, a little at a time: one node does it, the ring's owner of
//! the key `scan`. Two that both believe so find the same and repair it once, for a repair is one step of the store.

use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use rand::RngExt;
use tokio::sync::Notify;

use crate::queue::TaskQueue;
use crate::queue::scan::{Repair, RepairKind, ScanCursor, Scanned};

/// The key of the ring whose owner scans.
const SCAN_KEY: &[u8] = b"scan";

/// Between two pieces. One holds up the store for about a millisecond, so this costs it half a hundredth of its time;
/// a million tasks in Redis take an hour, a hundred thousand some minutes.
const PIECE_EVERY: Duration = Duration::from_millis(200);

/// Between the end of one scan and the beginning of the next. What a scan repairs happens once in a year; a task that
/// is lost to everybody must not wait for it much longer than for a person who looks.
const SCAN_EVERY: Duration = Duration::from_secs(60);

/// Before the first one, and after an error: a store that has trouble has other things to do.
const SCAN_AFTER: Duration = Duration::from_secs(5);

/// So often in a row a piece is tried again before the scan begins anew.
const MOST_ERRORS: u32 = 5;

/// What a scanner works with.
pub struct ScannerParts {
    /// The seams.
    pub env: Env,
    /// Says who scans.
    pub mesh: Arc<Mesh>,
    /// What is scanned.
    pub queue: Arc<dyn TaskQueue>,
    /// Rung when a task can be found again.
    pub bell: Arc<Notify>,
}

/// Scans for ever.
pub async fn scan(parts: ScannerParts) {
    let ScannerParts { env, mesh, queue, bell } = parts;
    let mut dice = env.entropy.rng();
    let (mut cursor, mut pause, mut errors) = (ScanCursor::default(), SCAN_AFTER, 0);
    loop {
        tokio::time::sleep(pause.mul_f64(dice.random_range(0.9..1.1))).await;
        let view = mesh.view();
        if view.live_ring.successors(SCAN_KEY).next() != Some(&view.me) {
            (cursor, pause) = (ScanCursor::default(), SCAN_AFTER);
            continue;
        }
        match queue.scan(cursor.clone()).await {
            Ok(Scanned { next, repaired }) => {
                repaired.iter().for_each(say);
                if repaired.iter().any(|repair| repair.kind == RepairKind::Placed) {
                    bell.notify_one();
                }
                pause = if next.is_some() { PIECE_EVERY } else { SCAN_EVERY };
                (cursor, errors) = (next.unwrap_or_default(), 0);
            }
            Err(error) => {
                tracing::debug!(%error, "the queue could not be scanned");
                (pause, errors) = (SCAN_AFTER, errors + 1);
                // A piece that never ends well must not hold up all others for ever.
                if errors > MOST_ERRORS {
                    (cursor, errors) = (ScanCursor::default(), 0);
                }
            }
        }
    }
}

fn say(Repair { kind, what }: &Repair) {
    let kind = kind.as_str();
    tracing::warn!(
        kind,
        what,
        "the queue's store disagreed with itself, which is put right: after a failover or an edit by hand nothing need be done, otherwise it is a bug"
    );
}
