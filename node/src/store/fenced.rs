//! A catalogue whose queue is another store: an edit of a schedule counts once both know it.
//!
//! The definition changes first, then the fence in the queue's store; only then is the edit acknowledged, so
//! no tick of the old revision commits afterwards (T4). When the second half fails, nobody knows whether the
//! edit holds: the answer is "unknown", the same edit may be sent again, and meanwhile the Beat repairs
//! standings that are behind the catalogue ([`crate::beat::repair`]).

use std::sync::Arc;

use async_trait::async_trait;

use super::{CatalogueStore, EditError};
use crate::catalogue::entry::{Catalogue, FunctionEntry, QueueEntry, ScheduleEntry, Switch};
use crate::catalogue::function::Function;
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::queue::Queue;
use crate::catalogue::schedule::Schedule;
use crate::queue::{StoreError, TaskQueue};

/// Definitions in one store, fences in another.
pub struct FencedCatalogue {
    store: Arc<dyn CatalogueStore>,
    queue: Arc<dyn TaskQueue>,
}

impl FencedCatalogue {
    /// `store` must not keep fences itself.
    #[must_use]
    pub fn new(store: Arc<dyn CatalogueStore>, queue: Arc<dyn TaskQueue>) -> Self {
        Self { store, queue }
    }

    async fn fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), EditError> {
        let fenced = self.queue.fence(schedule, revision, after).await;
        fenced.map_err(|error| {
            let reason =
                format!("the definition is stored, but the queue's store has not taken it yet: {error}");
            EditError::Store(StoreError::Unknown(reason))
        })
    }
}

#[async_trait]
impl CatalogueStore for FencedCatalogue {
    fn id(&self) -> &str {
        self.store.id()
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.store.revision().await
    }

    async fn read(&self) -> Result<Catalogue, StoreError> {
        self.store.read().await
    }

    async fn read_after(&self, known: &Catalogue) -> Result<Catalogue, StoreError> {
        self.store.read_after(known).await
    }

    async fn put_function(
        &self,
        name: &FunctionName,
        definition: &Function,
        expected: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError> {
        self.store.put_function(name, definition, expected).await
    }

    async fn delete_function(&self, name: &FunctionName, expected: Option<u64>) -> Result<(), EditError> {
        self.store.delete_function(name, expected).await
    }

    async fn put_queue(
        &self,
        name: &QueueName,
        definition: &Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError> {
        self.store.put_queue(name, definition, expected).await
    }

    async fn delete_queue(&self, name: &QueueName, expected: Option<u64>) -> Result<(), EditError> {
        self.store.delete_queue(name, expected).await
    }

    async fn put_schedule(
        &self,
        name: &ScheduleName,
        definition: &Schedule,
        expected: Option<u64>,
    ) -> Result<(ScheduleEntry, bool), EditError> {
        let (entry, changed) = self.store.put_schedule(name, definition, expected).await?;
        // Also of an edit that changes nothing: it may be sent again because its fence failed.
        self.fence(name, entry.revision, Some(&entry)).await?;
        Ok((entry, changed))
    }

    async fn delete_schedule(&self, name: &ScheduleName, expected: Option<u64>) -> Result<u64, EditError> {
        // Read first: whoever makes the schedule anew after this gets a higher revision.
        let known = self.store.revision().await?;
        match self.store.delete_schedule(name, expected).await {
            Ok(revision) => {
                self.fence(name, revision, None).await?;
                Ok(revision)
            }
            // It may have been deleted by an edit whose fence failed, and "there is none" must be true of its
            // ticks as well.
            Err(error @ EditError::NotFound { .. }) => {
                self.fence(name, known, None).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn switch_schedule(&self, name: &ScheduleName, switch: Switch) -> Result<ScheduleEntry, EditError> {
        let entry = self.store.switch_schedule(name, switch).await?;
        self.fence(name, entry.revision, Some(&entry)).await?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::SqlStore;
    use crate::store::sql::scratch::{self, Scratch};

    /// A catalogue in one database and a queue in another, as with a Redis.
    struct Halves {
        catalogue: Arc<SqlStore>,
        queue: Arc<SqlStore>,
        places: [Scratch; 2],
    }

    impl Halves {
        async fn open() -> Self {
            let places = [Scratch::new(), Scratch::new()];
            let catalogue = Arc::new(scratch::open(&places[0].0).await.without_queue());
            let queue = Arc::new(scratch::open(&places[1].0).await);
            let this = Self { catalogue, queue, places };
            let function: Function =
                serde_json::from_value(serde_json::json!({"runtime": "builtin", "handler": "noop"})).unwrap();
            this.both().put_function(&"f".parse().unwrap(), &function, None).await.expect("stored");
            this
        }

        fn both(&self) -> FencedCatalogue {
            FencedCatalogue::new(self.catalogue.clone(), self.queue.clone())
        }

        /// The queue is away, and comes back with what it held.
        async fn close_queue(&self) {
            self.queue.close().await;
        }

        async fn reopen_queue(&mut self) {
            self.queue = Arc::new(scratch::open(&self.places[1].0).await);
        }

        async fn standing(&self) -> Option<(u64, bool)> {
            let states = self.queue.schedule_states().await.expect("read");
            states.first().map(|state| (state.revision, state.enabled))
        }
    }

    fn name() -> ScheduleName {
        "s".parse().expect("a name")
    }

    fn schedule(input: u64) -> Schedule {
        let definition = serde_json::json!({"cron": "0 0 29 2 *", "function": "f", "input": input});
        serde_json::from_value(definition).expect("a schedule")
    }

    fn is_unknown<T>(answer: &Result<T, EditError>) -> bool {
        matches!(answer, Err(EditError::Store(StoreError::Unknown(_))))
    }

    #[tokio::test]
    async fn an_edit_is_acknowledged_when_the_queue_knows_its_revision() {
        let halves = Halves::open().await;
        let (entry, changed) = halves.both().put_schedule(&name(), &schedule(1), None).await.expect("edited");
        assert!(changed);
        assert_eq!(halves.standing().await, Some((entry.revision, true)));
        let paused =
            halves.both().switch_schedule(&name(), Switch::Pause { until: None }).await.expect("paused");
        assert_eq!(halves.standing().await, Some((paused.revision, false)));
        let revision = halves.both().delete_schedule(&name(), None).await.expect("deleted");
        assert_eq!(halves.standing().await, Some((revision, false)));
    }

    #[tokio::test]
    async fn without_its_second_half_an_edit_is_unknown_and_the_same_one_again_makes_it_whole() {
        let mut halves = Halves::open().await;
        let first = halves.both().put_schedule(&name(), &schedule(1), None).await.expect("edited").0;
        halves.close_queue().await;
        let half = halves.both().put_schedule(&name(), &schedule(2), None).await;
        assert!(is_unknown(&half), "{half:?}");
        let known = halves.catalogue.read().await.expect("read").schedules[&name()].revision;
        assert!(known > first.revision, "the first half is made");
        halves.reopen_queue().await;
        assert_eq!(halves.standing().await, Some((first.revision, true)), "the queue has not heard of it");
        let (again, changed) = halves.both().put_schedule(&name(), &schedule(2), None).await.expect("edited");
        assert_eq!((again.revision, changed), (known, false), "it changes nothing in the catalogue");
        assert_eq!(halves.standing().await, Some((known, true)), "and the queue knows it");
    }

    #[tokio::test]
    async fn a_deletion_whose_second_half_failed_is_made_whole_by_the_next_one() {
        let mut halves = Halves::open().await;
        halves.both().put_schedule(&name(), &schedule(1), None).await.expect("edited");
        halves.close_queue().await;
        let half = halves.both().delete_schedule(&name(), None).await;
        assert!(is_unknown(&half), "{half:?}");
        halves.reopen_queue().await;
        assert!(halves.standing().await.is_some_and(|(_, enabled)| enabled), "its ticks would still commit");
        let again = halves.both().delete_schedule(&name(), None).await;
        assert!(matches!(again, Err(EditError::NotFound { .. })), "{again:?}");
        assert!(
            halves.standing().await.is_some_and(|(_, enabled)| !enabled),
            "that is true of its ticks as well"
        );
    }
}
