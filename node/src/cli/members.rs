//! `beatmesh members`: who is there, and what becomes of them.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Request, cause};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::sse::{Event, Reader};
use super::table::Table;
use super::when;
use crate::config::differing_settings;

/// A node says something every 15 s, if only that it lives. Three such words may be late.
const SILENT: Duration = Duration::from_secs(45);

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh members
  beatmesh members --watch
  beatmesh members --json | jq '.members[].id'
  beatmesh members --watch --json | jq 'select(.event == \"member\") | .data'

With --watch each change of members, ring and Beat is told as the asked node sees it, until that
node stops. With --json each event is one line: its name, its number and its data.")]
pub(super) struct MembersArgs {
    /// Go on and show each change.
    #[arg(short = 'f', long)]
    watch: bool,
}

pub(super) async fn run(args: &MembersArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    if args.watch {
        return watch(client, output).await;
    }
    let mesh = client.get("members", "/v1/mesh").await?;
    output.show(&mesh, |mesh| members_text(mesh, Timestamp::now()))
}

async fn watch(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut request = Request::new("members", Method::GET, "/v1/mesh/events");
    request.timeout = None;
    let mut answer = client.send(request).await?;
    let mut reader = Reader::default();
    let lost = |why: &str| Failure::failed(format!("members: {why}; ask another node with --url"));
    loop {
        let chunk = tokio::time::timeout(SILENT, answer.chunk()).await;
        let chunk = chunk.map_err(|_| lost("the node has fallen silent"))?;
        let chunk = chunk.map_err(|error| lost(&format!("the node was lost: {}", cause(&error))))?;
        let chunk = chunk.ok_or_else(|| lost("the node is stopping"))?;
        let events = reader.read(&chunk).ok_or_else(|| lost("the node sends an event without end"))?;
        for event in &events {
            show(event, output)?;
        }
    }
}

fn show(event: &Event, output: &Output) -> Result<(), Failure> {
    let data: Value = serde_json::from_str(&event.data).map_err(|error| {
        Failure::failed(format!("members: an event is not JSON ({error}); is this a beatmesh node?"))
    })?;
    if output.is_json() {
        let id = event.id.parse::<u64>().ok();
        return output.line(&json!({"event": event.name, "id": id, "data": data}).to_string());
    }
    let now = Timestamp::now();
    event_text(&event.name, &data, now).map_or(Ok(()), |text| output.line(&text))
}

/// One event for people; `None` for what a later version may tell.
fn event_text(name: &str, data: &Value, now: Timestamp) -> Option<String> {
    let told = match name {
        "snapshot" => return Some(format!("{}\n", members_text(data, now))),
        "member" => member_event(data),
        "ring" => {
            let kept = data.get("frozen").and_then(Value::as_bool).unwrap_or(false);
            let kept = if kept { ", kept although most of it does not answer" } else { "" };
            format!("ring {}: {}{kept}", text_of(data, "fingerprint"), text_of(data, "members"))
        }
        "beat" => format!("Beat {}", text_of(data, "id")),
        _ => return None,
    };
    let at = text_of(data, "at");
    // No name may move the cursor.
    Some(format!("{at}  {told}").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
}

fn member_event(data: &Value) -> String {
    let (id, liveness) = (text_of(data, "id"), standing(data));
    match text_of(data, "previous").as_str() {
        "-" => format!("{id} is new: {liveness}"),
        // An accuser more, a refutation nobody waited for, or a restart that was faster than any suspicion.
        same if same == text_of(data, "liveness") => {
            let (generation, incarnation) = (text_of(data, "generation"), text_of(data, "incarnation"));
            format!("{id} is still {liveness} (generation {generation}, incarnation {incarnation})")
        }
        was => format!("{id} is {liveness}, was {was}"),
    }
}

/// A member's liveness, and of a suspect who says so.
fn standing(member: &Value) -> String {
    let liveness = text_of(member, "liveness");
    let accusers: Vec<_> = list_of(member, "suspected_by").iter().filter_map(Value::as_str).collect();
    if accusers.is_empty() { liveness } else { format!("{liveness} (by {})", accusers.join(",")) }
}

fn members_text(mesh: &Value, now: Timestamp) -> String {
    let members = list_of(mesh, "members");
    let (own, beat) = (text_of(mesh, "self"), text_of(mesh, "beat"));
    let fingerprint = mesh.get("ring").map_or("-".to_owned(), |ring| text_of(ring, "fingerprint"));
    let me = members.iter().find(|member| text_of(member, "id") == own).unwrap_or(&Value::Null);
    let mut table =
        Table::new(&["NODE", "LIVENESS", "ROLES", "HTTP", "MESH", "ZONE", "VERSION", "LOAD", "SINCE", ""]);
    for member in members {
        let id = text_of(member, "id");
        let marks = [
            (id == beat).then(|| "Beat".to_owned()),
            (id == own).then(|| "answers here".to_owned()),
            other_settings(member, me),
        ];
        let marks: Vec<_> = marks.into_iter().flatten().collect();
        table.row([
            id,
            standing(member),
            text_of(member, "roles"),
            text_of(member, "http"),
            text_of(member, "mesh"),
            text_of(member, "zone"),
            text_of(member, "version"),
            text_of(member, "load"),
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

/// In which of the settings that must be equal the member differs. Another version digests other settings; a
/// dead member runs with none.
fn other_settings(member: &Value, me: &Value) -> Option<String> {
    let known = |value: &Value| value.get("config").and_then(Value::as_str).map(str::to_owned);
    let (theirs, mine) = (known(member)?, known(me)?);
    let differs = theirs != mine
        && text_of(member, "version") == text_of(me, "version")
        && text_of(member, "liveness") == "alive";
    differs.then(|| match differing_settings(&mine, &theirs) {
        // This program is of another version than the nodes, and knows other settings.
        names if names.is_empty() => "other settings".to_owned(),
        names => format!("other settings: {}", names.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_with_the_beat_and_who_answers() {
        let member = |id: &str, liveness: &str, by: &[&str]| {
            json!({"id": id, "liveness": liveness, "roles": ["server", "beat"], "http": "127.0.0.1:8080",
                   "mesh": "127.0.0.1:7946", "zone": null, "version": "0.1.0", "load": by.is_empty().then_some(3),
                   "since": "2026-01-31T12:00:00.000Z", "suspected_by": by})
        };
        let mesh = json!({"mesh": "prod", "self": "node-1", "beat": "node-2", "ring": {"fingerprint": "a1b2"},
            "members": [member("node-1", "alive", &[]), member("node-2", "suspect", &["node-1", "node-3"])]});
        let now = "2026-01-31T12:03:20Z".parse().unwrap();
        insta::assert_snapshot!(members_text(&mesh, now), @r"
        mesh prod, 2 members, Beat node-2, ring a1b2

        NODE    LIVENESS                    ROLES        HTTP            MESH            ZONE  VERSION  LOAD  SINCE
        node-1  alive                       server,beat  127.0.0.1:8080  127.0.0.1:7946  -     0.1.0    3     3m 20s ago  answers here
        node-2  suspect (by node-1,node-3)  server,beat  127.0.0.1:8080  127.0.0.1:7946  -     0.1.0    -     3m 20s ago  Beat
        ");
        assert!(members_text(&json!({}), now).contains("0 members"), "an odd answer is no panic");
    }

    #[test]
    fn other_settings_are_named_when_they_are_known() {
        let member = |config: &str, version: &str, liveness: &str| json!({"config": config, "version": version, "liveness": liveness});
        let (mine, theirs) = ("0".repeat(66), format!("{}{}", "0".repeat(30), "1".repeat(36)));
        let me = member(&mine, "1", "alive");
        let said = other_settings(&member(&theirs, "1", "alive"), &me);
        let names = "queue.lease queue.max_lost_leases queue.keep_tasks queue.max_kept_tasks queue.keep_ticks beat.standby_delay";
        assert_eq!(said.unwrap(), format!("other settings: {names}"));
        assert_eq!(other_settings(&member("a1b2", "1", "alive"), &me).unwrap(), "other settings");
        for unlike in
            [member(&mine, "1", "alive"), member(&theirs, "2", "alive"), member(&theirs, "1", "dead")]
        {
            assert_eq!(other_settings(&unlike, &me), None, "{unlike}");
        }
    }

    #[test]
    fn events_are_lines_and_unknown_ones_are_passed_over() {
        let now = "2026-01-31T12:03:20Z".parse().unwrap();
        let member = |liveness: &str, by: &[&str], previous: Option<&str>| {
            json!({"at": "T", "id": "b", "generation": 7, "liveness": liveness, "incarnation": 2,
                   "suspected_by": by, "previous": previous})
        };
        let lines: Vec<_> = [
            ("member", member("alive", &[], None)),
            ("member", member("suspect", &["a"], Some("alive"))),
            ("member", member("suspect", &["a", "c"], Some("suspect"))),
            ("member", member("dead", &[], Some("suspect"))),
            ("member", member("forgotten", &[], Some("dead"))),
            ("ring", json!({"at": "T", "fingerprint": "a1b2", "members": ["a", "c"], "frozen": true})),
            ("beat", json!({"at": "T", "id": null})),
            ("weather", json!({})),
            ("member", json!(5)),
            ("beat", json!({"at": "T", "id": "x\u{1b}[2J"})),
        ]
        .iter()
        .filter_map(|(name, data)| event_text(name, data, now))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        T  b is new: alive
        T  b is suspect (by a), was alive
        T  b is still suspect (by a,c) (generation 7, incarnation 2)
        T  b is dead, was suspect
        T  b is forgotten, was dead
        T  ring a1b2: a,c, kept although most of it does not answer
        T  Beat -
        -  - is new: -
        T  Beat x�[2J
        ");
        let first = event_text("snapshot", &json!({"mesh": "prod"}), now).unwrap();
        assert!(first.starts_with("mesh prod, 0 members"), "{first}");
    }
}
