//! Finds a worker for a call, here or on another node, and brings back its answer.

pub mod choice;
pub mod remote;
pub mod rings;
pub mod serve;
mod under_way;
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
use tokio_util::sync::CancellationToken;

use crate::catalogue::cache::CatalogueCache;
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::queue::task::TaskId;
use crate::worker::answer::Answer;
use crate::worker::{Call, NotAdmitted, Worker};
use remote::{Declined, Terms, remote_call};
use under_way::UnderWay;

/// A worker that did not say whether it takes a call within this time is left alone for [`IN_DOUBT`], and
/// the next one is asked. A healthy one answers in well under a millisecond; a machine whose every core
/// is busy, within some hundred.
const ACCEPT_WITHIN: Duration = Duration::from_millis(300);
const IN_DOUBT: Duration = Duration::from_secs(1);

/// How long a call may wait for a slot when every worker is busy, at most; and how long at each worker
/// before the next one is asked.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_EACH: Duration = Duration::from_millis(250);

/// How long a call with a key waits for a slot at the key's owner before it goes to the next node: users
/// keep caches and connections by key, so a burst of short calls should stay together; and a key that is
/// called more than one node bears should cost a moment, not a refusal. Guess.
const PATIENCE_AT_OWNER: Duration = Duration::from_millis(250);

/// A call as it comes from a client.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names this call.
    pub id: TaskId,
    /// What to run.
    pub function: FunctionName,
    /// Calls with equal keys meet the same worker while it lives and has room.
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
    leaving: CancellationToken,
    doubtful: Mutex<BTreeMap<NodeId, Instant>>,
    under_way: UnderWay,
}

/// Who answered, and what.
pub type Routed = (NodeId, Result<Answer, Problem>);

impl Router {
    /// `worker` is this node's own, if it runs functions; `leaving` is cancelled when this node begins
    /// to stop.
    #[must_use]
    pub fn new(
        env: Env,
        mesh: Arc<Mesh>,
        catalogue: Arc<CatalogueCache>,
        worker: Option<Arc<Worker>>,
        leaving: CancellationToken,
    ) -> Self {
        Self {
            env,
            mesh,
            catalogue,
            worker,
            leaving,
            doubtful: Mutex::default(),
            under_way: UnderWay::default(),
        }
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

        // First whoever has a free slot, but with a key its owner has a moment to get one; then all of
        // them in turn, a short wait at each, because nobody knows which one is free next.
        let mut patience = Duration::ZERO;
        loop {
            // A node that leaves asks everybody once more and no longer: its clients shall have an answer
            // before it closes their connections.
            let last_round = self.leaving.is_cancelled();
            if last_round {
                patience = Duration::ZERO;
            }
            let view = self.mesh.view();
            let key = request.key.as_deref();
            let workers = {
                let (doubtful, dice) = (self.doubtful(), self.env.entropy.u64());
                // Without a key the order does not depend on it.
                let under_way = if key.is_some() { self.under_way.now() } else { BTreeMap::new() };
                choice::workers(&view, key, &doubtful, &under_way, dice)
            };
            let mut lost_time = workers.is_empty();
            let mut owner = workers.first().filter(|_| key.is_some() && patience.is_zero() && !last_round);
            for node in &workers {
                let left = || give_up.saturating_duration_since(self.env.clock.now());
                if left().is_zero() {
                    break;
                }
                let mut offered = self.try_on(node, &request, revision, patience.min(left()), deadline).await;
                // A second offer: one that cannot be reached must not take longer because of the wait.
                if owner.take().is_some() && matches!(offered, Err(Declined::Busy)) {
                    let wait = PATIENCE_AT_OWNER.min(left());
                    offered = self.try_on(node, &request, revision, wait, deadline).await;
                }
                match offered {
                    Ok(routed) => return Ok((node.clone(), routed)),
                    Err(Declined::TooLarge) => {
                        let detail =
                            format!("node {node} takes less; limits.input should be equal on all nodes");
                        return Err(Problem::new(413, "input_too_large", "the input is too large", detail));
                    }
                    Err(Declined::NoAnswer(reason)) => {
                        tracing::debug!(%node, reason, "a worker did not take a call; trying another");
                        self.doubtful.lock().insert(node.clone(), self.env.clock.now());
                        lost_time = true;
                    }
                    // Whether it lags behind the catalogue, is full or stops: nothing has run there.
                    Err(Declined::NoSuchFunction | Declined::CannotTell | Declined::Stopping) => {
                        lost_time = true
                    }
                    Err(Declined::Busy) => {}
                }
            }
            if last_round {
                return Err(Problem::no_worker(
                    "this node is leaving, and no other took the call; ask another",
                ));
            }
            if self.env.clock.now() >= give_up {
                let detail = "every worker is busy, stopping or out of reach; try again in a moment";
                return Err(Problem::no_worker(detail));
            }
            // Deleted meanwhile: nobody will take it.
            if self.catalogue.function(&request.function, 0).await?.is_none() {
                return Err(Problem::no_function(&request.function));
            }
            if lost_time && !patience.is_zero() && !self.leaving.is_cancelled() {
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
        let _counted = self.under_way.begin(node);
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
