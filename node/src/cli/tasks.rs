//! `beatmesh tasks`: list, show, cancel, retry; and waiting for the end of one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;
use super::when;
use crate::catalogue::name::FunctionName;
use crate::queue::MOST_LISTED;
use crate::queue::order::OrderKey;
use crate::queue::task::{TaskId, TaskState};
use crate::units::Span;

/// One question to a node; shorter than what proxies and the node itself cut off.
const ONE_WAIT: Duration = Duration::from_secs(20);

/// Between two questions.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  beatmesh tasks
  beatmesh tasks --state failed --function resize
  beatmesh tasks get 0190b2f0-6b6e-7cc3-98c4-dc0c0c07398f --wait 30s
  beatmesh tasks retry 0190b2f0-6b6e-7cc3-98c4-dc0c0c07398f"
)]
pub(super) struct TasksArgs {
    /// Only in this state: scheduled, ready, leased, retry, done, failed, dead, cancelled, expired.
    #[arg(long)]
    state: Option<TaskState>,
    /// Only of this function.
    #[arg(long, value_name = "NAME")]
    function: Option<FunctionName>,
    /// Only with this order key.
    #[arg(long, value_name = "KEY", requires = "function")]
    order_key: Option<OrderKey>,
    /// At most so many, newest first.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_LISTED)))]
    limit: u32,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one task with its result.
    Get {
        /// The task.
        id: TaskId,
        /// Wait so long for its end.
        #[arg(long, value_name = "SPAN")]
        wait: Option<Span>,
    },
    /// Take back a task that has not begun.
    Cancel {
        /// The task.
        id: TaskId,
    },
    /// Run a failed, dead, cancelled or expired task again.
    Retry {
        /// The task.
        id: TaskId,
    },
}

pub(super) async fn run(args: &TasksArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    match &args.action {
        None => {
            let request = Request::new("tasks", Method::GET, "/v1/tasks")
                .query("state", args.state.map(|state| state.as_str().to_owned()))
                .query("function", args.function.as_ref().map(ToString::to_string))
                .query("order_key", args.order_key.as_ref().map(ToString::to_string))
                .query("limit", Some(args.limit.to_string()));
            let tasks = client.json(request).await?;
            output.show(&tasks, |tasks| list_text(tasks, Timestamp::now()))
        }
        Some(Action::Get { id, wait }) => {
            let task = match wait {
                None => client.get(&format!("task {id}"), format!("/v1/tasks/{id}")).await?,
                Some(span) => wait_for(&id.to_string(), Some(*span), client).await?,
            };
            output.value(&task)
        }
        Some(Action::Cancel { id }) => change(*id, Method::DELETE, "", client, output).await,
        Some(Action::Retry { id }) => change(*id, Method::POST, "/retry", client, output).await,
    }
}

async fn change(
    id: TaskId,
    method: Method,
    action: &str,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let task =
        client.json(Request::new(format!("task {id}"), method, format!("/v1/tasks/{id}{action}"))).await?;
    output.show(&task, |task| match text_of(task, "state").as_str() {
        "-" => format!("task {id}: done"),
        state => format!("task {id} is {state}"),
    })
}

/// Asks until the task has ended or the time is over; answers the task as it stands then.
async fn wait_for(id: &str, longest: Option<Span>, client: &Client) -> Result<Value, Failure> {
    let deadline = longest.map(|span| Instant::now() + span.0);
    loop {
        let asked = Instant::now();
        let left = deadline.map_or(ONE_WAIT, |deadline| deadline.saturating_duration_since(asked));
        let wait = Span(Duration::from_millis(u64::try_from(left.min(ONE_WAIT).as_millis()).unwrap_or(0)));
        let request = Request::new(format!("task {id}"), Method::GET, format!("/v1/tasks/{id}"))
            .query("wait", Some(wait.to_string()));
        let task = client.json(request).await?;
        if has_ended(&task) || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(task);
        }
        // A node may wait less than it is asked to, and must not be asked in a hot loop.
        let next = asked + AT_MOST_EVERY;
        tokio::time::sleep_until(deadline.map_or(next, |deadline| next.min(deadline))).await;
    }
}

fn has_ended(task: &Value) -> bool {
    text_of(task, "state").parse::<TaskState>().is_ok_and(TaskState::is_final)
}

/// Waits for a task and shows its answer as a call would; a task that did not end well is a failure.
pub(super) async fn wait_and_show(
    id: &str,
    longest: Option<Span>,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let task = wait_for(id, longest, client).await?;
    let state = text_of(&task, "state");
    if state == TaskState::Done.as_str() {
        return if output.is_json() { output.value(&task) } else { output.answer(&answer_of(&task)?) };
    }
    if !has_ended(&task) {
        return Err(Failure::failed(format!("task {id} is {state}; --timeout is over, the task goes on")));
    }
    match task.get("error") {
        Some(problem @ Value::Object(_)) => {
            Err(Failure::Problem { context: format!("task {id} is {state}"), problem: problem.clone() })
        }
        _ => Err(Failure::failed(format!("task {id} is {state}"))),
    }
}

/// A task's result as bytes: what is no text comes as base64, a text as it is, anything else as JSON.
fn answer_of(task: &Value) -> Result<Vec<u8>, Failure> {
    if let Some(text) = task.get("result_base64").and_then(Value::as_str) {
        return BASE64
            .decode(text)
            .map_err(|error| Failure::failed(format!("the task's result is not base64: {error}")));
    }
    Ok(match task.get("result") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(other) => other.to_string().into_bytes(),
    })
}

fn list_text(tasks: &Value, now: Timestamp) -> String {
    let tasks = list_of(tasks, "tasks");
    if tasks.is_empty() {
        return "no such tasks".to_owned();
    }
    let mut table = Table::new(&["TASK", "FUNCTION", "STATE", "ATTEMPTS", "NODE", "CREATED", "FINISHED"]);
    for task in tasks {
        let id = if task.get("id").is_some() { "id" } else { "task_id" };
        table.row([
            text_of(task, id),
            text_of(task, "function"),
            text_of(task, "state"),
            text_of(task, "attempts"),
            text_of(task, "node"),
            when::from_now(task, "created_at", now),
            when::from_now(task, "finished_at", now),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tasks_are_listed_with_their_state() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let tasks = json!({"tasks": [{"id": "0190b2f0", "function": "hello", "state": "done", "attempts": 1,
            "node": "node-1", "created_at": "2026-01-31T11:59:00.000Z", "finished_at": "2026-01-31T11:59:01.000Z"}]});
        insta::assert_snapshot!(list_text(&tasks, now), @r"
        TASK      FUNCTION  STATE  ATTEMPTS  NODE    CREATED    FINISHED
        0190b2f0  hello     done   1         node-1  1m 0s ago  59s ago
        ");
    }

    #[test]
    fn an_answer_is_shown_as_the_function_wrote_it() {
        assert_eq!(answer_of(&json!({"result": "hello Ada\n"})).unwrap(), b"hello Ada\n");
        assert_eq!(answer_of(&json!({"result": {"a": 1}})).unwrap(), b"{\"a\":1}");
        assert_eq!(answer_of(&json!({"result_base64": "AP8KDQ=="})).unwrap(), [0, 255, 10, 13]);
        assert_eq!(answer_of(&json!({"state": "done"})).unwrap(), b"");
        assert!(answer_of(&json!({"result_base64": "?"})).is_err());
    }
}
