//! How many executions run at once: on the node, and of each function.
//!
//! Calls and tasks have slots of their own, each as many as the node has, so that a long queue does not
//! starve callers and a flood of calls does not stop the queue. The slots of a function that has a limit
//! of its own are shared by both, and callers come first: they wait in line for one, while a task takes
//! one that is free at the moment of its claim, or is not claimed at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
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
    of_function: Mutex<BTreeMap<FunctionName, Arc<OfFunction>>>,
    waiting: AtomicU32,
    closed: CancellationToken,
    /// Rung when a function whose tasks were left out has a free slot again.
    freed: Arc<Notify>,
}

/// The slots of a function with a limit of its own.
struct OfFunction {
    limit: u32,
    free: Arc<Semaphore>,
    /// A claim has left its tasks out because it was full. Whoever changes this swaps it, so that of a
    /// claim and a slot that becomes free at the same time one sees the other.
    left_out: AtomicBool,
}

/// The right to run one execution; dropping it gives it back.
pub struct Slot {
    _of_node: OwnedSemaphorePermit,
    _of_function: Option<FunctionSlot>,
}

struct FunctionSlot {
    /// `None` only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<OfFunction>,
    freed: Arc<Notify>,
}

impl Drop for FunctionSlot {
    fn drop(&mut self) {
        // First free, then rung for: who hears the bell must find it.
        drop(self.permit.take());
        if self.of.left_out.swap(false, Ordering::SeqCst) {
            self.freed.notify_one();
        }
    }
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
            freed: Arc::default(),
        }
    }

    /// A slot for one call, waiting for it at most `patience`.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub async fn for_call(&self, function: &FunctionEntry, patience: Duration) -> Result<Slot, NoSlot> {
        if self.closed.is_cancelled() {
            return Err(NoSlot::Closed);
        }
        let of_function = self.of_function(function);
        if let Ok(of_node) = self.calls.clone().try_acquire_owned()
            && let Some(slot) = self.with_function(of_node, of_function.clone())
        {
            return Ok(slot);
        }
        if patience.is_zero() || self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            return Err(NoSlot::Busy);
        }
        let _waiting = Waiting::new(&self.waiting);
        let acquiring = async {
            // The function's own first: whoever waits for it must not hold what others could use.
            let of_function = match of_function {
                Some(of) => {
                    let permit = of.free.clone().acquire_owned().await.map_err(|_| NoSlot::Closed)?;
                    Some(self.function_slot(of, permit))
                }
                None => None,
            };
            let of_node = self.calls.clone().acquire_owned().await.map_err(|_| NoSlot::Closed)?;
            Ok(Slot { _of_node: of_node, _of_function: of_function })
        };
        tokio::select! {
            biased;
            // Nothing has run for it yet: better it hears so now than never.
            () = self.closed.cancelled() => Err(NoSlot::Closed),
            acquired = tokio::time::timeout(patience, acquiring) => acquired.unwrap_or(Err(NoSlot::Busy)),
        }
    }

    /// The node's part of a slot for a task, waiting for it; `None` when the node is stopping.
    pub async fn for_task(&self) -> Option<OwnedSemaphorePermit> {
        self.tasks.clone().acquire_owned().await.ok()
    }

    /// One that is free now; none when the node is stopping.
    #[must_use]
    pub fn one_for_task(&self) -> Option<OwnedSemaphorePermit> {
        self.tasks.clone().try_acquire_owned().ok()
    }

    /// How many of them are free now.
    #[must_use]
    pub fn free_for_tasks(&self) -> usize {
        self.tasks.available_permits()
    }

    /// Makes the node's part whole for a task of this function; `None` when the function is full.
    #[must_use]
    pub fn of_claimed(&self, of_node: OwnedSemaphorePermit, function: &FunctionEntry) -> Option<Slot> {
        self.with_function(of_node, self.of_function(function))
    }

    /// How many tasks may begin now of those functions that bear fewer than `most`. When one of those
    /// that bear none has a free slot again, [`Slots::freed`] resolves.
    pub fn room_for_tasks<'a>(
        &self,
        functions: impl IntoIterator<Item = &'a FunctionEntry>,
        most: u32,
    ) -> BTreeMap<FunctionName, u32> {
        let room = |function: &FunctionEntry| {
            let of = self.of_function(function)?;
            let mut free = of.free.available_permits();
            if free == 0 {
                of.left_out.swap(true, Ordering::SeqCst);
                free = of.free.available_permits();
            }
            let free = u32::try_from(free).unwrap_or(u32::MAX);
            (free < most).then(|| (function.name.clone(), free))
        };
        functions.into_iter().filter_map(room).collect()
    }

    /// Resolves when a function that was full may have a free slot. One that became free before this is
    /// asked for is not missed.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Executions that hold a slot now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        2 * self.size - self.calls.available_permits() - self.tasks.available_permits()
    }

    /// No further slots are given; who waits for one is told.
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

    fn with_function(
        &self,
        of_node: OwnedSemaphorePermit,
        of_function: Option<Arc<OfFunction>>,
    ) -> Option<Slot> {
        let of_function = match of_function {
            Some(of) => {
                let permit = of.free.clone().try_acquire_owned().ok()?;
                Some(self.function_slot(of, permit))
            }
            None => None,
        };
        Some(Slot { _of_node: of_node, _of_function: of_function })
    }

    fn function_slot(&self, of: Arc<OfFunction>, permit: OwnedSemaphorePermit) -> FunctionSlot {
        FunctionSlot { permit: Some(permit), of, freed: self.freed.clone() }
    }

    fn of_function(&self, function: &FunctionEntry) -> Option<Arc<OfFunction>> {
        let limit = function.definition.concurrency?;
        let mut known = self.of_function.lock();
        let fresh = || {
            let free = Arc::new(Semaphore::new(limit as usize));
            Arc::new(OfFunction { limit, free, left_out: AtomicBool::new(false) })
        };
        let slots = known.entry(function.name.clone()).or_insert_with(fresh);
        if slots.limit != limit {
            // Executions of the old definition keep the old slots and end with them.
            *slots = fresh();
        }
        Some(slots.clone())
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
    use futures_util::FutureExt;

    use super::*;
    use crate::catalogue::function::Function;

    fn function(concurrency: Option<u32>) -> FunctionEntry {
        named("f", concurrency)
    }

    fn named(name: &str, concurrency: Option<u32>) -> FunctionEntry {
        let definition: Function = serde_json::from_value(
            serde_json::json!({"runtime": "builtin", "handler": "noop", "concurrency": concurrency}),
        )
        .unwrap();
        FunctionEntry { name: name.parse().unwrap(), revision: 1, definition: Arc::new(definition) }
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
    async fn a_caller_who_waits_goes_before_the_next_task() {
        let slots = Slots::new(8);
        let one = function(Some(1));
        let of_node = || slots.one_for_task().expect("a free slot");
        let running = slots.of_claimed(of_node(), &one).expect("it is free");
        let mut waiting = std::pin::pin!(slots.for_call(&one, Duration::from_secs(30)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running);
        assert!(slots.of_claimed(of_node(), &one).is_none(), "it belongs to the caller");
        drop(waiting.await.expect("it is the caller's turn"));
        assert!(slots.of_claimed(of_node(), &one).is_some());
    }

    #[tokio::test]
    async fn a_full_function_is_left_out_until_the_bell_rings() {
        let slots = Slots::new(8);
        let (one, three, any) = (function(Some(1)), named("three", Some(3)), named("any", None));
        let room = |most| slots.room_for_tasks([&one, &three, &any], most);
        assert_eq!(room(3), [(one.name.clone(), 1)].into(), "the others bear three");
        let held = slots.for_call(&one, Duration::ZERO).await.unwrap();
        assert_eq!(room(2), [(one.name.clone(), 0)].into());
        let mut freed = std::pin::pin!(slots.freed());
        assert!(freed.as_mut().now_or_never().is_none(), "it is still full");
        drop(held);
        assert!(freed.now_or_never().is_some(), "rung for as it becomes free");
        assert_eq!(room(1), BTreeMap::new());
    }

    #[tokio::test]
    async fn who_waits_for_a_slot_is_told_when_the_node_closes() {
        for (size, concurrency) in [(1, None), (8, Some(1))] {
            let slots = Slots::new(size);
            let function = function(concurrency);
            let _held = slots.for_call(&function, Duration::ZERO).await.unwrap();
            let mut waiting = std::pin::pin!(slots.for_call(&function, Duration::from_secs(30)));
            assert!(waiting.as_mut().now_or_never().is_none());
            slots.close();
            assert_eq!(waiting.now_or_never().expect("at once").err(), Some(NoSlot::Closed));
        }
    }

    #[tokio::test]
    async fn a_closed_node_gives_no_slots() {
        let slots = Slots::new(1);
        slots.close();
        assert_eq!(slots.for_call(&function(None), Duration::ZERO).await.err(), Some(NoSlot::Closed));
        assert!(slots.for_task().await.is_none());
    }
}
