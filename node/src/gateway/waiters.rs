//! Requests that wait for a task's end, and how they learn of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::queue::task::TaskId;

/// Who waits for what on this node.
#[derive(Default)]
pub struct Waiters {
    by_task: Mutex<BTreeMap<TaskId, Arc<Notify>>>,
}

/// Waits for one task; forgets it when dropped.
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    task: TaskId,
    bell: Arc<Notify>,
}

impl Waiters {
    /// Begins to listen for a task's end. Read the task after this, not before.
    #[must_use]
    pub fn wait_for(&self, task: TaskId) -> Waiter<'_> {
        let bell = self.by_task.lock().entry(task).or_default().clone();
        Waiter { waiters: self, task, bell }
    }

    /// A task has ended, here or elsewhere.
    pub fn ended(&self, task: TaskId) {
        if let Some(bell) = self.by_task.lock().get(&task) {
            bell.notify_waiters();
            // And for one that listens but has not begun to wait.
            bell.notify_one();
        }
    }
}

impl Waiter<'_> {
    /// Resolves when the task has ended; may also resolve without reason.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut by_task = self.waiters.by_task.lock();
        // The map and this waiter hold one each.
        if by_task.get(&self.task).is_some_and(|bell| Arc::strong_count(bell) <= 2) {
            by_task.remove(&self.task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn an_end_between_listening_and_waiting_is_not_missed_and_nothing_is_left_behind() {
        let waiters = Waiters::default();
        let task = TaskId(Uuid::from_u128(1));
        let (one, other) = (waiters.wait_for(task), waiters.wait_for(task));
        waiters.ended(task);
        one.rung().await;
        drop(one);
        assert_eq!(waiters.by_task.lock().len(), 1);
        drop(other);
        assert!(waiters.by_task.lock().is_empty());
    }
}
