//! Tasks: enqueue, look, wait, cancel, retry.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Gateway;
use super::reply::{self, ApiError, Named, Parameters, content_type, in_range, parsed_header};
use crate::catalogue::entry::FunctionEntry;
use crate::catalogue::name::{FunctionName, QueueName, ScheduleName};
use crate::problem::Problem;
use crate::queue::order::{Order, OrderKey};
use crate::queue::task::{NewTask, Origin, TaskId, TaskRecord, TaskState};
use crate::queue::{MOST_LISTED, StoreError, TaskFilter};
use crate::units::Span;

/// A finished task is told at once through the mesh; this is the net below, growing to the second.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// Nobody means more retries, or a priority beyond these.
const MOST_RETRIES: u32 = 1_000;
const PRIORITIES: std::ops::RangeInclusive<i16> = -100..=100;

/// How a task is enqueued; each may also come as a header `Beatmesh-…`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    pub(super) delay: Option<Span>,
    pub(super) queue: Option<QueueName>,
    pub(super) priority: Option<i16>,
    pub(super) expires: Option<Span>,
    pub(super) retries: Option<u32>,
    pub(super) order_key: Option<OrderKey>,
}

impl How {
    /// The query's values, and the headers' where the query says nothing.
    fn or_headers(self, headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            delay: self.delay.or(parsed_header(headers, "Beatmesh-Delay")?),
            queue: self.queue.or(parsed_header(headers, "Beatmesh-Queue")?),
            priority: self.priority.or(parsed_header(headers, "Beatmesh-Priority")?),
            expires: self.expires.or(parsed_header(headers, "Beatmesh-Expires")?),
            retries: self.retries.or(parsed_header(headers, "Beatmesh-Retries")?),
            order_key: self.order_key.or(parsed_header(headers, "Beatmesh-Order-Key")?),
        })
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        self.priority.map(|priority| in_range("priority", priority, PRIORITIES)).transpose()?;
        self.retries.map(|retries| in_range("retries", retries, 0..=MOST_RETRIES)).transpose()?;
        if let (Some(expires), delay) = (self.expires, self.delay.unwrap_or_default())
            && expires <= delay
        {
            return Err(Problem::bad_request(format!(
                "a task that expires after {expires} can never begin after {delay}"
            ))
            .into());
        }
        Ok(())
    }
}

impl How {
    /// A queue that nobody has heard of is a typing error: its tasks would run, with a share that nobody meant.
    pub(super) async fn check_queue(&self, gateway: &Gateway) -> Result<(), ApiError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        if gateway.catalogue.current().has_queue(queue) {
            return Ok(());
        }
        gateway.catalogue.refresh().await?;
        if gateway.catalogue.current().has_queue(queue) {
            return Ok(());
        }
        let detail = format!(
            "there is no queue named `{queue}`: a queue is there when a function names it (queue = \"...\") or when it is defined ([queues.{queue}] in a manifest, PUT /v1/queues/{queue})"
        );
        Err(Problem::new(404, "queue_not_found", "no such queue", detail).into())
    }

    /// A task of this function; `key` makes it the same one whenever it is asked for.
    pub(super) fn task(
        self,
        gateway: &Gateway,
        function: &FunctionEntry,
        key: Option<&[u8]>,
        input: Bytes,
        content_type: String,
    ) -> NewTask {
        let (name, definition) = (function.name.clone(), &function.definition);
        NewTask {
            id: key.map_or_else(|| gateway.fresh_id(), |key| TaskId::of_key(&name, key)),
            function: name,
            queue: self.queue.unwrap_or_else(|| definition.queue.clone()),
            priority: self.priority.unwrap_or(0),
            input,
            content_type,
            delay: self.delay.unwrap_or_default().0,
            expires: self.expires.map(|span| span.0),
            retries: self.retries.unwrap_or(definition.retries.max),
            origin: Origin::Api,
            reply_to: gateway.me.to_string(),
            order: self.order_key.map(|key| Order::new(key, definition.per_order_key)),
        }
    }
}

/// `POST /v1/functions/{name}/tasks`: 202 after the store has it.
pub(super) async fn enqueue(
    State(gateway): State<Arc<Gateway>>,
    Named(function): Named<FunctionName>,
    Parameters(how): Parameters<How>,
    headers: HeaderMap,
    input: Body,
) -> Result<Response, ApiError> {
    let how = how.or_headers(&headers)?;
    how.check()?;
    let known = gateway.catalogue.function(&function, 0).await?;
    let known = known.ok_or_else(|| Problem::no_function(&function))?;
    how.check_queue(&gateway).await?;
    let input = gateway.bodies.read(&headers, input, usize::MAX).await?;
    let key = headers.get("Idempotency-Key").map(HeaderValue::as_bytes);
    let task = how.task(&gateway, &known, key, input.bytes.clone(), content_type(&headers));
    store_task(&gateway, task).await
}

/// Stores one task and answers its id; with an unknown outcome the id too, to ask for.
pub(super) async fn store_task(gateway: &Gateway, task: NewTask) -> Result<Response, ApiError> {
    let id = task.id;
    let taken = gateway.queue.enqueue(vec![task]).await.map_err(|error| {
        let is_unknown = matches!(error, StoreError::Unknown(_));
        let problem = Problem::from(error);
        if is_unknown { problem.with("task_id", id.to_string()) } else { problem }
    })?;
    if !taken.is_empty() {
        return Err(key_taken("its key").with("task_id", id.to_string()).into());
    }
    gateway.ring_bell();
    Ok(reply::json(StatusCode::ACCEPTED, &json!({ "task_id": id })))
}

/// A key stands for one request, as long as its task is kept.
pub(super) fn key_taken(whose: &str) -> Problem {
    let detail = format!(
        "{whose} was used before, with another input or order key, and still names that task; nothing was stored. Use another key, or send the same again to get the same task"
    );
    Problem::new(409, "key_taken", "the key names another task", detail)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<Span>,
}

/// `GET /v1/tasks/{id}?wait=30s`: waits for the end, at most so long and not longer than this node runs,
/// then answers how it stands.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Named(id): Named<TaskId>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Response, ApiError> {
    let wait = wait.wait.unwrap_or_default().0.min(gateway.longest_wait);
    let until = gateway.env.clock.now() + wait;
    let waiter = gateway.waiters.wait_for(id);
    let mut pause = LOOK_FIRST;
    loop {
        let task = gateway.queue.task(id).await?.ok_or_else(|| no_task(id))?;
        let left = until.saturating_duration_since(gateway.env.clock.now());
        if task.state.is_final() || left.is_zero() || gateway.stop.is_cancelled() {
            return Ok(reply::json(StatusCode::OK, &shown(&task)));
        }
        tokio::select! {
            _ = tokio::time::timeout(pause.min(left), waiter.rung()) => {}
            () = gateway.stop.cancelled() => {}
        }
        pause = (pause * 2).min(LOOK_LAST);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    state: Option<String>,
    function: Option<FunctionName>,
    queue: Option<QueueName>,
    schedule: Option<ScheduleName>,
    order_key: Option<OrderKey>,
    limit: Option<u32>,
}

/// `GET /v1/tasks`: newest first, without results.
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, ApiError> {
    let state =
        filter.state.map(|text| text.parse::<TaskState>()).transpose().map_err(Problem::bad_request)?;
    let limit = in_range("limit", filter.limit.unwrap_or(100), 1..=MOST_LISTED)?;
    let Filter { function, queue, schedule, order_key, .. } = filter;
    if order_key.is_some() && function.is_none() {
        let detail = "`order_key` goes with `function`: each function has its own keys; add `function=`";
        return Err(Problem::bad_request(detail).into());
    }
    let filter = TaskFilter { state, function, queue, schedule, order_key, limit };
    let tasks = gateway.queue.tasks(&filter).await?;
    let tasks: Vec<_> = tasks.iter().map(shown).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "tasks": tasks })))
}

/// `DELETE /v1/tasks/{id}`: takes a task back that nobody has begun.
pub(super) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Named(id): Named<TaskId>,
) -> Result<Response, ApiError> {
    match gateway.queue.cancel(id).await?.ok_or_else(|| no_task(id))? {
        TaskState::Cancelled => {
            // Of its order key others may have waited behind it.
            gateway.ring_bell();
            answer_task(&gateway, id).await
        }
        state => Err(wrong_state(id, state, "only a task that waits can be cancelled").into()),
    }
}

/// `POST /v1/tasks/{id}/retry`: another chance for a task that has ended badly.
pub(super) async fn retry(
    State(gateway): State<Arc<Gateway>>,
    Named(id): Named<TaskId>,
) -> Result<Response, ApiError> {
    match gateway.queue.retry(id).await?.ok_or_else(|| no_task(id))? {
        TaskState::Ready => {
            gateway.ring_bell();
            answer_task(&gateway, id).await
        }
        state => {
            Err(wrong_state(id, state, "only a failed, dead, cancelled or expired task can be retried")
                .into())
        }
    }
}

async fn answer_task(gateway: &Gateway, id: TaskId) -> Result<Response, ApiError> {
    let task = gateway.queue.task(id).await?.ok_or_else(|| no_task(id))?;
    Ok(reply::json(StatusCode::OK, &shown(&task)))
}

fn no_task(id: TaskId) -> Problem {
    let detail = format!(
        "there is no task {id}: it was never stored, or it ended long ago and is forgotten (queue.keep_tasks)"
    );
    Problem::new(404, "task_not_found", "no such task", detail)
}

fn wrong_state(id: TaskId, state: TaskState, rule: &str) -> Problem {
    let detail = format!("task {id} is {}: {rule}", state.as_str());
    Problem::new(409, "wrong_state", "not possible in this state", detail).with("state", state.as_str())
}

/// A task as clients read it.
fn shown(task: &TaskRecord) -> Value {
    let mut shown = json!({
        "task_id": task.id,
        "function": task.function,
        "queue": task.queue,
        "state": task.state,
        "priority": task.priority,
        "attempts": task.attempts,
        "failures": task.failures,
        "lost_leases": task.lost_leases,
        "retries": task.retries,
        "origin": origin(&task.origin),
        "created_at": reply::time(task.created_at),
        "ready_at": reply::time(task.ready_at),
    });
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown[name] = value;
        }
    };
    add("order_key", task.order_key.as_ref().map(|key| key.as_str().into()));
    add("waits_for_order", task.waits_for_order.then_some(true.into()));
    add("node", task.node.clone().map(Value::from));
    for (name, at) in
        [("expires_at", task.expires_at), ("started_at", task.started_at), ("finished_at", task.finished_at)]
    {
        add(name, at.map(|at| reply::time(at).into()));
    }
    add("error", task.error.clone());
    add("log_tail", task.log_tail.clone().map(Value::from));
    if let Some(output) = &task.output {
        add("content_type", task.output_type.clone().map(Value::from));
        let is_json = task.output_type.as_deref() == Some("application/json");
        let as_json = is_json.then(|| serde_json::from_slice(output).ok()).flatten();
        match (as_json, std::str::from_utf8(output)) {
            (Some(value), _) => add("result", Some(value)),
            (None, Ok(text)) => add("result", Some(text.into())),
            (None, Err(_)) => add("result_base64", Some(BASE64.encode(output).into())),
        }
    }
    shown
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Call => json!({"kind": "call"}),
        Origin::Api => json!({"kind": "api"}),
        Origin::Schedule { schedule, due } => {
            json!({"kind": "schedule", "schedule": schedule, "due": reply::time(*due)})
        }
        Origin::Trigger { schedule } => json!({"kind": "trigger", "schedule": schedule}),
    }
}
