//! Finds a worker for a call, here or on another node, and brings back its answer.

pub mod choice;
pub mod remote;
pub mod serve;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use beatmesh_mesh::id::NodeId;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::queue::task::TaskId;
use crate::worker::answer::Answer;
use crate::worker::{Call, NotAdmitted, Worker};
use remote::{Declined, Terms, remote_call};

/// A worker that did not say whether it takes a call within this time is left alone for [`IN_DOUBT`], and
/// the next one is asked. A healthy one answers in well under a millisecond; a machine whose every core
/// is busy, within some hundred.
const ACCEPT_WITHIN: Duration = Duration::from_millis(300);
const IN_DOUBT: Duration = Duration::from_secs(1);

/// How long a call may wait for a slot when every worker is busy, at most; and how long at each worker
/// before the next one is asked.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_EACH: Duration = Duration::from_millis(250);

/// A call as it comes from a client.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names this call.
    pub id: TaskId,
    /// What to run.
    pub function: FunctionName,
    /// Calls with equal keys meet the same worker while it lives.
    pub key: Option<Bytes>,
    /// Handed to the function as it is.
    pub input: Bytes,
    /// The input's media type; may be empty.
    pub content_type: String,
    /// Less than the function's timeout, if the caller wants that.
    pub timeout: Option<Duration>,
}

/// Routes calls.
pub struct Router {
    env: Env,
    mesh: Arc<Mesh>,
    catalogue: Arc<CatalogueCache>,
    worker: Option<Arc<Worker>>,
    doubtful: Mutex<BTreeMap<NodeId, Instant>>,
}

/// Who answered, and what.
pub type Routed = (NodeId, Result<Answer, Problem>);

impl Router {
    /// `worker` is this node's own, if it runs functions.
    #[must_use]
    pub fn new(
        env: Env,
        mesh: Arc<Mesh>,
        catalogue: Arc<CatalogueCache>,
        worker: Option<Arc<Worker>>,
    ) -> Self {
        Self { env, mesh, catalogue, worker, doubtful: Mutex::default() }
    }

    /// Runs a call on the first worker that takes it.
    ///
    /// # Errors
    /// A [`Problem`] when no worker took it: nothing has run then. What went wrong on a worker that did
    /// is in [`Routed`].
    pub async fn call(&self, request: Request) -> Result<Routed, Problem> {
        let known = self.catalogue.function(&request.function, 0).await?;
        let known = known.ok_or_else(|| Problem::no_function(&request.function))?;
        let revision = self.catalogue.current().revision;
        let timeout = request.timeout.unwrap_or(known.definition.timeout.0);
        let deadline = self.env.clock.now() + timeout;
        let give_up = self.env.clock.now() + timeout.min(LONGEST_PATIENCE);

        // First whoever has a free slot; then all of them in turn, a short wait at each, because nobody
        // knows which one is free next.
        let mut patience = Duration::ZERO;
        loop {
            let view = self.mesh.view();
            let key = request.key.as_deref();
            let workers = choice::workers(&view, key, &self.doubtful(), self.env.entropy.u64());
            let mut lost_time = workers.is_empty();
            for node in workers {
                let left = give_up.saturating_duration_since(self.env.clock.now());
                match self.try_on(&node, &request, revision, patience.min(left), deadline).await {
                    Ok(routed) => return Ok((node, routed)),
                    Err(Declined::TooLarge) => {
                        let detail =
                            format!("node {node} takes less; limits.input should be equal on all nodes");
                        return Err(Problem::new(413, "input_too_large", "the input is too large", detail));
                    }
                    Err(Declined::NoAnswer(reason)) => {
                        tracing::debug!(%node, reason, "a worker did not take a call; trying another");
                        self.doubtful.lock().insert(node, self.env.clock.now());
                        lost_time = true;
                    }
                    // Whether it lags behind the catalogue, is full or stops: nothing has run there.
                    Err(Declined::NoSuchFunction | Declined::CannotTell | Declined::Stopping) => {
                        lost_time = true
                    }
                    Err(Declined::Busy) => {}
                }
            }
            if self.env.clock.now() >= give_up {
                let detail = "every worker is busy, stopping or out of reach; try again in a moment";
                return Err(Problem::no_worker(detail));
            }
            if lost_time && !patience.is_zero() {
                // Nobody to wait at: without this pause the loop would spin.
                tokio::time::sleep(PATIENCE_EACH / 5).await;
            }
            patience = PATIENCE_EACH;
        }
    }

    async fn try_on(
        &self,
        node: &NodeId,
        request: &Request,
        revision: u64,
        patience: Duration,
        deadline: Instant,
    ) -> Result<Result<Answer, Problem>, Declined> {
        if let Some(worker) = self.worker.as_ref().filter(|_| *node == self.mesh.view().me) {
            let admitted = worker.admit(&request.function, revision, patience).await;
            let admitted = admitted.map_err(|why| match why {
                NotAdmitted::NoSuchFunction => Declined::NoSuchFunction,
                NotAdmitted::Busy => Declined::Busy,
                NotAdmitted::Stopping => Declined::Stopping,
                NotAdmitted::CannotTell => Declined::CannotTell,
            })?;
            let left = whole_millis(deadline.saturating_duration_since(self.env.clock.now()));
            let call = Call {
                id: request.id,
                input: request.input.clone(),
                content_type: request.content_type.clone(),
                timeout: request.timeout.map(|_| Duration::from_millis(left)),
            };
            return Ok(worker.run(admitted, call).await);
        }
        let terms = Terms { catalogue_revision: revision, patience, accept_within: ACCEPT_WITHIN, deadline };
        remote_call(&self.mesh, &*self.env.clock, node, request, &terms).await
    }

    /// Workers that lately did not answer.
    fn doubtful(&self) -> BTreeSet<NodeId> {
        let now = self.env.clock.now();
        let mut doubtful = self.doubtful.lock();
        doubtful.retain(|_, since| now.duration_since(*since) < IN_DOUBT);
        doubtful.keys().cloned().collect()
    }
}

/// Whole milliseconds, rounded up: people read them in problems, and 0 means something else on the wire.
fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}
