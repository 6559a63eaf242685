//! The common database: definitions of functions and schedules, and the node table.

pub mod fenced;
pub mod sql;

use async_trait::async_trait;

use crate::catalogue::entry::{Catalogue, FunctionEntry, QueueEntry, ScheduleEntry, Switch};
use crate::catalogue::function::Function;
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::catalogue::queue::Queue;
use crate::catalogue::schedule::Schedule;
use crate::queue::StoreError;

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The store; see there for whether anything changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else edited it meanwhile. Nothing changed.
    #[error(
        "it is at revision {current} now, not at the one that was asked for; read it again and repeat the edit"
    )]
    Conflict {
        /// 0 when it does not exist.
        current: u64,
    },
    /// There is none of this name. Nothing changed.
    #[error("there is no {what} named `{name}`")]
    NotFound {
        /// `function`, `queue` or `schedule`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// Something else needs it. Nothing changed.
    #[error("schedule `{by}` runs it; delete or change that schedule first")]
    InUse {
        /// A schedule.
        by: String,
    },
}

/// Definitions. Every edit is durable when it returns, and is known to the queue's store before it is
/// acknowledged, so that no tick of an old revision can commit afterwards.
#[async_trait]
pub trait CatalogueStore: Send + Sync + 'static {
    /// The random id that was made with the store. Nodes with different ones must not become one mesh.
    fn id(&self) -> &str;

    /// The last edit of anything; cheap.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Everything.
    async fn read(&self) -> Result<Catalogue, StoreError>;

    /// Everything, by whoever knows what was there before: a store of very many definitions may send no more than
    /// what has changed. Nothing of `known` survives that the store does not hold any more, also when it has gone back
    /// to an earlier state.
    async fn read_after(&self, known: &Catalogue) -> Result<Catalogue, StoreError> {
        let _ = known;
        self.read().await
    }

    /// Creates or replaces a function. An equal definition changes nothing and keeps its revision.
    /// `expected` is the revision that must be there, 0 for none.
    async fn put_function(
        &self,
        name: &FunctionName,
        definition: &Function,
        expected: Option<u64>,
    ) -> Result<(FunctionEntry, bool), EditError>;

    /// Deletes a function that no schedule runs. Tasks that wait for it fail when their turn comes.
    async fn delete_function(&self, name: &FunctionName, expected: Option<u64>) -> Result<(), EditError>;

    /// Creates or replaces a queue's definition, like [`CatalogueStore::put_function`].
    async fn put_queue(
        &self,
        name: &QueueName,
        definition: &Queue,
        expected: Option<u64>,
    ) -> Result<(QueueEntry, bool), EditError>;

    /// Deletes a queue's definition: its tasks stay, and the usual numbers hold.
    async fn delete_queue(&self, name: &QueueName, expected: Option<u64>) -> Result<(), EditError>;

    /// Creates or replaces a schedule, like [`CatalogueStore::put_function`].
    async fn put_schedule(
        &self,
        name: &ScheduleName,
        definition: &Schedule,
        expected: Option<u64>,
    ) -> Result<(ScheduleEntry, bool), EditError>;

    /// Deletes a schedule; its ledger stays. Answers the deletion's revision.
    async fn delete_schedule(&self, name: &ScheduleName, expected: Option<u64>) -> Result<u64, EditError>;

    /// Pauses or resumes a schedule. Due times during a pause are owed to nobody. A pause that is to end and has
    /// another revision is a conflict.
    async fn switch_schedule(&self, name: &ScheduleName, switch: Switch) -> Result<ScheduleEntry, EditError>;
}
