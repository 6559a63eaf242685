//! `POST /v1/tasks:batch`: many tasks in one request and one step of the store, all or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Gateway;
use super::body::parse_json;
use super::reply::{self, ApiError};
use super::tasks::{How, key_taken};
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::queue::StoreError;
use crate::queue::task::{NewTask, TaskId};

/// The store does nothing else while it takes a batch: 5,000 small tasks cost a Redis some 50 ms.
const MOST: usize = 5_000;

/// One task of a batch. What a single request says in its query and headers stands in fields here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    function: FunctionName,
    /// Any JSON: handed to the function as `application/json`.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    /// Any bytes, in base64.
    input_base64: Option<String>,
    /// The media type of `input_base64`.
    content_type: Option<String>,
    /// As the header `Idempotency-Key` of a single request.
    key: Option<String>,
    delay: Option<crate::units::Span>,
    queue: Option<crate::catalogue::name::QueueName>,
    priority: Option<i16>,
    expires: Option<crate::units::Span>,
    retries: Option<u32>,
    order_key: Option<crate::queue::order::OrderKey>,
}

/// `POST /v1/tasks:batch`: 202 with the ids in the order of the items, after the store has all of them.
pub(super) async fn enqueue(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = gateway.bodies.read(&headers, body, usize::MAX).await?;
    let items: Vec<Item<'_>> = parse_json(&body.bytes)?;
    if items.is_empty() || items.len() > MOST {
        let detail = format!("a batch holds 1 to {MOST} tasks; this one holds {}", items.len());
        return Err(Problem::bad_request(detail).into());
    }
    let mut tasks = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let task = task(&gateway, item, &body.bytes).await;
        tasks.push(task.map_err(|ApiError(problem)| problem.with("index", at))?);
    }
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    check_keys(&tasks)?;
    let taken = gateway.queue.enqueue(tasks).await.map_err(|error| {
        let is_unknown = matches!(error, StoreError::Unknown(_));
        let problem = Problem::from(error);
        if is_unknown { problem.with("task_ids", json!(ids)) } else { problem }
    })?;
    if !taken.is_empty() {
        let at: Vec<usize> = (0..ids.len()).filter(|at| taken.contains(&ids[*at])).collect();
        let whose = format!("the key of task {} of the batch", at.first().copied().unwrap_or(0));
        return Err(key_taken(&whose).with("indexes", json!(at)).with("task_ids", json!(taken)).into());
    }
    gateway.ring_bell();
    Ok(reply::json(StatusCode::ACCEPTED, &json!({ "task_ids": ids })))
}

async fn task(gateway: &Gateway, item: Item<'_>, body: &Bytes) -> Result<NewTask, ApiError> {
    let Item { function, input, input_base64, content_type, key, .. } = item;
    let Item { delay, queue, priority, expires, retries, order_key, .. } = item;
    let how = How { delay, queue, priority, expires, retries, order_key };
    how.check()?;
    let (input, content_type) = match (input, input_base64) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("`input` and `input_base64` exclude each other").into());
        }
        (Some(_), None) if content_type.is_some() => {
            return Err(
                Problem::bad_request("`content_type` belongs to `input_base64`; `input` is JSON").into()
            );
        }
        // A part of the body, not a copy of it.
        (Some(json), None) => (body.slice_ref(json.get().as_bytes()), "application/json".to_owned()),
        (None, Some(text)) => {
            let bytes = BASE64
                .decode(&text)
                .map_err(|error| Problem::bad_request(format!("`input_base64`: {error}")))?;
            (bytes.into(), content_type.unwrap_or_default().chars().take(256).collect())
        }
        (None, None) => (Bytes::new(), content_type.unwrap_or_default().chars().take(256).collect()),
    };
    how.check_queue(gateway).await?;
    let known = gateway.catalogue.function(&function, 0).await?;
    let known = known.ok_or_else(|| Problem::no_function(&function))?;
    Ok(how.task(gateway, &known, key.as_deref().map(str::as_bytes), input, content_type))
}

/// One key twice in a batch is a mistake unless it is the same task.
fn check_keys(tasks: &[NewTask]) -> Result<(), Problem> {
    let mut seen: BTreeMap<TaskId, &NewTask> = BTreeMap::new();
    for (at, task) in tasks.iter().enumerate() {
        if let Some(first) = seen.insert(task.id, task)
            && !first.same_content(&task.function, &task.input, &task.content_type, task.order_key())
        {
            let whose = format!("the key of task {at} of the batch");
            return Err(key_taken(&whose).with("indexes", Value::from(vec![at])));
        }
    }
    Ok(())
}
