//! Runs functions: calls that this node or another one routed here, and tasks of the queue.

pub mod answer;
mod inputs;
pub mod runtime;
pub mod slots;
pub mod supervisor;
mod suspects;
pub mod tasks;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::entry::FunctionEntry;
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::queue::task::{Attempt, Origin, TaskId};
use answer::{Answer, Running};
use runtime::{Execution, Functions};
use slots::{NoSlot, Slot, Slots};

/// What this node needs to run functions.
pub struct Worker {
    node: String,
    functions: Arc<dyn Functions>,
    catalogue: Arc<CatalogueCache>,
    slots: Slots,
    output_limit: u64,
}

/// A call that may run here: it holds its slot.
pub struct Admitted {
    function: FunctionEntry,
    slot: Slot,
}

/// Why a call does not run here. Nothing has happened: it may run elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Neither this node nor the store knows the function.
    NoSuchFunction,
    /// All slots are taken.
    Busy,
    /// The node is stopping.
    Stopping,
    /// This node does not know the function, and cannot ask the store.
    CannotTell,
}

/// What a call hands to its function.
pub struct Call {
    /// Names this call.
    pub id: TaskId,
    /// Handed over as it is.
    pub input: Bytes,
    /// The input's media type; may be empty.
    pub content_type: String,
    /// Less than the function's timeout, if the caller wants that.
    pub timeout: Option<Duration>,
}

impl Worker {
    /// The worker of this node, with so many slots.
    #[must_use]
    pub fn new(
        node: impl Into<String>,
        functions: Arc<dyn Functions>,
        catalogue: Arc<CatalogueCache>,
        slots: u32,
        output_limit: u64,
    ) -> Self {
        Self { node: node.into(), functions, catalogue, slots: Slots::new(slots), output_limit }
    }

    /// Takes a call in, waiting for a slot at most `patience`. `revision` is the catalogue that the
    /// caller knows: this node does not run a function as it was before that.
    ///
    /// # Errors
    /// [`NotAdmitted`]; nothing has happened then.
    pub async fn admit(
        &self,
        name: &FunctionName,
        revision: u64,
        patience: Duration,
    ) -> Result<Admitted, NotAdmitted> {
        let function = self.catalogue.function(name, revision).await.map_err(|_| NotAdmitted::CannotTell)?;
        let function = function.ok_or(NotAdmitted::NoSuchFunction)?;
        let slot = self.slots.for_call(&function, patience).await.map_err(|no_slot| match no_slot {
            NoSlot::Busy => NotAdmitted::Busy,
            NoSlot::Closed => NotAdmitted::Stopping,
        })?;
        Ok(Admitted { function, slot })
    }

    /// Runs a call that was taken in, until it is clear how to answer. Dropping the future, or later the
    /// streamed body, stops the function.
    ///
    /// # Errors
    /// The function's failure.
    pub async fn run(&self, admitted: Admitted, call: Call) -> Result<Answer, Problem> {
        let (function, definition) = (admitted.function.name, admitted.function.definition);
        let execution = Execution {
            task: call.id,
            attempt: Attempt(1),
            function: function.clone(),
            timeout: call.timeout.map_or(definition.timeout.0, |wanted| wanted.min(definition.timeout.0)),
            definition,
            input: call.input,
            content_type: call.content_type,
            origin: Origin::Call,
            output_limit: self.output_limit,
        };
        let answer = Running::start(self.functions.clone(), execution, admitted.slot).answer().await?;
        let Answer::Streamed { content_type, body } = answer else { return Ok(answer) };
        let node = self.node.clone();
        // The caller has the beginning of an answer and can only be shown that it breaks off.
        let body = body.inspect_err(move |problem| {
            let stderr_tail = problem.more.get("stderr_tail").and_then(|tail| tail.as_str()).unwrap_or_default();
            tracing::warn!(%function, task = %call.id, node, problem = problem.detail, stderr_tail, "a function failed after its answer had begun; the caller gets a broken answer");
        });
        Ok(Answer::Streamed { content_type, body: Box::pin(body) })
    }

    /// Executions in progress.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Takes nothing in any more; what runs goes on.
    pub fn stop_taking(&self) {
        self.slots.close();
    }
}
