//! Synchronous calls: on every node, with and without keys, of any size and type, streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::{Answer, Client, TestMesh, http, until};
use reqwest::Method;

async fn call_with(client: &Client, function: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = client.request(Method::POST, &format!("/v1/functions/{function}/call")).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    http::send(request).await.expect("the node answers")
}

#[tokio::test]
async fn a_function_is_called_on_every_nodes_port_and_the_answer_says_who_ran_it() {
    let mut mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("hello", &shell("printf 'hello %s' \"$(cat)\"")).await;
    for (index, node) in mesh.nodes.iter().enumerate() {
        let answer = mesh.client(index).call("hello", "Ada").await.ok();
        assert_eq!(answer.text(), "hello Ada");
        // Without a key the nearest worker is the node itself.
        assert_eq!(answer.node(), node.name());
        assert!(!answer.header("beatmesh-task").is_empty());
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_function_is_known_on_every_node_as_soon_as_it_is_deployed_and_gone_when_it_is_deleted() {
    let mesh = TestMesh::start(3).await;
    for round in 0..10 {
        let name = format!("f{round}");
        mesh.client(0).deploy(&name, &builtin("echo")).await;
        assert_eq!(mesh.client(1).call(&name, "x").await.ok().text(), "x");
        assert_eq!(mesh.client(2).call(&name, "x").await.ok().text(), "x");
        mesh.client(2).delete(&format!("/v1/functions/{name}")).await.ok();
        mesh.client(2).call(&name, "x").await.problem(404, "function_not_found");
        // The others are told at once, and ask once a second in any case.
        let look = async || mesh.client(0).call(&name, "x").await.status;
        until("it is gone everywhere", Duration::from_secs(3), look, |status| *status == 404).await;
    }
}

#[tokio::test]
async fn a_new_definition_counts_at_once_on_the_node_that_took_it_and_on_those_it_routes_to() {
    let mesh = TestMesh::start(3).await;
    let key = mesh.key_of(2).await;
    for version in 0..10 {
        mesh.client(0).deploy("version", &shell(&format!("echo {version}"))).await;
        let answer = call_with(&mesh.client(0), "version", &[("Beatmesh-Key", &key)], vec![]).await.ok();
        assert_eq!(answer.text(), format!("{version}\n"));
        assert_eq!(answer.node(), "node-3");
    }
}

#[tokio::test]
async fn different_keys_spread_over_the_nodes_and_equal_keys_stay_on_one() {
    let mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for round in 0..3 {
        for key in 0..30 {
            let key = format!("customer-{key}");
            let answer = call_with(&mesh.client(round), "echo", &[("Beatmesh-Key", &key)], vec![]).await.ok();
            owners.entry(key).or_default().insert(answer.node().to_owned());
        }
    }
    assert!(owners.values().all(|nodes| nodes.len() == 1), "equal keys moved: {owners:#?}");
    let nodes: BTreeSet<_> = owners.values().flatten().collect();
    assert_eq!(nodes.len(), 3, "30 keys met only {nodes:?}");
    for (key, nodes) in owners.iter().take(5) {
        let ring = mesh.client(1).get(&format!("/v1/mesh/ring?key={key}")).await.ok().json();
        assert_eq!(ring["owner"], *nodes.first().unwrap(), "the ring's answer is where the call went");
    }
}

#[tokio::test]
async fn calls_with_one_key_stay_on_its_node_while_that_node_has_room() {
    const SLOTS: usize = 16;
    let mesh = TestMesh::start_with(3, |spec| spec.set("node.slots", SLOTS)).await;
    let key = mesh.key_of(1).await;
    let calls = async |function: &str, count: usize| {
        let calls = (0..count).map(|number| {
            let (client, function, key) = (mesh.client(number % 3), function.to_owned(), key.clone());
            tokio::spawn(
                async move { call_with(&client, &function, &[("Beatmesh-Key", &key)], vec![]).await },
            )
        });
        let calls: Vec<_> = calls.collect();
        let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
        for call in calls {
            *nodes.entry(call.await.unwrap().ok().node().to_owned()).or_default() += 1;
        }
        nodes
    };
    // More than it has slots, for a moment.
    mesh.client(0).deploy("short", &shell("sleep 0.05")).await;
    assert_eq!(calls("short", SLOTS + 4).await, [("node-2".to_owned(), SLOTS + 4)].into());
    // More than it has slots, for good: the next node helps out.
    mesh.client(0).deploy("long", &shell("sleep 2")).await;
    let nodes = calls("long", SLOTS + 4).await;
    assert_eq!((nodes["node-2"], nodes.len()), (SLOTS, 2), "{nodes:?}");
}

#[tokio::test]
async fn five_binary_megabytes_come_back_through_one_hop_as_they_were() {
    let mut mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    mesh.client(0).deploy("cat", &shell("cat")).await;
    // All byte values, and no period that a lost or doubled chunk could hide in.
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for function in ["echo", "cat"] {
        for index in 0..3 {
            let key = mesh.key_of(index).await;
            let headers = [("Beatmesh-Key", key.as_str()), ("Content-Type", "image/x-own")];
            let answer = call_with(&mesh.client(0), function, &headers, body.clone()).await.ok();
            assert_eq!(answer.node(), mesh.nodes[index].name());
            assert_eq!(answer.body.len(), body.len());
            assert!(answer.body == body, "{function} through {}: other bytes", answer.node());
        }
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_function_sees_the_content_type_and_its_names() {
    let mesh = TestMesh::start(2).await;
    let script = "printf '%s|%s|%s' \"$BEATMESH_CONTENT_TYPE\" \"$BEATMESH_FUNCTION\" \"$BEATMESH_NODE\"";
    mesh.client(0).deploy("about", &shell(script)).await;
    let key = mesh.key_of(1).await;
    let headers = [("Beatmesh-Key", key.as_str()), ("Content-Type", "text/csv; header=present")];
    let answer = call_with(&mesh.client(0), "about", &headers, vec![]).await.ok();
    assert_eq!(answer.text(), "text/csv; header=present|about|node-2");
}

#[tokio::test]
async fn an_answer_is_labelled_by_what_it_is() {
    let mesh = TestMesh::start(1).await;
    for (name, script, label) in [
        ("object", "echo '{\"a\": [1, 2]}'", "application/json"),
        ("words", "echo grüße", "text/plain; charset=utf-8"),
        ("bytes", "printf '\\377\\000'", "application/octet-stream"),
        ("nothing", "true", "text/plain; charset=utf-8"),
    ] {
        mesh.client(0).deploy(name, &shell(script)).await;
        let answer = mesh.client(0).call(name, "").await.ok();
        assert_eq!(answer.header("content-type"), label, "{name}");
    }
}

#[tokio::test]
async fn an_answer_beyond_64_kib_is_streamed_while_the_function_still_writes() {
    let mesh = TestMesh::start(2).await;
    // Far more than is held back, then silence until the reader has seen it.
    let script = format!(
        "n=$(cat); head -c 200000 /dev/zero | tr '\\0' x; while [ ! -e {0} ]; do sleep 0.02; done; echo end",
        mesh.dir.join("go-on-$n").display()
    );
    mesh.client(0).deploy("slow", &shell(&script)).await;
    for index in 0..2 {
        let key = mesh.key_of(index).await;
        let request = mesh.client(0).request(Method::POST, "/v1/functions/slow/call");
        let request = request.header("Beatmesh-Key", &key).body(index.to_string());
        let mut response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["beatmesh-node"], mesh.nodes[index].name());
        let mut seen = 0;
        while seen < 200_000 {
            let chunk = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await;
            seen += chunk.expect("it is streamed").unwrap().expect("it goes on").len();
        }
        mesh.dir.file(&format!("go-on-{index}"), "");
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            rest.extend_from_slice(&chunk);
        }
        assert_eq!(rest, b"end\n");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_function() {
    let mesh = TestMesh::start(2).await;
    let side = beatmesh_tests::SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("long", &side.function(&format!("{}; sleep 25", side.append("begun")))).await;
    for index in 0..2 {
        let key = mesh.key_of(index).await;
        let request = mesh.client(0).request(Method::POST, "/v1/functions/long/call");
        let call = tokio::spawn(request.header("Beatmesh-Key", &key).send());
        let begun = async || side.lines().len();
        until("it has begun", Duration::from_secs(5), begun, |begun| *begun == index + 1).await;
        // Without its request the client closes the connection.
        call.abort();
        beatmesh_tests::Node::until_gone(&side).await;
    }
}

#[tokio::test]
async fn a_caller_can_ask_for_less_time_than_the_function_has() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("sleep", &shell("sleep 20")).await;
    for index in 0..2 {
        let key = mesh.key_of(index).await;
        let headers = [("Beatmesh-Key", key.as_str()), ("Beatmesh-Timeout", "300ms")];
        let problem =
            call_with(&mesh.client(0), "sleep", &headers, vec![]).await.problem(504, "function_timeout");
        // What the way to the worker took is taken off.
        let timeout = problem["timeout_ms"].as_u64().expect("a number");
        assert!((200..=300).contains(&timeout), "{problem:#}");
    }
    for wrong in ["soon", "0s", "5"] {
        let answer = call_with(&mesh.client(0), "sleep", &[("Beatmesh-Timeout", wrong)], vec![]).await;
        answer.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn when_every_slot_is_taken_a_call_waits_its_turn_and_then_says_that_it_is_busy() {
    let mesh = TestMesh::start_with(2, |spec| spec.set("node.slots", 1)).await;
    let naps = |count: usize| -> Vec<_> {
        let nap = |client: Client| tokio::spawn(async move { client.call("nap", "").await });
        (0..count).map(|_| nap(mesh.client(0))).collect()
    };
    mesh.client(0).deploy("nap", &shell("sleep 0.4; echo slept")).await;
    let calls = naps(4);
    let mut nodes = BTreeSet::new();
    for call in calls {
        nodes.insert(call.await.unwrap().ok().node().to_owned());
    }
    assert_eq!(nodes.len(), 2, "the other node has a free slot: {nodes:?}");

    mesh.client(0).deploy("nap", &shell("sleep 4")).await;
    let long = naps(2);
    for (index, node) in mesh.nodes.iter().enumerate() {
        // A node tells its own load only; members stand in the order of their names.
        let look = async || node.view().await["members"][index]["load"].as_u64().unwrap_or(0);
        until("its slot is taken", Duration::from_secs(3), look, |load| *load >= 1).await;
    }
    let busy = call_with(&mesh.client(0), "nap", &[("Beatmesh-Timeout", "500ms")], vec![]).await;
    busy.problem(503, "no_worker");
    assert_eq!(busy.header("retry-after"), "1");
    for call in long {
        call.await.unwrap().ok();
    }
}
