//! `beatmesh queues`: what waits and runs in each queue.

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh queues
  beatmesh queues --json

A queue is there when a function names it (queue = \"bulk\") or when a manifest defines it:
  [queues.bulk]
  weight = 1       of two queues that have work, one with twice the weight gets twice as many tasks started
  limit = 20       so many of its tasks run at the same time in the whole mesh")]
pub(super) struct QueuesArgs {}

pub(super) async fn run(_: &QueuesArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let answer = client.get("queues", "/v1/queues").await?;
    output.show(&answer, text)
}

fn text(answer: &Value) -> String {
    let mut table =
        Table::new(&["QUEUE", "WEIGHT", "LIMIT", "READY", "OLDEST", "RUNNING", "WAITING", "FAILED", "DEAD"]);
    for queue in list_of(answer, "queues") {
        let number = |name: &str| queue.get(name).and_then(Value::as_u64);
        let shown = |name: &str| number(name).map_or_else(|| "-".to_owned(), |number| number.to_string());
        let waiting = number("scheduled").unwrap_or(0) + number("retry").unwrap_or(0);
        let oldest = number("oldest_ready_ms").map_or_else(|| "-".to_owned(), age);
        table.row([
            text_of(queue, "name"),
            shown("weight"),
            shown("limit"),
            shown("ready"),
            oldest,
            shown("leased"),
            waiting.to_string(),
            shown("failed"),
            shown("dead"),
        ]);
    }
    let workers = answer.get("workers").and_then(Value::as_u64).unwrap_or(0);
    let take = if workers == 1 { "worker takes" } else { "workers take" };
    format!("{}\n{workers} {take} from all of them", table.render())
}

/// Of what a person wants to know: seconds soon, hours late.
fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{:.1}s", ms as f64 / 1_000.0),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_is_a_line() {
        let answer = json!({"workers": 3, "queues": [
            {"name": "bulk", "weight": 1, "limit": 20, "ready": 7, "scheduled": 2, "retry": 1, "leased": 20,
             "failed": 1, "dead": 0, "oldest_ready_ms": 61_000},
            {"name": "default", "weight": 4, "limit": null, "ready": 0, "scheduled": 0, "retry": 0, "leased": 0,
             "failed": 0, "dead": 0, "oldest_ready_ms": null}]});
        insta::assert_snapshot!(text(&answer), @r"
        QUEUE    WEIGHT  LIMIT  READY  OLDEST  RUNNING  WAITING  FAILED  DEAD
        bulk     1       20     7      61.0s   20       3        1       0
        default  4       -      0      -       0        0        0       0
        3 workers take from all of them
        ");
        for (workers, said) in [(0, "0 workers take"), (1, "1 worker takes"), (2, "2 workers take")] {
            let text = text(&json!({"workers": workers, "queues": []}));
            assert!(text.ends_with(&format!("\n{said} from all of them")), "{text}");
        }
    }
}
