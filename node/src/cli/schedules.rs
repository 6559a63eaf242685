//! `beatmesh schedules`: list, show, preview, pause, resume, trigger, delete.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::deploy;
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;
use super::when;
use crate::catalogue::name::ScheduleName;
use crate::units::Span;

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  beatmesh schedules
  beatmesh schedules nightly
  beatmesh schedules preview nightly -n 5
  beatmesh schedules pause nightly
  beatmesh schedules pause nightly --until 2h"
)]
pub(super) struct SchedulesArgs {
    /// Show this one only.
    name: Option<ScheduleName>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one schedule.
    Get {
        /// The schedule.
        name: ScheduleName,
    },
    /// Show the next due times.
    Preview {
        /// The schedule.
        name: ScheduleName,
        /// How many.
        #[arg(short, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
        n: u16,
    },
    /// Stop firing until it is resumed, or for a time.
    Pause {
        /// The schedule.
        name: ScheduleName,
        /// It goes on by itself: after a span from now on, or at a time.
        #[arg(long, value_name = "SPAN|TIME", value_parser = span_or_time)]
        until: Option<String>,
    },
    /// Fire again.
    Resume {
        /// The schedule.
        name: ScheduleName,
    },
    /// Enqueue its task now, besides the due times; prints the task's id.
    Trigger {
        /// The schedule.
        name: ScheduleName,
    },
    /// Delete a schedule.
    Delete {
        /// The schedule.
        name: ScheduleName,
    },
}

pub(super) async fn run(args: &SchedulesArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let Some(action) = &args.action else {
        return match &args.name {
            Some(name) => get(name, client, output).await,
            None => {
                let schedules = client.get("schedules", "/v1/schedules").await?;
                output.show(&schedules, |schedules| list_text(schedules, Timestamp::now()))
            }
        };
    };
    match action {
        Action::Get { name } => get(name, client, output).await,
        Action::Preview { name, n } => {
            let path = format!("/v1/schedules/{name}/preview");
            let request = Request::new(format!("preview of {name}"), Method::GET, path);
            let preview = client.json(request.query("n", Some(n.to_string()))).await?;
            output.show(&preview, |preview| preview_text(preview, Timestamp::now()))
        }
        Action::Pause { name, until } => {
            let path = format!("/v1/schedules/{name}/pause");
            let request = Request::new(format!("pause of {name}"), Method::POST, path);
            let answer = client.json(request.query("until", until.clone())).await?;
            output.show(&answer, |answer| match answer.get("paused_until").and_then(Value::as_str) {
                Some(until) => format!("paused {name} until {until}"),
                None => format!("paused {name}"),
            })
        }
        Action::Resume { name } => {
            let path = format!("/v1/schedules/{name}/resume");
            let answer = client.json(Request::new(format!("resume of {name}"), Method::POST, path)).await?;
            output.show(&answer, |_| format!("resumed {name}"))
        }
        Action::Trigger { name } => {
            let path = format!("/v1/schedules/{name}/trigger");
            let answer = client.json(Request::new(format!("trigger of {name}"), Method::POST, path)).await?;
            output.show(&answer, |answer| text_of(answer, "task_id"))
        }
        Action::Delete { name } => {
            deploy::delete("schedule", name.as_str(), client).await?;
            output.show(&json!({"name": name, "deleted": true}), |_| format!("deleted schedule {name}"))
        }
    }
}

async fn get(name: &ScheduleName, client: &Client, output: &Output) -> Result<(), Failure> {
    output.value(&client.get(&format!("schedule {name}"), format!("/v1/schedules/{name}")).await?)
}

/// Checked here, so that a typing error costs no request; the node reads it.
fn span_or_time(text: &str) -> Result<String, String> {
    if text.parse::<Timestamp>().is_ok() || text.parse::<Span>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("it is neither a span like \"2h\" nor a time like \"2026-01-31T12:00:00Z\"".to_owned())
}

fn list_text(schedules: &Value, now: Timestamp) -> String {
    let schedules = list_of(schedules, "schedules");
    if schedules.is_empty() {
        return "no schedules; `beatmesh deploy FILE` brings some".to_owned();
    }
    let mut table = Table::new(&["SCHEDULE", "WHEN", "TIMEZONE", "FUNCTION", "MISFIRE", "OVERLAP", "NEXT"]);
    for schedule in schedules {
        let definition = schedule.get("definition").unwrap_or(&Value::Null);
        table.row([
            text_of(schedule, "name"),
            when_due(definition),
            text_of(definition, "timezone"),
            text_of(definition, "function"),
            text_of(definition, "misfire"),
            text_of(definition, "overlap"),
            next(schedule, now),
        ]);
    }
    table.render()
}

/// The cron text, or the single moment.
fn when_due(definition: &Value) -> String {
    match definition.get("at").and_then(Value::as_str) {
        Some(at) => format!("at {at}"),
        None => text_of(definition, "cron"),
    }
}

fn next(schedule: &Value, now: Timestamp) -> String {
    let state = schedule.get("state").and_then(Value::as_str);
    let paused = schedule.get("enabled").and_then(Value::as_bool) == Some(false);
    match state {
        _ if paused && schedule.get("paused_until").is_some_and(Value::is_string) => {
            format!("paused, resumes {}", when::from_now(schedule, "paused_until", now))
        }
        _ if paused => "paused".to_owned(),
        Some("done") => "done".to_owned(),
        _ => when::from_now(schedule, "next", now),
    }
}

fn preview_text(preview: &Value, now: Timestamp) -> String {
    let due = list_of(preview, "due");
    if due.is_empty() {
        return "it is never due again".to_owned();
    }
    // Only of a schedule with a jitter.
    let fires_at = list_of(preview, "fires_at");
    let is_put_off = !fires_at.is_empty();
    let mut table = Table::new(if is_put_off { &["DUE", "FIRES", ""] } else { &["DUE", ""] });
    for (nth, time) in due.iter().enumerate() {
        let line = json!({"due": time, "fires": fires_at.get(nth).unwrap_or(time)});
        let (due, fires) = (text_of(&line, "due"), text_of(&line, "fires"));
        let soon = when::from_now(&line, "fires", now);
        if is_put_off { table.row([due, fires, soon]) } else { table.row([due, soon]) }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_listed_with_their_next_due_time() {
        let schedule = |name: &str, enabled: bool| {
            json!({"name": name, "enabled": enabled, "next": "2026-01-31T12:00:02.000Z", "definition": {
                "cron": "*/2 * * * * *", "timezone": "UTC", "function": "report", "misfire": "fire_all",
                "overlap": "allow"}})
        };
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let once = |name: &str, state: &str, next: Value| {
            json!({"name": name, "enabled": true, "state": state, "next": next, "definition": {
                "at": "2026-01-31T13:00:00", "timezone": "UTC", "function": "report", "misfire": "fire_latest",
                "overlap": "allow"}})
        };
        let mut limited = schedule("limited", false);
        limited["paused_until"] = json!("2026-01-31T14:30:00.000Z");
        let ahead = once("ahead", "active", json!("2026-01-31T13:00:00.000Z"));
        let schedules = json!({"schedules": [schedule("every-2s", true), schedule("other", false), limited, ahead,
            once("over", "done", Value::Null)]});
        insta::assert_snapshot!(list_text(&schedules, now), @r"
        SCHEDULE  WHEN                    TIMEZONE  FUNCTION  MISFIRE      OVERLAP  NEXT
        every-2s  */2 * * * * *           UTC       report    fire_all     allow    in 2s
        other     */2 * * * * *           UTC       report    fire_all     allow    paused
        limited   */2 * * * * *           UTC       report    fire_all     allow    paused, resumes in 2h 30m
        ahead     at 2026-01-31T13:00:00  UTC       report    fire_latest  allow    in 1h 0m
        over      at 2026-01-31T13:00:00  UTC       report    fire_latest  allow    done
        ");
        insta::assert_snapshot!(preview_text(&json!({"due": ["2026-01-31T13:00:00.000Z"]}), now), @r"
        DUE
        2026-01-31T13:00:00.000Z  in 1h 0m
        ");
        let put_off = json!({"due": ["2026-01-31T13:00:00.000Z"], "fires_at": ["2026-01-31T13:00:12.345Z"]});
        insta::assert_snapshot!(preview_text(&put_off, now), @r"
        DUE                       FIRES
        2026-01-31T13:00:00.000Z  2026-01-31T13:00:12.345Z  in 1h 0m
        ");
    }
}
