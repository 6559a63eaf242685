//! `beatmesh call`: a synchronous call, or a task.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Request, cause};
use super::failure::Failure;
use super::output::{Output, text_of};
use super::tasks;
use crate::catalogue::name::{FunctionName, QueueName};
use crate::queue::order::OrderKey;
use crate::units::Span;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh call hello '{\"name\":\"Ada\"}'
  beatmesh call resize @photo.jpg > small.jpg
  date | beatmesh call echo -
  beatmesh call hello '{\"name\":\"Ada\"}' --async --wait

Equal values of --key go to the same node while it lives and has room: a call waits up to 250ms for
a slot there, then goes to the next node.")]
pub(super) struct CallArgs {
    /// The function.
    name: FunctionName,
    /// Its input: JSON, @FILE for a file's content, or - for stdin; nothing by default.
    #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    input: Option<String>,
    /// Enqueue a task and print its id instead of waiting for the answer.
    #[arg(long = "async")]
    as_task: bool,
    /// Enqueue a task and wait for its end.
    #[arg(long)]
    wait: bool,
    /// Equal keys go to one node while it has room (header Beatmesh-Key).
    #[arg(long)]
    key: Option<String>,
    /// How long to wait for the answer, for example 10s.
    #[arg(long, value_name = "SPAN")]
    timeout: Option<Span>,
    /// A task: not before this has passed.
    #[arg(long, value_name = "SPAN", help_heading = "Options of tasks")]
    delay: Option<Span>,
    /// A task: where it waits.
    #[arg(long, help_heading = "Options of tasks")]
    queue: Option<QueueName>,
    /// A task: higher runs first.
    #[arg(long, help_heading = "Options of tasks", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// A task: given up when it has not begun after this.
    #[arg(long, value_name = "SPAN", help_heading = "Options of tasks")]
    expires: Option<Span>,
    /// A task: further attempts after a failed one.
    #[arg(long, value_name = "COUNT", help_heading = "Options of tasks")]
    retries: Option<u32>,
    /// A task: it starts when the tasks of the function that were enqueued with this key before it have ended.
    #[arg(long, value_name = "KEY", help_heading = "Options of tasks")]
    order_key: Option<OrderKey>,
}

impl CallArgs {
    fn is_task(&self) -> bool {
        self.as_task || self.wait
    }

    fn request(&self) -> Result<Request, Failure> {
        let (body, content_type) = input(self.input.as_deref())?;
        let (context, path) = match self.is_task() {
            true => (format!("task for {}", self.name), format!("/v1/functions/{}/tasks", self.name)),
            false => (format!("call of {}", self.name), format!("/v1/functions/{}/call", self.name)),
        };
        let mut request = Request::new(context, Method::POST, path);
        (request.body, request.content_type) = (body, content_type);
        request.headers.extend(self.key.clone().map(|key| ("beatmesh-key", key)));
        if self.is_task() {
            return Ok(request
                .query("delay", self.delay.map(|span| span.to_string()))
                .query("queue", self.queue.as_ref().map(ToString::to_string))
                .query("priority", self.priority.map(|priority| priority.to_string()))
                .query("expires", self.expires.map(|span| span.to_string()))
                .query("retries", self.retries.map(|retries| retries.to_string()))
                .query("order_key", self.order_key.as_ref().map(ToString::to_string)));
        }
        request.headers.extend(self.timeout.map(|span| ("beatmesh-timeout", span.to_string())));
        // The node answers 504 in time; this is for a node that has gone silent.
        request.timeout = self.timeout.map(|span| span.0 + Duration::from_secs(5));
        Ok(request)
    }

    fn check(&self) -> Result<(), Failure> {
        let of_tasks = [
            ("--delay", self.delay.is_some()),
            ("--queue", self.queue.is_some()),
            ("--priority", self.priority.is_some()),
            ("--expires", self.expires.is_some()),
            ("--retries", self.retries.is_some()),
            ("--order-key", self.order_key.is_some()),
        ];
        match of_tasks.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) if !self.is_task() => {
                Err(Failure::usage(format!("{flag} is for tasks; add --async or --wait")))
            }
            _ if self.is_task() && self.key.is_some() => Err(Failure::usage(
                "--key is for calls: a task runs on whichever node is free first; leave --key out, or write --order-key for tasks that start one after the other",
            )),
            _ if self.timeout == Some(Span::default()) => {
                Err(Failure::usage("--timeout: `0s` is too short; it must be longer than zero"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) async fn run(args: &CallArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    args.check()?;
    let request = args.request()?;
    if args.is_task() {
        let accepted = client.json(request).await?;
        if args.wait {
            return tasks::wait_and_show(&text_of(&accepted, "task_id"), args.timeout, client, output).await;
        }
        return output.show(&accepted, |accepted| text_of(accepted, "task_id"));
    }
    let context = request.context.clone();
    let mut answer = client.send(request).await?;
    let header =
        |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (node, task) = (header("beatmesh-node"), header("beatmesh-task"));
    let broke = |error| broken_off(&context, error, node.as_deref(), task.as_deref());
    if !output.is_json() {
        // Piece by piece: an answer may be larger than anybody wants in memory.
        loop {
            match answer.chunk().await.map_err(broke)? {
                Some(piece) => output.answer(&piece)?,
                None => return Ok(()),
            }
        }
    }
    let body = answer.bytes().await.map_err(broke)?;
    let (name, content) = readable(&body);
    output.value(&json!({"node": node, "task": task, name: content}))
}

/// An answer that has begun cannot turn into a problem object: why it broke off stands in a log.
fn broken_off(context: &str, error: reqwest::Error, node: Option<&str>, task: Option<&str>) -> Failure {
    let (node, task) = (node.unwrap_or("that ran it"), task.unwrap_or("this call"));
    Failure::failed(format!(
        "{context}: the answer broke off: {}; most likely the function failed in the middle of it, or node {node} was lost; the log of node {node} says why: look for {task}",
        cause(&error)
    ))
}

/// Bytes as a member of JSON: what they hold when they are JSON, else as text, else as base64.
fn readable(body: &[u8]) -> (&'static str, Value) {
    match (serde_json::from_slice(body), std::str::from_utf8(body)) {
        (Ok(value), _) => ("output", value),
        (Err(_), Ok(text)) => ("output", text.into()),
        (Err(_), Err(_)) => ("output_base64", BASE64.encode(body).into()),
    }
}

/// The input and its media type.
fn input(argument: Option<&str>) -> Result<(Bytes, &'static str), Failure> {
    const BYTES: &str = "application/octet-stream";
    match argument {
        None => Ok((Bytes::new(), "")),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(|error| Failure::failed(format!("stdin cannot be read: {error}")))?;
            Ok((bytes.into(), BYTES))
        }
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| Failure::usage(format!("input: {path} cannot be read: {error}")))?;
                let is_json = Path::new(path).extension().is_some_and(|extension| extension == "json");
                Ok((bytes.into(), if is_json { "application/json" } else { BYTES }))
            }
            None => {
                serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
                    Failure::usage(format!(
                        "input: `{text}` is not JSON ({error}); quote a text as '\"text\"', or use @FILE or -"
                    ))
                })?;
                Ok((text.to_owned().into(), "application/json"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_json_or_says_what_it_could_be() {
        assert_eq!(input(None).unwrap().0, "");
        assert_eq!(input(Some("{\"a\":1}")).unwrap(), ("{\"a\":1}".into(), "application/json"));
        let Err(Failure::Usage(lines)) = input(Some("Ada")) else { panic!("it was taken") };
        assert!(lines[0].contains("`Ada`") && lines[0].contains("@FILE"), "{lines:?}");
        assert!(input(Some("@/nonexistent/file")).is_err());
    }
}
