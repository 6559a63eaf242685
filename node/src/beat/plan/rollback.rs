//! How a plan notices that the store has gone back to an earlier state: a failover lost writes, a backup was put
//! back.
//!
//! A store moves no cursor back, and what a plan hears of one schedule it hears in the store's order. So a cursor
//! that is behind the one seen before is proof. Each node judges by its own memory, which ends with its process
//! and with the schedule's definition, and by what others say that they have committed.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Action, Plan};
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::OnStoreRollback;

/// Schedules whose cursors went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// So many fire again what is due by the store.
    pub refire: usize,
    /// So many skip what they had decided already.
    pub skip: usize,
    /// One of them.
    pub example: ScheduleName,
    /// The most by which a cursor went back, in milliseconds.
    pub furthest_ms: i64,
}

/// Nothing is committed before its time. What others say to be decided may be ahead of this node's estimate of the
/// store's clock by its error, and no more is believed: it would make schedules skip what is to come.
const LARGEST_LEAD: Duration = Duration::from_secs(1);

impl Plan {
    /// Takes note of what others have committed; what was said before says nothing new.
    pub(super) fn hear(&mut self, now: UnixMs, told: Vec<(ScheduleName, UnixMs)>) {
        let last_id = self.last_id;
        for (name, due) in told.into_iter().filter(|(_, due)| *due <= now.plus(LARGEST_LEAD)) {
            if let Some(known) = self.schedules.get_mut(&name).filter(|known| known.highest < due) {
                (known.told, known.told_at, known.highest) = (due, last_id, due);
            }
        }
    }

    /// Takes note of where the store says that a schedule stands, asked under this id; answers whether it went back.
    pub(super) fn observe(&mut self, name: &ScheduleName, cursor: UnixMs, asked: u64) -> bool {
        let Some(known) = self.schedules.get_mut(name) else { return false };
        known.take_told(asked);
        let before = std::mem::replace(&mut known.cursor, cursor);
        known.highest = known.highest.max(cursor);
        if before <= cursor {
            return false;
        }
        let rollback = self.rollback.get_or_insert_with(|| Rollback {
            refire: 0,
            skip: 0,
            example: name.clone(),
            furthest_ms: 0,
        });
        match known.planned.schedule.on_store_rollback {
            OnStoreRollback::Refire => rollback.refire += 1,
            OnStoreRollback::Skip => rollback.skip += 1,
        }
        rollback.furthest_ms = rollback.furthest_ms.max(before.millis_since(cursor));
        true
    }

    /// Says what was noticed, once a read has shown all of it.
    pub(super) fn report(&mut self, actions: &mut Vec<Action>) {
        if !self.blind
            && let Some(rollback) = self.rollback.take()
        {
            actions.push(Action::Report(rollback));
        }
    }
}
