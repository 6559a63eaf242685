//! Requests that no reasonable client sends, and what each gets. No input makes a node panic.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::{NodeSpec, TestMesh, http};
use reqwest::Method;
use serde_json::json;

/// Sends bytes as they are and reads until the node closes, or has said nothing for `patience`.
fn raw(addr: SocketAddr, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(addr).expect("the node listens");
    stream.set_read_timeout(Some(patience)).unwrap();
    // The node may close while it is still written to: that is an answer too.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_says_what_was_asked_for() {
    let mut mesh = TestMesh::start(1).await;
    let client = mesh.client(0);
    let problem = client.call("nobody", "x").await.problem(404, "function_not_found");
    assert!(problem["detail"].as_str().unwrap().contains("`nobody`"), "{problem:#}");
    client.post("/v1/functions/nobody/tasks", "x").await.problem(404, "function_not_found");
    client.get("/v1/functions/nobody").await.problem(404, "function_not_found");
    client.get("/v1/schedules/nobody").await.problem(404, "not_found");
    let problem = client.get("/v1/nothing").await.problem(404, "not_found");
    assert!(problem["detail"].as_str().unwrap().contains("/v1/nothing"));
    client.get("/v1/functions/nobody/call").await.problem(405, "method_not_allowed");
    client.get("/").await.problem(404, "not_found");
    mesh.assert_well().await;
}

#[tokio::test]
async fn an_input_over_the_configured_limit_is_413_however_it_is_sent() {
    let mut mesh = TestMesh::start_with(2, |spec| spec.set("limits.input", "100KiB")).await;
    let client = mesh.client(0);
    client.deploy("echo", &builtin("echo")).await;
    assert_eq!(client.call("echo", vec![b'x'; 100 << 10]).await.ok().body.len(), 100 << 10);
    let problem = client.call("echo", vec![b'x'; (100 << 10) + 1]).await.problem(413, "input_too_large");
    assert_eq!(problem["limit"], 100 << 10);
    client.post("/v1/functions/echo/tasks", vec![b'x'; 200 << 10]).await.problem(413, "input_too_large");
    // Without an announced length.
    let mut chunked =
        b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..4 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = raw(mesh.nodes[0].http(), &chunked, Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // An announced length that nobody would send is refused before it is read.
    let huge =
        b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n";
    let answer = raw(mesh.nodes[0].http(), huge, Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // A client that asks first is not invited to send what will be refused.
    let asking = b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 60000000\r\n\r\n";
    let answer = raw(mesh.nodes[0].http(), asking, Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let asking = b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let answer = raw(mesh.nodes[0].http(), asking, Duration::from_secs(1));
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    let definition = json!({"runtime": "process", "command": ["x".repeat(300_000)]});
    client.put("/v1/functions/large", &definition).await.problem(413, "input_too_large");
    mesh.assert_well().await;
}

#[tokio::test]
async fn the_usual_limit_takes_16_mib_and_no_more() {
    let mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("count", &shell("wc -c")).await;
    let answer = mesh.client(0).call("count", vec![b'x'; 16 << 20]).await.ok();
    assert_eq!(answer.text().trim(), (16 << 20).to_string());
    mesh.client(0).call("count", vec![b'x'; (16 << 20) + 1]).await.problem(413, "input_too_large");
}

#[tokio::test]
async fn invalid_json_is_400_with_line_and_column() {
    let mut mesh = TestMesh::start(1).await;
    for path in ["/v1/functions/f", "/v1/schedules/s"] {
        for (body, line, column) in [
            ("", 1, 0),
            ("{", 1, 1),
            ("{\n\n  oops\n}", 3, 3),
            ("nonsense", 1, 2),
            ("\u{feff}{}", 1, 1),
            (&"[".repeat(100_000), 1, 1),
        ] {
            let request = mesh.client(0).request(Method::PUT, path).body(body.to_owned());
            let problem = http::send(request).await.unwrap().problem(400, "invalid_json");
            assert_eq!(problem["line"], line, "{path} {body:.40}: {problem:#}");
            let near = problem["column"].as_i64().unwrap();
            assert!((near - column).abs() <= 130, "{path} {body:.40}: {problem:#}");
        }
        let request = mesh.client(0).request(Method::PUT, path).body(vec![0xff, 0xfe, 0x00]);
        http::send(request).await.unwrap().problem(400, "invalid_json");
        let unknown = json!({"runtime": "builtin", "handler": "noop", "cron": "* * * * *", "function": "f", "timeuot": "3s"});
        let problem = mesh.client(0).put(path, &unknown).await.problem(422, "invalid_definition");
        assert!(problem["detail"].as_str().unwrap().contains("unknown field"), "{problem:#}");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn definitions_that_cannot_work_are_422_with_the_reason() {
    let mut mesh = TestMesh::start(1).await;
    let client = mesh.client(0);
    client.deploy("noop", &builtin("noop")).await;
    for (cron, zone, parts) in [
        ("61 * * * *", "UTC", &["61"][..]),
        ("* * * *", "UTC", &["cron"]),
        ("", "UTC", &["cron"]),
        ("every day", "UTC", &["every day"]),
        ("@reboot", "UTC", &["@reboot"]),
        ("* * * * * * * *", "UTC", &["cron"]),
        ("*/0 * * * *", "UTC", &["cron"]),
        ("0 0 * * *", "Europe/Atlantis", &["Europe/Atlantis"]),
        ("0 0 * * *", "", &["time zone"]),
        ("0 0 * * *", "../../etc/passwd", &["time zone"]),
        ("0 0 30 2 *", "UTC", &["never"]),
        ("0 0 31 4 *", "Europe/Berlin", &["never"]),
    ] {
        let definition = json!({"cron": cron, "timezone": zone, "function": "noop"});
        let problem = client.put("/v1/schedules/s", &definition).await.problem(422, "invalid_definition");
        let detail = problem["detail"].as_str().unwrap();
        println!("{cron:20} {zone:18} {detail}");
        for part in parts {
            assert!(detail.contains(part), "{cron} in {zone}: {detail}");
        }
    }
    let missing = json!({"cron": "0 0 * * *", "function": "nobody"});
    let problem = client.put("/v1/schedules/s", &missing).await.problem(422, "invalid_definition");
    assert!(problem["detail"].as_str().unwrap().contains("`function` = \"nobody\""), "{problem:#}");
    let greedy = json!({"cron": "0 0 * * *", "function": "noop", "misfire_cap": 1_001});
    client.put("/v1/schedules/s", &greedy).await.problem(422, "invalid_definition");
    for definition in [
        json!({"runtime": "process"}),
        json!({"runtime": "builtin", "handler": "format"}),
        json!({"runtime": "process", "command": ["true"], "timeout": "0s"}),
        json!({"runtime": "process", "command": ["a\u{0}b"]}),
        json!({"runtime": "process", "command": ["true"], "env": {"BEATMESH_TASK": "mine"}}),
        json!({"runtime": "process", "command": ["true"], "concurrency": 0}),
    ] {
        client.put("/v1/functions/f", &definition).await.problem(422, "invalid_definition");
    }
    for (definition, field, part) in [
        (json!({"runtime": "fortran"}), "runtime", "`process`"),
        (json!({"runtime": "process", "command": ["true"], "timeout": "10"}), "timeout", "`10`"),
        (json!({"runtime": "builtin", "handler": "noop", "retries": {"max": -1}}), "retries.max", "-1"),
    ] {
        let problem = client.put("/v1/functions/f", &definition).await.problem(422, "invalid_definition");
        assert_eq!(problem["field"], field, "{problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{field}`")) && detail.contains(part), "{detail}");
    }
    client.get("/v1/functions/f").await.problem(404, "function_not_found");
    client.get("/v1/schedules/s").await.problem(404, "not_found");
    mesh.assert_well().await;
}

#[tokio::test]
async fn names_that_look_like_paths_are_refused_and_touch_no_file() {
    let mut mesh = TestMesh::start(1).await;
    let canary = mesh.dir.file("canary", "still here");
    let long = "x".repeat(129);
    for name in [
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "..%5c..",
        "%00",
        "a%00b",
        "-rf",
        ".hidden",
        "a%20b",
        "a%0d%0aX-Evil:%201",
        "%f0%9f%92%a5",
        "%ff%fe",
        "$(reboot)",
        "';DROP%20TABLE%20tasks;--",
        long.as_str(),
    ] {
        for path in [format!("/v1/functions/{name}"), format!("/v1/schedules/{name}")] {
            let put = mesh.client(0).put(&path, &builtin("noop")).await;
            // Dots alone are resolved by clients before they are sent: then there is no such path.
            assert!([400, 404, 405].contains(&put.status), "{path}: {} {}", put.status, put.text());
            assert!(put.header("x-evil").is_empty());
            let delete = mesh.client(0).delete(&path).await;
            assert!([400, 404, 405].contains(&delete.status), "{path}: {}", delete.status);
        }
        let call = mesh.client(0).call(name, "x").await;
        assert!([400, 404].contains(&call.status), "{name}: {}", call.status);
    }
    for (path, kind) in [("/v1/tasks/..%2f..", 400), ("/v1/mesh/members/%2e%2e%2f", 400)] {
        assert_eq!(mesh.client(0).get(path).await.status, kind, "{path}");
    }
    let bytes = b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(mesh.nodes[0].http(), bytes, Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("root:"), "{answer}");
    assert_eq!(std::fs::read_to_string(canary).unwrap(), "still here");
    mesh.assert_well().await;
}

#[tokio::test]
async fn huge_headers_and_broken_requests_are_refused_without_harm() {
    let mut mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let addr = mesh.nodes[0].http();
    let large =
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(200 << 10));
    let answer = raw(addr, large.as_bytes(), Duration::from_secs(5));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..5_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = raw(
        addr,
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes(),
        Duration::from_secs(5),
    );
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let key = "k".repeat(30 << 10);
    let request = mesh.client(0).request(Method::POST, "/v1/functions/echo/call").header("Beatmesh-Key", key);
    assert_eq!(http::send(request).await.unwrap().status, 200, "a long key is a key");
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/functions/echo/call HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let answer = raw(addr, bytes, Duration::from_secs(3));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_slow_client_is_cut_off_and_disturbs_nobody() {
    let mut mesh = TestMesh::start_with(1, |spec| spec.set("limits.header_timeout", "1s")).await;
    mesh.client(0).deploy("echo", &builtin("echo")).await;
    let addr = mesh.nodes[0].http();
    let begin = Instant::now();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Never").unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut rest = Vec::new();
                let closed = stream.read_to_end(&mut rest).is_ok();
                (closed, Instant::now())
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(mesh.client(0).call("echo", "quick").await.ok().text(), "quick");
    }
    for client in slow {
        let (closed, at) = client.join().unwrap();
        assert!(closed, "the node closes the connection");
        assert!(at - begin < Duration::from_secs(5), "{:?}", at - begin);
    }
    mesh.assert_well().await;
}

/// Sends a request on an open connection and reads its short answer.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the connection is open");
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).expect("an answer comes");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// How long it takes until the node closes the connection.
fn closed_after(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    let rest = stream.read_to_end(&mut Vec::new());
    assert!(rest.is_ok(), "the node closes the connection: {rest:?}");
    begin.elapsed()
}

#[tokio::test]
async fn a_connection_may_idle_between_requests_but_not_within_one() {
    let limits = |spec: NodeSpec| spec.set("limits.header_timeout", "1s").set("limits.idle_timeout", "4s");
    let mut mesh = TestMesh::start_with(1, limits).await;
    let connect = || {
        let stream = TcpStream::connect(mesh.nodes[0].http()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let (mut kept, mut slow, mut silent) = (connect(), connect(), connect());
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200") && ask(&mut slow).starts_with("HTTP/1.1 200"));
    slow.write_all(b"GET /livez HTTP/1.1\r\nX-Ne").unwrap();
    let slow = std::thread::spawn(move || closed_after(&mut slow));
    let silent = std::thread::spawn(move || closed_after(&mut silent));
    // Longer than the headers of a request may take.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"), "it was kept");
    let idle = closed_after(&mut kept);
    assert!((Duration::from_millis(3_500)..Duration::from_secs(10)).contains(&idle), "{idle:?}");
    for cut in [slow.join().unwrap(), silent.join().unwrap()] {
        assert!((Duration::from_millis(700)..Duration::from_millis(3_500)).contains(&cut), "{cut:?}");
    }
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_any_wait_for_the_next_one_is_not_cut_off() {
    let limits =
        |spec: NodeSpec| spec.set("limits.header_timeout", "300ms").set("limits.idle_timeout", "300ms");
    let mesh = TestMesh::start_with(1, limits).await;
    let script = "echo begun; sleep 1; head -c 100000 /dev/zero; sleep 1; echo ended";
    mesh.client(0).deploy("long", &shell(script)).await;
    assert!(mesh.client(0).call("long", "").await.ok().text().ends_with("ended\n"));
}

#[tokio::test]
async fn unknown_parameters_and_values_out_of_range_are_400() {
    let mesh = TestMesh::start(1).await;
    let client = mesh.client(0);
    client.deploy("noop", &builtin("noop")).await;
    for query in [
        "?dealy=3s",
        "?delay=3",
        "?delay=-1s",
        "?priority=101",
        "?priority=x",
        "?retries=1001",
        "?queue=a%2Fb",
        "?expires=0s",
        "?order_key=",
        "?order_key=a%0Ab",
        "?delay=999999999999h",
    ] {
        let answer = client.post(&format!("/v1/functions/noop/tasks{query}"), "").await;
        answer.problem(400, "bad_request");
    }
    client.get("/v1/tasks?limit=many").await.problem(400, "bad_request");
    let problem = client.get("/v1/tasks?order_key=a").await.problem(400, "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("add `function=`"), "{problem}");
    let long = format!("/v1/functions/noop/tasks?order_key={}", "x".repeat(257));
    let problem = client.post(&long, "").await.problem(400, "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("257 bytes; the most is 256"), "{problem}");
    for (value, word) in [("a\tb", "control character"), ("", "must not be empty")] {
        let request = client.request(Method::POST, "/v1/functions/noop/tasks");
        let request = request.header("Beatmesh-Order-Key", value);
        let problem = http::send(request).await.unwrap().problem(400, "bad_request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("Beatmesh-Order-Key") && detail.contains(word), "{problem}");
    }
}

#[tokio::test]
async fn with_api_keys_every_request_needs_one_and_no_key_is_ever_logged() {
    let dir = beatmesh_tests::Scratch::new();
    let keys = dir.secret_file("keys", "ci:canary-0123456789-abcdefghijk\n");
    let mut node = NodeSpec::new(&dir, "node-1").set("security.api_keys_file", keys.display()).start();
    let client = node.client();
    for path in ["/v1/mesh", "/v1/functions", "/v1/tasks", "/v1/schedules"] {
        client.get(path).await.problem(401, "unauthorized");
        let request = client.request(Method::GET, path).bearer_auth("canary-wrong-wrong-wrong-wrong-");
        http::send(request).await.unwrap().problem(401, "unauthorized");
        let request = client.request(Method::GET, path).bearer_auth("canary-0123456789-abcdefghijk");
        http::send(request).await.unwrap().ok();
    }
    client.get("/livez").await.ok();
    client.get("/readyz").await.ok();
    assert!(!node.log().contains("canary"), "a key in the log");
    node.assert_well().await;
}

#[tokio::test]
async fn without_api_keys_a_page_of_another_origin_may_not_use_the_node() {
    let mesh = TestMesh::start(1).await;
    let request =
        mesh.client(0).request(Method::POST, "/v1/functions/x/call").header("Origin", "https://evil.example");
    http::send(request).await.unwrap().problem(403, "foreign_origin");
}
