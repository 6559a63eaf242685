//! How many executions run at once: on the node, and of each function.
//!
//! Calls and tasks have slots of their own, each as many as the node has, so that a long queue does not
//! starve callers and a flood of calls does not stop the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::catalogue::entry::FunctionEntry;
use crate::catalogue::name::FunctionName;

/// Callers that may wait for a slot at once; more are sent away.
const MOST_WAITING: u32 = 1_024;

/// The slots of one node.
pub struct Slots {
    calls: Arc<Semaphore>,
    tasks: Arc<Semaphore>,
    size: usize,
    of_function: Mutex<BTreeMap<FunctionName, (u32, Arc<Semaphore>)>>,
    waiting: AtomicU32,
    closed: CancellationToken,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All are taken, and stayed so as long as the caller could wait.
    Busy,
    /// The node is stopping.
    Closed,
}

impl Slots {
    /// So many for calls, and as many for tasks.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = size as usize;
        Self {
            calls: Arc::new(Semaphore::new(size)),
            tasks: Arc::new(Semaphore::new(size)),
            size,
            of_function: Mutex::default(),
            waiting: AtomicU32::new(0),
            closed: CancellationToken::new(),
        }
    }

    /// Slots for one call, waiting for them at most `patience`.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub async fn for_call(
        &self,
        function: &FunctionEntry,
        patience: Duration,
    ) -> Result<Vec<OwnedSemaphorePermit>, NoSlot> {
        if self.closed.is_cancelled() {
            return Err(NoSlot::Closed);
        }
        let of_function = self.of_function(function);
        let at_once = || -> Option<Vec<OwnedSemaphorePermit>> {
            let mut slots = vec![self.calls.clone().try_acquire_owned().ok()?];
            if let Some(of_function) = &of_function {
                slots.push(of_function.clone().try_acquire_owned().ok()?);
            }
            Some(slots)
        };
        if let Some(slots) = at_once() {
            return Ok(slots);
        }
        if patience.is_zero() || self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            return Err(NoSlot::Busy);
        }
        let _waiting = Waiting::new(&self.waiting);
        let acquiring = async {
            // The function's own first: whoever waits for it must not hold what others could use.
            let mut slots = Vec::with_capacity(2);
            if let Some(of_function) = of_function {
                slots.push(of_function.acquire_owned().await.map_err(|_| NoSlot::Closed)?);
            }
            slots.push(self.calls.clone().acquire_owned().await.map_err(|_| NoSlot::Closed)?);
            Ok(slots)
        };
        tokio::time::timeout(patience, acquiring).await.unwrap_or(Err(NoSlot::Busy))
    }

    /// One slot for a task, waiting for it; `None` when the node is stopping.
    pub async fn for_task(&self) -> Option<OwnedSemaphorePermit> {
        self.tasks.clone().acquire_owned().await.ok()
    }

    /// Further slots for tasks that are free now, at most `most`.
    #[must_use]
    pub fn more_for_tasks(&self, most: usize) -> Vec<OwnedSemaphorePermit> {
        (0..most).map_while(|_| self.tasks.clone().try_acquire_owned().ok()).collect()
    }

    /// The function's own slot for a task that has been claimed.
    pub async fn of_claimed(&self, function: &FunctionEntry) -> Option<OwnedSemaphorePermit> {
        match self.of_function(function) {
            Some(of_function) => of_function.acquire_owned().await.ok(),
            None => None,
        }
    }

    /// Executions that hold a slot now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        2 * self.size - self.calls.available_permits() - self.tasks.available_permits()
    }

    /// No further slots are given.
    pub fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
    }

    /// How many tasks run at once.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether no further slots are given.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Resolves when no further slots are given.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn of_function(&self, function: &FunctionEntry) -> Option<Arc<Semaphore>> {
        let limit = function.definition.concurrency?;
        let mut known = self.of_function.lock();
        let fresh = || (limit, Arc::new(Semaphore::new(limit as usize)));
        let slot = known.entry(function.name.clone()).or_insert_with(fresh);
        if slot.0 != limit {
            // Executions of the old definition keep the old permits and end with them.
            *slot = fresh();
        }
        Some(slot.1.clone())
    }
}

/// Counts one waiting caller for as long as it waits.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::function::Function;

    fn function(concurrency: Option<u32>) -> FunctionEntry {
        let definition: Function = serde_json::from_value(
            serde_json::json!({"runtime": "builtin", "handler": "noop", "concurrency": concurrency}),
        )
        .unwrap();
        FunctionEntry { name: "f".parse().unwrap(), revision: 1, definition: Arc::new(definition) }
    }

    #[tokio::test]
    async fn a_full_node_sends_callers_away_and_a_free_slot_lets_them_in() {
        let slots = Arc::new(Slots::new(1));
        let held = slots.for_call(&function(None), Duration::ZERO).await.unwrap();
        assert_eq!(slots.for_call(&function(None), Duration::ZERO).await.err(), Some(NoSlot::Busy));
        assert_eq!(slots.in_flight(), 1);
        let function = function(None);
        let waiting = slots.for_call(&function, Duration::from_secs(30));
        drop(held);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn a_function_has_its_own_limit_besides_the_nodes() {
        let slots = Slots::new(8);
        let one = function(Some(1));
        let held = slots.for_call(&one, Duration::ZERO).await.unwrap();
        assert_eq!(slots.for_call(&one, Duration::ZERO).await.err(), Some(NoSlot::Busy));
        assert_eq!(slots.calls.available_permits(), 7, "a refused caller gives everything back");
        drop(held);
        assert!(slots.for_call(&one, Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn a_closed_node_gives_no_slots() {
        let slots = Slots::new(1);
        slots.close();
        assert_eq!(slots.for_call(&function(None), Duration::ZERO).await.err(), Some(NoSlot::Closed));
        assert!(slots.for_task().await.is_none());
    }
}
