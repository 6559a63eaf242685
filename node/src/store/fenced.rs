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
