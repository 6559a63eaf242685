//! Queues: what waits and runs in each, their definitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::member::Liveness;
use serde_json::{Value, json};

use super::functions::with_revision;
use super::reply::{self, ApiError, Named, expected_revision};
use super::{Gateway, NO_CONTENT};
use crate::catalogue::entry::{Catalogue, QueueEntry};
use crate::catalogue::name::QueueName;
use crate::catalogue::queue::Queue;
use crate::problem::Problem;
use crate::queue::QueueCounts;
use crate::queue::task::TaskState;
use crate::roles;

/// `GET /v1/queues`: every queue that holds tasks, is defined, or is named by a function.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let (counts, now) = (gateway.queue.queue_counts().await?, gateway.queue.now().await?);
    let catalogue = gateway.catalogue.current();
    let named = catalogue.functions.values().map(|function| &function.definition.queue);
    let names: BTreeSet<QueueName> =
        named.chain(counts.keys()).chain(catalogue.queues.keys()).cloned().collect();
    let names = names.into_iter().chain([QueueName::default()]).collect::<BTreeSet<_>>();
    let usual = QueueCounts::default();
    let queues: Vec<_> =
        names.iter().map(|name| shown(name, &catalogue, counts.get(name).unwrap_or(&usual), now)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "queues": queues, "workers": workers(&gateway) })))
}

/// Members that run functions, as this node sees them. Every worker takes from all queues.
fn workers(gateway: &Gateway) -> usize {
    let view = gateway.mesh.view();
    let runs = |member: &&Arc<beatmesh_mesh::member::Member>| {
        member.liveness == Liveness::Alive && roles::is_worker(&member.facts)
    };
    view.members.values().filter(runs).count()
}

fn shown(name: &QueueName, catalogue: &Catalogue, counts: &QueueCounts, now: UnixMs) -> Value {
    let count = |state| counts.tasks.get(&state).copied().unwrap_or(0);
    let entry = catalogue.queues.get(name);
    let definition = entry.map(|entry| (*entry.definition).clone()).unwrap_or_default();
    json!({
        "name": name,
        "revision": entry.map_or(0, |entry| entry.revision),
        "definition": entry.map(|entry| &*entry.definition),
        "weight": definition.weight,
        "limit": definition.limit,
        "ready": count(TaskState::Ready),
        "scheduled": count(TaskState::Scheduled),
        "retry": count(TaskState::Retry),
        "leased": count(TaskState::Leased),
        "failed": count(TaskState::Failed),
        "dead": count(TaskState::Dead),
        "oldest_ready_ms": counts.oldest_ready.map(|since| since.until(now).as_millis() as u64),
    })
}

/// `GET /v1/queues/{name}`: its definition.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<QueueName>,
) -> Result<Response, ApiError> {
    gateway.catalogue.refresh().await?;
    let catalogue = gateway.catalogue.current();
    let entry = catalogue.queues.get(&name).cloned();
    let Some(entry) = entry else {
        if catalogue.has_queue(&name) {
            let usual = json!({ "name": name, "revision": 0, "definition": Queue::default() });
            return Ok(reply::json(StatusCode::OK, &usual));
        }
        let detail = format!("there is no queue named `{name}`");
        return Err(Problem::new(404, "queue_not_found", "no such queue", detail).into());
    };
    Ok(with_revision(entry.revision, reply::json(StatusCode::OK, &defined(&entry))))
}

/// `PUT /v1/queues/{name}`: creates or replaces its definition; an equal one changes nothing.
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<QueueName>,
    headers: HeaderMap,
    definition: Body,
) -> Result<Response, ApiError> {
    let expected = expected_revision(&headers)?;
    let definition: Queue = gateway.bodies.definition(&headers, definition).await?;
    definition.validate().map_err(|error| Problem::invalid(error.to_string()))?;
    let (entry, changed) = gateway.store.put_queue(&name, &definition, expected).await?;
    if changed {
        gateway.catalogue_changed().await;
    }
    let mut answer = defined(&entry);
    answer["changed"] = changed.into();
    Ok(with_revision(entry.revision, reply::json(StatusCode::OK, &answer)))
}

/// `DELETE /v1/queues/{name}`: the usual numbers hold again; its tasks stay.
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<QueueName>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    gateway.store.delete_queue(&name, expected_revision(&headers)?).await?;
    gateway.catalogue_changed().await;
    Ok(NO_CONTENT.into_response())
}

fn defined(entry: &QueueEntry) -> Value {
    json!({ "name": entry.name, "revision": entry.revision, "definition": *entry.definition })
}
