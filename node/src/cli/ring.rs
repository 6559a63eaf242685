//! `beatmesh ring`: who owns what.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh ring beat            who is the Beat, and who stands in for it
  beatmesh ring customer-42 -n 2")]
pub(super) struct RingArgs {
    /// Any text.
    key: String,
    /// How many nodes to show, the owner included.
    #[arg(short, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    n: u16,
}

pub(super) async fn run(args: &RingArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let request = Request::new(format!("ring of {}", args.key), Method::GET, "/v1/mesh/ring")
        .query("key", Some(args.key.clone()))
        .query("n", Some(args.n.to_string()));
    let ring = client.json(request).await?;
    output.show(&ring, ring_text)
}

fn ring_text(ring: &Value) -> String {
    let mut table = Table::new(&["RANK", "NODE"]);
    let owner = text_of(ring, "owner");
    table.row(["owner".to_owned(), owner.clone()]);
    // Whether the owner heads the list of successors or not: it is shown once.
    let successors = list_of(ring, "successors").iter().map(|node| match node {
        Value::String(id) => id.clone(),
        object => text_of(object, "id"),
    });
    for (rank, node) in (1..).zip(successors.filter(|node| *node != owner)) {
        table.row([format!("+{rank}"), node]);
    }
    format!("key {}, ring {}\n\n{}", text_of(ring, "key"), text_of(ring, "fingerprint"), table.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_owner_of_a_key_is_shown_once() {
        let ring = json!({"key": "beat", "fingerprint": "a1b2", "owner": "b", "successors": ["b", "c", "a"]});
        insta::assert_snapshot!(ring_text(&ring), @r"
        key beat, ring a1b2

        RANK   NODE
        owner  b
        +1     c
        +2     a
        ");
    }
}
