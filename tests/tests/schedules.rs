//! Schedules: seconds, the ledger, pause, resume, trigger, preview, edits.

use std::time::{Duration, SystemTime};

use beatmesh_tests::ledger::until_ticks;
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, SideFile, TestMesh, http, ledger};
use reqwest::Method;
use serde_json::{Value, json};

fn every(period: u32, function: &str) -> Value {
    json!({"cron": format!("*/{period} * * * * *"), "function": function, "misfire": "fire_all"})
}

async fn put(client: &Client, name: &str, definition: &Value) -> Value {
    client.put(&format!("/v1/schedules/{name}"), definition).await.ok().json()
}

#[tokio::test]
async fn a_schedule_with_seconds_fires_on_the_second_and_the_ledger_shows_it_on_every_node() {
    let mut mesh = TestMesh::start(3).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("note", &side.function(&ledger::recording(&side))).await;
    let shown = put(&mesh.client(1), "tick", &every(1, "note")).await;
    assert_eq!((&shown["changed"], &shown["enabled"]), (&json!(true), &json!(true)), "{shown:#}");
    assert_eq!(shown["definition"]["timezone"], "UTC");
    let since = ledger::owed_since(&shown);
    assert!(ledger::time(&shown["next"]) > ledger::time(&shown["cursor"]));
    let since_two = ledger::owed_since(&put(&mesh.client(2), "tick-two", &every(2, "note")).await);
    until_ticks(&mesh.client(0), "tick", 6).await;
    let ticks = ledger::read(&mesh.client(0), "tick").await;
    ledger::assert_complete(&ticks, since, 1_000);
    let other = ledger::read(&mesh.client(2), "tick").await;
    ledger::assert_complete(&other, since, 1_000);
    assert_eq!(other[0].due, ticks[0].due);
    let beat = mesh.beat_seen_by(0).await;
    assert!(ticks.iter().all(|tick| tick.node == mesh.nodes[beat].name()), "{ticks:#?}");
    ledger::assert_complete(&until_ticks(&mesh.client(1), "tick-two", 3).await, since_two, 2_000);
    // Its task knows where it comes from.
    let task = ticks[0].task.as_ref().unwrap();
    let record = mesh.client(1).finished(task).await;
    assert_eq!(record["origin"]["kind"], "schedule", "{record:#}");
    assert_eq!(record["origin"]["schedule"], "tick");
    assert_eq!(ledger::time(&record["origin"]["due"]), ticks[0].due);
    let lateness: Vec<i64> = ticks.iter().map(|tick| tick.lateness).collect();
    println!("lateness of quiet ticks: {}", beatmesh_tests::figures::summary(&lateness));
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_firing_gets_the_schedules_input() {
    let mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let mut definition = every(1, "echo");
    definition["input"] = json!({"what": "tick"});
    put(&mesh.client(0), "tick", &definition).await;
    let ticks = until_ticks(&mesh.client(0), "tick", 1).await;
    let record = mesh.client(0).finished(ticks[0].task.as_ref().unwrap()).await;
    assert_eq!(record["result"], json!({"what": "tick"}), "{record:#}");
    let listed = mesh.client(0).get("/v1/tasks?schedule=tick").await.ok().json();
    assert!(!listed["tasks"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_paused_schedule_fires_nothing_and_owes_nothing_when_it_is_resumed() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    put(&mesh.client(0), "tick", &every(1, "noop")).await;
    until_ticks(&mesh.client(0), "tick", 2).await;
    let shown = mesh.client(1).post("/v1/schedules/tick/pause", "").await.ok().json();
    assert_eq!((&shown["enabled"], &shown["next"]), (&json!(false), &Value::Null));
    // An edit or a pause that is acknowledged is a fence: nothing of before may commit after it.
    let before = ledger::read(&mesh.client(0), "tick").await;
    // Not for an outcome: two due times pass, and nothing must come of them.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let during = ledger::read(&mesh.client(0), "tick").await;
    assert_eq!(during.len(), before.len(), "it fired while it was paused: {during:#?}");
    let answer = mesh.client(0).post("/v1/schedules/tick/resume", "").await.ok().json();
    let resumed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let after = until_ticks(&mesh.client(0), "tick", before.len() + 2).await;
    let fresh = &after[before.len()..];
    ledger::assert_complete(fresh, ledger::owed_since(&answer), 1_000);
    assert!(fresh[0].due > resumed - 1_000, "due times of the pause are owed to nobody: {fresh:#?}");
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself_and_owes_what_is_due_from_then_on() {
    let mut mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    put(&mesh.client(0), "tick", &every(1, "noop")).await;
    until_ticks(&mesh.client(0), "tick", 1).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let until = (now.div_euclid(1_000) + 3) * 1_000;
    let text = jiff::Timestamp::from_millisecond(until).unwrap().to_string();
    let path = format!("/v1/schedules/tick/pause?until={text}");
    let shown = mesh.client(1).post(&path, "").await.ok().json();
    assert_eq!((&shown["state"], ledger::time(&shown["paused_until"])), (&json!("paused"), until));
    let before = ledger::read(&mesh.client(0), "tick").await;
    let after = until_ticks(&mesh.client(2), "tick", before.len() + 3).await;
    // The due time at which it ends is the first one.
    assert_eq!(after[before.len()].due, until, "{after:#?}");
    ledger::assert_complete(&after[before.len()..], until - 1, 1_000);
    let lateness: Vec<i64> = after[before.len()..].iter().map(|tick| tick.lateness).collect();
    println!("lateness after a pause that ended by itself: {lateness:?}");
    let shown = mesh.client(1).get("/v1/schedules/tick").await.ok().json();
    assert_eq!((&shown["state"], &shown["paused_until"]), (&json!("active"), &Value::Null));
    for wrong in ["yesterday", "0s", "2020-01-01T00:00:00Z"] {
        let path = format!("/v1/schedules/tick/pause?until={wrong}");
        mesh.client(0).post(&path, "").await.problem(400, "bad_request");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_single_moment_fires_once_and_one_that_has_passed_is_refused() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    let at = |in_ms: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        jiff::Timestamp::from_millisecond(now + in_ms).unwrap()
    };
    let due = at(2_500);
    let definition = json!({"at": due.to_string(), "function": "noop"});
    let shown = put(&mesh.client(0), "once", &definition).await;
    assert_eq!((&shown["state"], ledger::time(&shown["next"])), (&json!("active"), due.as_millisecond()));
    let ticks = until_ticks(&mesh.client(1), "once", 1).await;
    assert_eq!((ticks.len(), ticks[0].due, ticks[0].state.as_str()), (1, due.as_millisecond(), "fired"));
    let shown = mesh.client(1).get("/v1/schedules/once").await.ok().json();
    assert_eq!((&shown["state"], &shown["next"]), (&json!("done"), &Value::Null), "{shown:#}");
    // It may be deployed again, and stays done; what never fires is refused.
    assert_eq!(put(&mesh.client(1), "once", &definition).await["changed"], json!(false));
    let passed = json!({"at": at(-60_000).to_string(), "function": "noop"});
    let refused = mesh.client(0).put("/v1/schedules/late", &passed).await.problem(422, "invalid_definition");
    assert!(refused["detail"].as_str().unwrap().contains("lies in the past"), "{refused:#}");
    let both = json!({"at": at(60_000).to_string(), "cron": "* * * * *", "function": "noop"});
    mesh.client(0).put("/v1/schedules/late", &both).await.problem(422, "invalid_definition");
    let later = at(2_500);
    let shown = put(&mesh.client(0), "once", &json!({"at": later.to_string(), "function": "noop"})).await;
    assert_eq!(shown["state"], "active");
    let ticks = until_ticks(&mesh.client(1), "once", 2).await;
    assert_eq!((ticks.len(), ticks[1].due), (2, later.as_millisecond()));
}

#[tokio::test]
async fn a_trigger_runs_the_function_once_besides_the_due_times() {
    let mesh = TestMesh::start(2).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("note", &side.function(&side.append("ran for $BEATMESH_SCHEDULE"))).await;
    let far = json!({"cron": "0 0 1 1 *", "timezone": "Europe/Berlin", "function": "note"});
    put(&mesh.client(0), "yearly", &far).await;
    let answer = mesh.client(1).post("/v1/schedules/yearly/trigger", "").await;
    assert_eq!(answer.status, 202);
    let task = answer.json()["task_id"].as_str().unwrap().to_owned();
    let record = mesh.client(0).finished(&task).await;
    assert_eq!(record["origin"], json!({"kind": "trigger", "schedule": "yearly"}));
    assert_eq!(side.lines(), ["ran for yearly"]);
    assert!(ledger::read(&mesh.client(0), "yearly").await.is_empty());
    mesh.client(0).post("/v1/schedules/none/trigger", "").await.problem(404, "not_found");
}

#[tokio::test]
async fn the_preview_knows_zones_and_leap_years() {
    let mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    let leap = json!({"cron": "30 12 29 2 *", "timezone": "America/New_York", "function": "noop"});
    put(&mesh.client(0), "leap", &leap).await;
    let due = mesh.client(0).get("/v1/schedules/leap/preview?n=3").await.ok().json();
    let due: Vec<&str> = due["due"].as_array().unwrap().iter().map(|time| time.as_str().unwrap()).collect();
    assert_eq!(due.len(), 3);
    // Half past twelve in New York in February is half past five in the afternoon in UTC.
    assert!(due.iter().all(|time| time.contains("-02-29T17:30:00")), "{due:?}");
    mesh.client(0).get("/v1/schedules/leap/preview?n=0").await.problem(400, "bad_request");
    mesh.client(0).get("/v1/schedules/leap/preview?n=1001").await.problem(400, "bad_request");
    mesh.client(0).get("/v1/schedules/none/preview").await.problem(404, "not_found");
    mesh.client(0).get("/v1/schedules/none/ticks").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_function_in_use_cannot_be_deleted_before_its_schedule() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    put(&mesh.client(0), "tick", &every(1, "noop")).await;
    let problem = mesh.client(1).delete("/v1/functions/noop").await.problem(409, "in_use");
    assert_eq!(problem["schedule"], "tick");
    until_ticks(&mesh.client(0), "tick", 1).await;
    assert_eq!(mesh.client(1).delete("/v1/schedules/tick").await.status, 204);
    assert_eq!(mesh.client(1).delete("/v1/functions/noop").await.status, 204);
    assert!(!ledger::read(&mesh.client(0), "tick").await.is_empty(), "the ledger stays");
    mesh.client(1).delete("/v1/functions/noop").await.problem(404, "not_found");
    mesh.client(1).delete("/v1/schedules/tick").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_edit_of_an_old_revision_is_refused_and_an_equal_one_changes_nothing() {
    let mesh = TestMesh::start(2).await;
    let edit = async |index: usize, path: &str, header: (&str, &str), body: &Value| {
        let request = mesh.client(index).request(Method::PUT, path).header(header.0, header.1);
        http::send(request.body(body.to_string())).await.unwrap()
    };
    let path = "/v1/functions/f";
    let created = edit(0, path, ("If-None-Match", "*"), &builtin("noop")).await.ok();
    let first = created.header("etag").to_owned();
    assert_eq!(first, format!("\"{}\"", created.json()["revision"]));
    edit(1, path, ("If-None-Match", "*"), &builtin("echo")).await.problem(412, "revision_conflict");
    let changed = edit(1, path, ("If-Match", &first), &builtin("echo")).await.ok();
    let second = changed.header("etag").to_owned();
    assert_ne!(first, second);
    let conflict =
        edit(0, path, ("If-Match", &first), &builtin("noop")).await.problem(412, "revision_conflict");
    assert_eq!(format!("\"{}\"", conflict["revision"]), second, "it says which revision is there now");
    let same = edit(0, path, ("If-Match", &second), &builtin("echo")).await.ok();
    assert_eq!((same.header("etag"), &same.json()["changed"]), (second.as_str(), &json!(false)));
    edit(0, path, ("If-Match", "yesterday"), &builtin("echo")).await.problem(400, "bad_request");

    let path = "/v1/schedules/s";
    let created = edit(0, path, ("If-None-Match", "*"), &every(1, "f")).await.ok();
    let first = created.header("etag").to_owned();
    edit(1, path, ("If-Match", &first), &every(2, "f")).await.ok();
    edit(1, path, ("If-Match", &first), &every(1, "f")).await.problem(412, "revision_conflict");
    let request = mesh.client(0).request(Method::DELETE, path).header("If-Match", first);
    http::send(request).await.unwrap().problem(412, "revision_conflict");
}

#[tokio::test]
async fn an_overlapping_firing_is_skipped_with_its_reason_in_the_ledger() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("nap", &beatmesh_tests::side_file::shell("sleep 2.5")).await;
    let mut definition = every(1, "nap");
    definition["overlap"] = json!("skip");
    put(&mesh.client(0), "tick", &definition).await;
    let ticks = until_ticks(&mesh.client(0), "tick", 6).await;
    assert!(ticks.iter().any(|tick| tick.state == "fired"), "{ticks:#?}");
    let skipped: Vec<_> = ticks.iter().filter(|tick| tick.state == "skipped").collect();
    assert!(skipped.len() >= 2, "{ticks:#?}");
    assert!(skipped.iter().all(|tick| tick.reason.as_deref() == Some("overlap")), "{skipped:#?}");
    assert!(ticks.windows(2).all(|pair| pair[1].due - pair[0].due == 1_000), "{ticks:#?}");
}
