//! `beatmesh members` and `beatmesh ring`: who is there, and who owns what.

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;
use super::when;

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

pub(super) async fn members(client: &Client, output: &Output) -> Result<(), Failure> {
    let mesh = client.get("members", "/v1/mesh").await?;
    output.show(&mesh, |mesh| members_text(mesh, Timestamp::now()))
}

pub(super) async fn ring(args: &RingArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let request = Request::new(format!("ring of {}", args.key), Method::GET, "/v1/mesh/ring")
        .query("key", Some(args.key.clone()))
        .query("n", Some(args.n.to_string()));
    let ring = client.json(request).await?;
    output.show(&ring, ring_text)
}

fn members_text(mesh: &Value, now: Timestamp) -> String {
    let members = list_of(mesh, "members");
    let (own, beat) = (text_of(mesh, "self"), text_of(mesh, "beat"));
    let fingerprint = mesh.get("ring").map_or("-".to_owned(), |ring| text_of(ring, "fingerprint"));
    let me = members.iter().find(|member| text_of(member, "id") == own).unwrap_or(&Value::Null);
    let mut table =
        Table::new(&["NODE", "LIVENESS", "ROLES", "HTTP", "MESH", "ZONE", "VERSION", "SINCE", ""]);
    for member in members {
        let id = text_of(member, "id");
        let marks = [
            ("Beat", id == beat),
            ("answers here", id == own),
            ("other settings", runs_with_other_settings(member, me)),
        ];
        let marks: Vec<&str> =
            marks.into_iter().filter(|(_, applies)| *applies).map(|(mark, _)| mark).collect();
        table.row([
            id,
            text_of(member, "liveness"),
            text_of(member, "roles"),
            text_of(member, "http"),
            text_of(member, "mesh"),
            text_of(member, "zone"),
            text_of(member, "version"),
            when::from_now(member, "since", now),
            marks.join(", "),
        ]);
    }
    let count = members.len();
    let noun = if count == 1 { "member" } else { "members" };
    format!(
        "mesh {}, {count} {noun}, Beat {beat}, ring {fingerprint}\n\n{}",
        text_of(mesh, "mesh"),
        table.render()
    )
}

/// Whether the member's digest of the settings that must be equal is another one. Another version digests
/// other settings; a dead member runs with none.
fn runs_with_other_settings(member: &Value, me: &Value) -> bool {
    let known = |value: &Value| value.get("config").and_then(Value::as_str).map(str::to_owned);
    known(member).is_some()
        && known(member) != known(me)
        && text_of(member, "version") == text_of(me, "version")
        && text_of(member, "liveness") == "alive"
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
    fn members_are_shown_with_the_beat_and_who_answers() {
        let member = |id: &str, liveness: &str| {
            json!({"id": id, "liveness": liveness, "roles": ["server", "beat"], "http": "127.0.0.1:8080",
                   "mesh": "127.0.0.1:7946", "zone": null, "version": "0.1.0", "since": "2026-01-31T12:00:00.000Z"})
        };
        let mesh = json!({"mesh": "prod", "self": "node-1", "beat": "node-2", "ring": {"fingerprint": "a1b2"},
                          "members": [member("node-1", "alive"), member("node-2", "suspect")]});
        let now = "2026-01-31T12:03:20Z".parse().unwrap();
        insta::assert_snapshot!(members_text(&mesh, now), @r"
        mesh prod, 2 members, Beat node-2, ring a1b2

        NODE    LIVENESS  ROLES        HTTP            MESH            ZONE  VERSION  SINCE
        node-1  alive     server,beat  127.0.0.1:8080  127.0.0.1:7946  -     0.1.0    3m 20s ago  answers here
        node-2  suspect   server,beat  127.0.0.1:8080  127.0.0.1:7946  -     0.1.0    3m 20s ago  Beat
        ");
        assert!(members_text(&json!({}), now).contains("0 members"), "an odd answer is no panic");
    }

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
