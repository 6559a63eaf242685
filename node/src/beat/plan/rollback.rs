//! How a plan notices that the store has gone back to an earlier state: a failover lost writes, a backup was put
//! back.
//!
//! A store moves no cursor back, and what a plan hears of one schedule it hears in the store's order. So a cursor
//! that is behind the one seen before is proof. Each node judges by its own memory, which ends with its process
//! and with the schedule's definition.

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

impl Plan {
    /// Takes note of where the store says that a schedule stands; answers whether it went back.
    pub(super) fn observe(&mut self, name: &ScheduleName, cursor: UnixMs) -> bool {
        let Some(known) = self.schedules.get_mut(name) else { return false };
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
