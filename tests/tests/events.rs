//! Following the mesh, its metrics, and what members say of their load.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use beatmesh_tests::process::Process;
use beatmesh_tests::{Client, Event, Events, NodeSpec, Scratch, TestMesh, binary, http, side_file, until};
use reqwest::Method;
use serde_json::{Value, json};

/// A multiple of what a busy machine takes to notice a death.
const SOON: Duration = Duration::from_secs(20);

fn is_of(event: &Event, member: &str, liveness: &str) -> bool {
    event.name == "member" && event.data["id"] == member && event.data["liveness"] == liveness
}

#[tokio::test]
async fn a_follower_sees_the_beat_die_in_all_steps_another_one_take_over_and_the_dead_come_back() {
    let mut mesh = TestMesh::start(3).await;
    let victim = mesh.beat_seen_by(0).await;
    let follower = mesh.other_than(victim);
    let mut events = Events::follow(&mesh.client(follower)).await;
    let snapshot = events.next(SOON).await.expect("the stream begins with the mesh as it is");
    assert_eq!((snapshot.id, snapshot.name.as_str()), (1, "snapshot"));
    let view = mesh.nodes[follower].view().await;
    for same in ["mesh", "self", "beat", "ring"] {
        assert_eq!(snapshot.data[same], view[same], "{same}");
    }
    assert_eq!(snapshot.data["members"].as_array().map(Vec::len), Some(3));

    mesh.nodes[victim].kill();
    let name = mesh.nodes[victim].name().to_owned();
    let seen = events.until("another Beat", SOON, |event| event.name == "beat").await;
    let at = |what: &str, is_it: &dyn Fn(&Event) -> bool| {
        seen.iter().position(is_it).unwrap_or_else(|| panic!("no {what}: {seen:#?}"))
    };
    let suspect = at("suspicion", &|event| is_of(event, &name, "suspect"));
    let dead = at("death", &|event| is_of(event, &name, "dead"));
    let ring = at("ring", &|event| event.name == "ring");
    assert!(suspect < dead && dead < ring && ring < seen.len() - 1, "{seen:#?}");
    assert_eq!(seen[suspect].data["previous"], "alive");
    let accusers = seen[suspect].data["suspected_by"].as_array().expect("a list");
    assert!(!accusers.is_empty() && !accusers.contains(&json!(name)), "{seen:#?}");
    assert_eq!(
        (&seen[dead].data["previous"], &seen[dead].data["suspected_by"]),
        (&json!("suspect"), &json!([]))
    );
    let left: Vec<_> = mesh.nodes.iter().map(|node| node.name()).filter(|node| *node != name).collect();
    assert_eq!((&seen[ring].data["members"], &seen[ring].data["frozen"]), (&json!(left), &json!(false)));
    let beat = seen.last().expect("just found").data["id"].clone();
    assert!(left.contains(&beat.as_str().expect("a name")), "{beat}");
    let view = mesh.nodes[follower].view().await;
    assert_eq!((&view["beat"], &view["ring"]["fingerprint"]), (&beat, &seen[ring].data["fingerprint"]));

    mesh.nodes[victim].restart();
    let back = events.until("a ring of three", SOON, |event| {
        event.name == "ring" && event.data["members"].as_array().is_some_and(|members| members.len() == 3)
    });
    let back = back.await;
    let alive = back.iter().find(|event| is_of(event, &name, "alive")).expect("it is alive again");
    assert_eq!(alive.data["previous"], "dead");
    assert!(alive.data["generation"].as_u64() > seen[dead].data["generation"].as_u64());
    for (event, id) in seen.iter().chain(&back).zip(2..) {
        assert_eq!(event.id, id, "{event:?}");
        let at: jiff::Timestamp = event.data["at"].as_str().expect("a time").parse().expect("a time");
        assert!(at.as_millisecond() > 0);
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_node_stops_and_does_not_hold_it_up() {
    let mut mesh = TestMesh::start(2).await;
    let mut events = Events::follow(&mesh.client(0)).await;
    events.next(SOON).await.expect("a snapshot");
    let asked = Instant::now();
    assert!(mesh.nodes[0].stop().success());
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "half of what running work is given: {:?}",
        asked.elapsed()
    );
    while let Some(event) = events.next(SOON).await {
        assert_ne!(event.name, "snapshot");
    }
}

#[tokio::test]
async fn a_stream_outlives_the_patience_with_idle_connections_and_is_not_silent() {
    let mut mesh = TestMesh::start_with(2, |spec| {
        spec.set("limits.idle_timeout", "1s").set("limits.header_timeout", "1s")
    })
    .await;
    let mut events = Events::follow(&mesh.client(0)).await;
    events.next(SOON).await.expect("a snapshot");
    events.until_comment(SOON).await;
    mesh.nodes[1].kill();
    events.until("a death", SOON, |event| is_of(event, "node-2", "dead")).await;
}

#[tokio::test]
async fn streams_are_counted_and_a_request_that_means_something_else_is_refused() {
    let mesh = TestMesh::start_with(1, |spec| spec.set("limits.connections", 8)).await;
    let client = mesh.client(0);
    client.get("/v1/mesh/events?since=1").await.problem(400, "bad_request");
    client.post("/v1/mesh/events", "").await.problem(405, "method_not_allowed");
    let one = Events::follow(&client).await;
    let _other = Events::follow(&client).await;
    let refused = client.get("/v1/mesh/events").await;
    refused.problem(503, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "5");
    client.get("/v1/mesh").await.ok();
    drop(one);
    let within = Duration::from_secs(5);
    let request = || client.request(Method::HEAD, "/v1/mesh/events");
    let ask = async || http::send(request()).await.map(|answer| answer.status).ok();
    until("who has gone makes room", within, ask, |status| *status == Some(200)).await;
}

#[tokio::test]
async fn with_api_keys_events_and_metrics_need_one() {
    let dir = Scratch::new();
    let keys = dir.secret_file("keys", "ci:canary-0123456789-abcdefghijk\n");
    let node = NodeSpec::new(&dir, "node-1").set("security.api_keys_file", keys.display()).start();
    for path in ["/v1/mesh/events", "/metrics"] {
        node.client().get(path).await.problem(401, "unauthorized");
        let request = node.client().request(Method::GET, path).bearer_auth("canary-0123456789-abcdefghijk");
        assert_eq!(request.send().await.expect("an answer").status(), 200, "{path}");
    }
}

/// The metrics of a node by name and labels.
async fn metrics(client: &Client) -> BTreeMap<String, f64> {
    let answer = client.get("/metrics").await.ok();
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}")));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[tokio::test]
async fn the_metrics_follow_the_mesh() {
    let mut mesh = TestMesh::start(3).await;
    let mut beats = 0.0;
    for index in 0..3 {
        let client = mesh.client(index);
        let has_pinged = |seen: &BTreeMap<String, f64>| {
            seen.get("beatmesh_round_trip_max_seconds").is_some_and(|seconds| *seconds > 0.0)
                && seen["beatmesh_probes_total"] > 0.0
        };
        let seen = until("members were probed", SOON, async || metrics(&client).await, has_pinged).await;
        assert_eq!(seen["beatmesh_members{liveness=\"alive\"}"], 3.0, "{seen:#?}");
        assert_eq!((seen["beatmesh_ring_members"], seen["beatmesh_ring_frozen"]), (3.0, 0.0));
        assert!(seen["beatmesh_links"] >= 2.0, "{seen:#?}");
        assert!(seen["beatmesh_udp_received_bytes_total"] > seen["beatmesh_udp_received_datagrams_total"]);
        assert!(seen["beatmesh_udp_sent_bytes_total"] > 0.0, "{seen:#?}");
        beats += seen["beatmesh_is_beat"];
    }
    assert!((beats - 1.0).abs() < f64::EPSILON, "{beats} nodes hold themselves for the Beat");
    let sent = metrics(&mesh.client(0)).await["beatmesh_udp_sent_bytes_total"];
    mesh.nodes[2].kill();
    mesh.until_ring(&["node-1", "node-2"]).await;
    let (one, other) = (mesh.client(0), mesh.client(1));
    let both = async || [metrics(&one).await, metrics(&other).await];
    let is_counted = |seen: &[BTreeMap<String, f64>; 2]| {
        let sum = |name: &str| seen[0][name] + seen[1][name];
        sum("beatmesh_suspicions_total") >= 1.0
            && sum("beatmesh_deaths_total") >= 1.0
            && sum("beatmesh_probes_failed_total") >= 1.0
    };
    let seen = until("the death is counted", SOON, both, is_counted).await;
    assert_eq!(seen[0]["beatmesh_members{liveness=\"dead\"}"], 1.0);
    assert!(seen[0]["beatmesh_udp_sent_bytes_total"] > sent, "the links that were closed still count");
    mesh.client(0).post("/metrics", "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn the_metrics_tell_of_the_queue_and_the_beat() {
    let mesh = TestMesh::start(2).await;
    let client = mesh.client(0);
    client.deploy("works", &side_file::shell("cat")).await;
    client.deploy("fails", &side_file::shell("exit 3")).await;
    let tick = json!({ "cron": "* * * * * *", "function": "works" });
    client.put("/v1/schedules/tick", &tick).await.ok();
    for function in ["works", "works", "fails"] {
        let task = client.enqueue(function, "", "x").await;
        client.finished(&task).await;
    }
    let other = mesh.client(1);
    let both = async || [metrics(&client).await, metrics(&other).await];
    let sum = |seen: &[BTreeMap<String, f64>; 2], name: &str| {
        seen.iter()
            .map(|seen| seen.get(name).copied().unwrap_or_else(|| panic!("no {name}: {seen:#?}")))
            .sum::<f64>()
    };
    let is_told = |seen: &[BTreeMap<String, f64>; 2]| {
        // Counts of tasks are some seconds old.
        seen[0].get("beatmesh_tasks{queue=\"default\",state=\"done\"}").is_some_and(|done| *done >= 2.0)
            && sum(seen, "beatmesh_ticks_fired_total") >= 2.0
            && sum(seen, "beatmesh_attempts_ended_total{outcome=\"done\"}") >= 4.0
    };
    let seen = until("work is counted", SOON, both, is_told).await;
    assert_eq!(sum(&seen, "beatmesh_tasks_enqueued_total"), 3.0, "{seen:#?}");
    assert_eq!(sum(&seen, "beatmesh_attempts_ended_total{outcome=\"failed\"}"), 1.0, "{seen:#?}");
    assert!(
        sum(&seen, "beatmesh_tasks_claimed_total") >= sum(&seen, "beatmesh_ticks_fired_total"),
        "{seen:#?}"
    );
    assert!(sum(&seen, "beatmesh_claim_seconds_count") >= 3.0, "{seen:#?}");
    assert!(sum(&seen, "beatmesh_tick_lateness_seconds_count") >= 2.0, "{seen:#?}");
    for seen in &seen {
        assert_eq!(seen["beatmesh_beat_schedules"], 1.0, "{seen:#?}");
        assert_eq!(seen["beatmesh_queues_left_out"], 0.0, "{seen:#?}");
        let repairs = seen.iter().filter(|(name, _)| name.starts_with("beatmesh_queue_repairs"));
        assert!(repairs.clone().count() == 4 && repairs.clone().all(|(_, count)| *count == 0.0), "{seen:#?}");
    }
}

#[tokio::test]
async fn what_a_member_runs_is_seen_on_the_others() {
    let mesh = TestMesh::start(2).await;
    let gate = mesh.dir.join("gate");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.05; done", gate.display());
    mesh.client(0).deploy("waits", &side_file::shell(&script)).await;
    let key = mesh.key_of(1).await;
    let caller = mesh.client(0);
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let request =
                caller.request(Method::POST, "/v1/functions/waits/call").header("Beatmesh-Key", &key);
            tokio::spawn(http::send(request))
        })
        .collect();
    let look = async || {
        let member = mesh.client(0).get("/v1/mesh/members/node-2").await.ok().json();
        (member["load"].clone(), member["rtt_ms"].is_number())
    };
    until("two are seen", SOON, look, |seen| *seen == (json!(2), true)).await;
    std::fs::write(&gate, "").expect("the test's directory can be written");
    for call in calls {
        call.await.expect("it is sent").expect("it is answered").ok();
    }
    until("none is seen", SOON, look, |seen| seen.0 == 0).await;
}

#[tokio::test]
async fn the_command_follows_the_mesh_until_its_node_stops() {
    let mut mesh = TestMesh::start(3).await;
    let start = |name: &str, more: &[&str]| {
        let mut command = binary::command();
        command.args(["members", "--url", mesh.client(0).base()]).args(more);
        Process::start(name, command, &mesh.dir.join(name))
    };
    let (mut people, mut scripts) = (start("people", &["-f"]), start("scripts", &["--watch", "--json"]));
    let has = async |process: &Process, text: &str| {
        until(text, SOON, async || process.log(), |log| log.contains(text)).await;
    };
    has(&people, "mesh beatmesh, 3 members").await;
    has(&scripts, "\"snapshot\"").await;
    mesh.nodes[2].kill();
    has(&people, "node-3 is suspect (by node-").await;
    has(&people, "node-3 is dead, was suspect\n").await;
    has(&people, ": node-1,node-2\n").await;
    has(&scripts, "\"event\":\"ring\"").await;
    let log = scripts.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    for (line, id) in lines.iter().zip(1..) {
        assert_eq!(line["id"], id, "{line}");
    }
    let is_dead = |line: &Value| line["event"] == "member" && line["data"]["liveness"] == "dead";
    assert!(lines.iter().any(is_dead), "{lines:#?}");
    assert!(mesh.nodes[0].stop().success());
    for process in [&mut people, &mut scripts] {
        assert_eq!(process.wait(SOON).code(), Some(1));
    }
    has(&people, "the node is stopping").await;
}
