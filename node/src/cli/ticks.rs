//! `beatmesh ticks`: the ledger of a schedule.

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;
use super::when;
use crate::catalogue::name::ScheduleName;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh ticks every-2s
  beatmesh ticks nightly --since 7d --limit 100")]
pub(super) struct TicksArgs {
    /// The schedule.
    name: ScheduleName,
    /// At most so many lines, newest first.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only due times after this: a span before now, or a time.
    #[arg(long, value_name = "SPAN|TIME")]
    since: Option<String>,
}

pub(super) async fn run(args: &TicksArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| when::since(text, Timestamp::now())).transpose();
    let path = format!("/v1/schedules/{}/ticks", args.name);
    let request = Request::new(format!("ticks of {}", args.name), Method::GET, path)
        .query("limit", Some(args.limit.to_string()))
        .query("since", since.map_err(Failure::usage)?);
    let ticks = client.json(request).await?;
    output.show(&ticks, ticks_text)
}

fn ticks_text(ticks: &Value) -> String {
    let ticks = list_of(ticks, "ticks");
    if ticks.is_empty() {
        return "no due time has passed yet".to_owned();
    }
    let mut table = Table::new(&["DUE", "STATE", "REASON", "LATE", "NODE", "TASK"]);
    for tick in ticks {
        let number = |key: &str| tick.get(key).and_then(Value::as_i64);
        // What was put off on purpose is not late.
        let late = number("lateness_ms").map(|late| late - number("jitter_ms").unwrap_or(0));
        let state = text_of(tick, "state");
        // One line may stand for a run of skipped due times.
        let state = match tick.get("count").and_then(Value::as_u64) {
            Some(count) if count > 1 => format!("{state} x{count}"),
            _ => state,
        };
        table.row([
            text_of(tick, "due"),
            state,
            text_of(tick, "reason"),
            late.map_or("-".to_owned(), when::length),
            text_of(tick, "node"),
            text_of(tick, "task_id"),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_ledger_shows_what_was_fired_and_what_was_skipped() {
        let ticks = json!({"ticks": [
            {"due": "2026-01-31T12:00:02.000Z", "state": "fired", "reason": null, "task_id": "0190b2f0-6b6e-7cc3",
             "node": "node-2", "lateness_ms": 512, "jitter_ms": 500, "count": 1},
            {"due": "2026-01-31T12:00:00.000Z", "state": "skipped", "reason": "superseded", "task_id": null,
             "node": "node-2", "lateness_ms": 2012, "count": 7}]});
        insta::assert_snapshot!(ticks_text(&ticks), @r"
        DUE                       STATE       REASON      LATE  NODE    TASK
        2026-01-31T12:00:02.000Z  fired       -           12ms  node-2  0190b2f0-6b6e-7cc3
        2026-01-31T12:00:00.000Z  skipped x7  superseded  2s    node-2  -
        ");
    }
}
