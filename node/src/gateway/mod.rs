//! HTTP: the API of every node.
//!
//! | file | holds |
//! |---|---|
//! | `server`, `impatient`, `patience` | connections: limits, slow clients, graceful end |
//! | `guard` | who may come in |
//! | `reply` | problems and JSON as responses, queries with their limits |
//! | `body` | bodies of requests with their limits, definitions in them |
//! | `calls`, `tasks`, `functions`, `schedules`, `mesh` | the resources |
//! | `forgotten` | what is said of a task that is not there |
//! | `events`, `changes` | following the mesh |
//! | `metrics` | for Prometheus |

mod batch;
mod body;
mod calls;
mod changes;
pub mod events;
mod forgotten;
mod functions;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod impatient;
mod mesh;
mod metrics;
mod patience;
mod queues;
mod reply;
mod schedules;
pub mod server;
mod tasks;
pub mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use beatmesh_mesh::Mesh;
use beatmesh_mesh::env::Env;
use beatmesh_mesh::id::{MeshName, NodeId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::catalogue::cache::CatalogueCache;
use crate::config::ApiKeys;
use crate::hints::Hints;
use crate::notice::topic;
use crate::problem::Problem;
use crate::queue::TaskQueue;
use crate::queue::task::TaskId;
use crate::router::Router as Calls;
use crate::store::CatalogueStore;
use crate::worker::Worker;
pub use body::BodyBudget;
#[cfg(test)]
pub(crate) use changes::tests::{member, view};
pub use forgotten::Kept;
pub use metrics::Metrics;
use reply::{ApiError, Nothing};
use waiters::Waiters;

/// Everything that requests need.
pub struct Gateway {
    /// The seams.
    pub env: Env,
    /// The mesh's name.
    pub mesh_name: MeshName,
    /// This node.
    pub me: NodeId,
    /// Members, ring, other nodes.
    pub mesh: Arc<Mesh>,
    /// Definitions as this node knows them.
    pub catalogue: Arc<CatalogueCache>,
    /// Where definitions are edited.
    pub store: Arc<dyn CatalogueStore>,
    /// Where tasks and ticks are.
    pub queue: Arc<dyn TaskQueue>,
    /// Finds workers.
    pub calls: Calls,
    /// This node's own worker, if it is one.
    pub worker: Option<Arc<Worker>>,
    /// Requests that wait for tasks.
    pub waiters: Arc<Waiters>,
    /// Wakes task runners.
    pub hints: Arc<Hints>,
    /// Larger inputs are refused, and more than the node has memory for.
    pub bodies: BodyBudget,
    /// One permit for each client that may follow the mesh.
    pub streams: Arc<Semaphore>,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// The longest `?wait=`.
    pub longest_wait: Duration,
    /// How long what has ended can be asked for.
    pub kept: Kept,
    /// Who may come in; everybody when `None`, which is for loopback only.
    pub api_keys: Option<ApiKeys>,
    /// Whether this node serves; false while it starts and while it stops.
    pub ready: Arc<AtomicBool>,
    /// Cancelled when the node stops: who only waits is answered then.
    pub stop: CancellationToken,
}

impl Gateway {
    /// The routes of the API.
    pub fn routes(self: Arc<Self>) -> Router {
        let api = Router::new()
            .route("/v1/mesh", get(mesh::overview))
            .route("/v1/mesh/events", get(events::follow))
            .route("/v1/mesh/members/{id}", get(mesh::member))
            .route("/v1/mesh/ring", get(mesh::ring))
            .route("/v1/functions", get(functions::list))
            .route("/v1/functions/{name}", get(functions::get).put(functions::put).delete(functions::delete))
            .route("/v1/functions/{name}/call", post(calls::call))
            .route("/v1/functions/{name}/tasks", post(tasks::enqueue))
            .route("/v1/tasks:batch", post(batch::enqueue))
            .route("/v1/tasks", get(tasks::list))
            .route("/v1/tasks/{id}", get(tasks::get).delete(tasks::cancel))
            .route("/v1/tasks/{id}/retry", post(tasks::retry))
            .route("/v1/queues", get(queues::list))
            .route("/v1/queues/{name}", get(queues::get).put(queues::put).delete(queues::delete))
            .route("/v1/schedules", get(schedules::list))
            .route("/v1/schedules/{name}", get(schedules::get).put(schedules::put).delete(schedules::delete))
            .route("/v1/schedules/{name}/ticks", get(schedules::ticks))
            .route("/v1/schedules/{name}/preview", get(schedules::preview))
            .route("/v1/schedules/{name}/trigger", post(schedules::trigger))
            .route("/v1/schedules/{name}/pause", post(schedules::pause))
            .route("/v1/schedules/{name}/resume", post(schedules::resume))
            // Counts only as yet, but soon with names of queues and functions; and Prometheus can send a key.
            .route("/metrics", get(metrics::metrics))
            .layer(middleware::from_fn_with_state(self.clone(), guard::check));
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .merge(api)
            .fallback(unknown_path)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(self)
    }

    /// A fresh id for a call or task.
    fn fresh_id(&self) -> TaskId {
        let dice = u128::from(self.env.entropy.u64()) << 64 | u128::from(self.env.entropy.u64());
        TaskId::new(self.env.clock.wall(), dice)
    }

    /// After an enqueue: wakes this node's worker and all others.
    fn ring_bell(&self) {
        self.hints.there_is_work();
    }

    /// After an edit: this node knows it at once, the others are told.
    async fn catalogue_changed(&self) {
        // The edit is durable; a failed reading is repaired by the next poll.
        let _ = self.catalogue.refresh().await;
        self.mesh.spread(topic::CATALOGUE, self.catalogue.current().revision).await;
    }
}

async fn ready(
    axum::extract::State(gateway): axum::extract::State<Arc<Gateway>>,
) -> Result<&'static str, ApiError> {
    if gateway.ready.load(Ordering::Relaxed) {
        return Ok("ready\n");
    }
    Err(Problem::new(503, "not_ready", "the node is starting or stopping", "")
        .with("retry_after_s", 1)
        .into())
}

async fn unknown_path(uri: axum::http::Uri) -> ApiError {
    let detail = format!(
        "there is nothing at {}; the API begins at /v1/mesh, /v1/functions, /v1/tasks, /v1/schedules",
        uri.path()
    );
    Problem::new(404, "not_found", "no such path", detail).into()
}

async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let detail = format!("{method} is not possible on {}", uri.path());
    Problem::new(405, "method_not_allowed", "no such method here", detail).into()
}

/// 204.
const NO_CONTENT: Nothing = Nothing(StatusCode::NO_CONTENT);
