//! Functions that misbehave: each gets a clear problem or a proper answer, its process group is gone
//! afterwards, and the node does not mind. Every case runs on the node that was asked and through a hop.

use std::time::{Duration, Instant};

use beatmesh_tests::side_file::shell;
use beatmesh_tests::{Answer, Node, SideFile, TestMesh, http, processes, until};
use reqwest::Method;
use serde_json::json;

/// A mesh of two with a function, and a key for each way to run it.
struct Case {
    mesh: TestMesh,
    side: SideFile,
    keys: Vec<String>,
}

impl Case {
    async fn new() -> Self {
        let mesh = TestMesh::start_with(2, |spec| spec.set("limits.output", "64MiB")).await;
        let side = SideFile::new(mesh.dir.path(), "side");
        let keys = vec![mesh.key_of(0).await, mesh.key_of(1).await];
        Self { mesh, side, keys }
    }

    /// Deploys `script` and calls it locally, then through the other node.
    async fn call(&mut self, script: &str, timeout: &str, body: Vec<u8>) -> Vec<Answer> {
        let mut definition = self.side.function(script);
        definition["timeout"] = json!(timeout);
        self.mesh.client(0).deploy("bad", &definition).await;
        let mut answers = Vec::new();
        for key in &self.keys {
            let request = self.mesh.client(0).request(Method::POST, "/v1/functions/bad/call");
            let request = request.header("Beatmesh-Key", key).body(body.clone());
            answers.push(http::send(request).await.expect("the node answers"));
        }
        Node::until_gone(&self.side).await;
        self.mesh.assert_well().await;
        answers
    }
}

#[tokio::test]
async fn a_function_that_exits_with_1_is_a_problem_with_the_end_of_its_stderr() {
    let mut case = Case::new().await;
    for answer in case.call("cat; echo some output; echo the reason >&2; exit 1", "10s", vec![]).await {
        let problem = answer.problem(500, "function_failed");
        assert_eq!(problem["exit"], 1, "{problem:#}");
        assert_eq!(problem["stderr_tail"], "the reason\n");
        assert!(!answer.node().is_empty(), "also a failure says where it happened");
    }
}

#[tokio::test]
async fn a_function_that_is_killed_by_a_signal_says_by_which() {
    let mut case = Case::new().await;
    for answer in case.call("kill -SEGV $$", "10s", vec![]).await {
        assert_eq!(answer.problem(500, "function_failed")["signal"], 11);
    }
}

#[tokio::test]
async fn a_function_that_fails_in_the_middle_of_its_answer_is_explained_in_its_nodes_log() {
    let mut case = Case::new().await;
    let script = "head -c 200000 /dev/zero; echo the reason >&2; exit 3";
    case.mesh.client(0).deploy("half", &case.side.function(script)).await;
    for (index, key) in case.keys.iter().enumerate() {
        let request = case.mesh.client(0).request(Method::POST, "/v1/functions/half/call");
        let response = request.header("Beatmesh-Key", key).send().await.unwrap();
        let task = response.headers()["beatmesh-task"].to_str().unwrap().to_owned();
        assert!(response.bytes().await.is_err(), "the part passed for the whole");
        let look = async || case.mesh.nodes[index].events("a function failed after its answer had begun");
        let told =
            until("it is logged", Duration::from_secs(5), look, |told| !told.is_empty()).await.remove(0);
        let name = case.mesh.nodes[index].name();
        assert_eq!(
            (&told["level"], &told["function"], &told["node"]),
            (&json!("WARN"), &json!("half"), &json!(name))
        );
        assert_eq!((&told["task"], &told["stderr_tail"]), (&json!(task), &json!("the reason\n")));
        assert!(told["problem"].as_str().unwrap().contains("code 3"), "{told:#}");
    }
    case.mesh.assert_well().await;
}

#[tokio::test]
async fn a_function_that_prints_100_mb_is_cut_off_and_costs_no_memory() {
    let mut case = Case::new().await;
    // To stdout the stream has begun: it is broken off, and no client takes the part for the whole.
    let definition = case.side.function("head -c 100000000 /dev/zero");
    case.mesh.client(0).deploy("loud", &definition).await;
    for key in &case.keys {
        let request = case.mesh.client(0).request(Method::POST, "/v1/functions/loud/call");
        let mut response = request.header("Beatmesh-Key", key).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut seen = 0;
        let broken = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => seen += chunk.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken, "the answer ended as if it were whole, after {seen} bytes");
        assert!(seen <= 64 << 20, "{seen} bytes");
    }
    Node::until_gone(&case.side).await;
    // To stderr: only the end is kept.
    let noise = "head -c 100000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo the end >&2; exit 4";
    for answer in case.call(noise, "20s", vec![]).await {
        let problem = answer.problem(500, "function_failed");
        let tail = problem["stderr_tail"].as_str().unwrap();
        assert!(tail.ends_with("the end\n") && tail.len() < 10_000, "{} bytes", tail.len());
    }
    // A task's result has its own, smaller limit.
    let task = case.mesh.client(0).enqueue("loud", "", "").await;
    let record = case.mesh.client(0).finished(&task).await;
    assert_eq!(record["state"], "failed");
    assert_eq!(record["error"]["type"], "output_too_large", "{record:#}");
    for node in &case.mesh.nodes {
        let resident = processes::resident(node.pid()).unwrap();
        assert!(resident < 200 << 20, "{} holds {resident} bytes", node.name());
    }
    case.mesh.assert_well().await;
}

#[tokio::test]
async fn a_function_that_never_reads_its_stdin_answers_all_the_same() {
    let mut case = Case::new().await;
    for answer in case.call("echo answer", "10s", vec![b'x'; 4 << 20]).await {
        assert_eq!(answer.ok().text(), "answer\n");
    }
    for answer in case.call("exec <&-; sleep 0.2; echo answer", "10s", vec![b'x'; 4 << 20]).await {
        assert_eq!(answer.ok().text(), "answer\n");
    }
}

#[tokio::test]
async fn a_function_that_closes_its_stdout_early_is_waited_for() {
    let mut case = Case::new().await;
    let script = format!("echo early; exec >&- 2>&-; sleep 0.5; {}", case.side.append("ended"));
    for answer in case.call(&script, "10s", vec![]).await {
        assert_eq!(answer.ok().text(), "early\n");
    }
    assert_eq!(case.side.lines().len(), 2, "its end was waited for");
    for answer in case.call("echo early; exec >&-; sleep 0.2; exit 7", "10s", vec![]).await {
        assert_eq!(answer.problem(500, "function_failed")["exit"], 7);
    }
}

#[tokio::test]
async fn a_function_that_runs_past_its_timeout_is_killed_with_all_its_children() {
    let mut case = Case::new().await;
    let begin = Instant::now();
    // It ignores what can be ignored, and so do its children.
    let script = "trap '' TERM INT HUP; sleep 60 & sleep 60 & wait; sleep 60";
    for answer in case.call(script, "500ms", vec![]).await {
        let problem = answer.problem(504, "function_timeout");
        assert_eq!(problem["timeout_ms"], 500);
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    // Also when it writes for ever and nobody's buffer is full.
    for answer in case.call("while :; do echo; sleep 0.05; done", "500ms", vec![]).await {
        answer.problem(504, "function_timeout");
    }
}

#[tokio::test]
async fn a_function_that_leaves_grandchildren_behind_is_answered_and_they_are_killed() {
    let mut case = Case::new().await;
    for script in [
        // In its group, holding its pipes.
        "sleep 60 & echo answer",
        // A session of its own, pipes closed: a daemon.
        "setsid bash -c 'sleep 60' </dev/null >/dev/null 2>&1 & echo answer",
        // Twice removed, with the pipes.
        "(setsid bash -c 'sleep 60; true' & ) ; echo answer",
    ] {
        let begin = Instant::now();
        for answer in case.call(script, "20s", vec![]).await {
            assert_eq!(answer.ok().text(), "answer\n", "{script}");
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{script}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_a_problem_that_names_it() {
    let mut case = Case::new().await;
    let plain = case.mesh.dir.file("no-program", "x");
    for (command, part) in [
        (json!(["/nonexistent/program"]), "/nonexistent/program"),
        (json!([plain.display().to_string()]), "no-program"),
        (json!(["/tmp"]), "/tmp"),
    ] {
        let definition = json!({"runtime": "process", "command": command});
        case.mesh.client(0).deploy("missing", &definition).await;
        for key in &case.keys {
            let request = case.mesh.client(0).request(Method::POST, "/v1/functions/missing/call");
            let answer = http::send(request.header("Beatmesh-Key", key)).await.unwrap();
            let problem = answer.problem(500, "function_not_started");
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem:#}");
        }
    }
    let definition = json!({"runtime": "process", "command": ["true"], "dir": "/nonexistent"});
    case.mesh.client(0).deploy("missing", &definition).await;
    case.mesh.client(0).call("missing", "").await.problem(500, "function_not_started");
    case.mesh.assert_well().await;
}

/// Bad functions in any number leave neither processes nor file descriptors nor memory behind.
#[tokio::test]
async fn two_hundred_bad_calls_at_once_leave_the_node_as_it_was() {
    let mut case = Case::new().await;
    let script = "case $(( $RANDOM % 5 )) in 0) exit 1;; 1) kill -9 $$;; 2) sleep 60 & exit 0;; 3) sleep 60;; *) cat;; esac";
    let mut definition = case.side.function(script);
    definition["timeout"] = json!("300ms");
    case.mesh.client(0).deploy("bad", &definition).await;
    case.mesh.client(0).deploy("good", &shell("cat")).await;
    case.mesh.client(0).call("good", "warm").await.ok();
    let before = processes::open_files(case.mesh.nodes[0].pid());
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let client = case.mesh.client(number % 2);
            tokio::spawn(async move { client.call("bad", vec![b'x'; 100_000]).await.status })
        })
        .collect();
    for call in calls {
        let status = call.await.unwrap();
        assert!([200, 500, 503, 504].contains(&status), "{status}");
    }
    Node::until_gone(&case.side).await;
    let look = async || processes::open_files(case.mesh.nodes[0].pid());
    // Connections of clients close in their own time.
    beatmesh_tests::until("its files are closed", Duration::from_secs(10), look, |n| *n <= before + 10).await;
    assert_eq!(case.mesh.client(0).call("good", "still").await.ok().text(), "still");
    case.mesh.assert_well().await;
}
