//! Tasks: enqueued on one node, run on another, asked for on a third.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use beatmesh_tests::side_file::{builtin, shell};
use beatmesh_tests::{SideFile, TestMesh, http, until};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_task_is_accepted_with_202_and_its_result_can_be_waited_for_on_any_node() {
    let mut mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("hello", &shell("printf 'hello %s' \"$(cat)\"")).await;
    let mut ran_on = BTreeSet::new();
    for round in 0..12 {
        let task = mesh.client(round % 3).enqueue("hello", "", format!("{round}")).await;
        let record = mesh.client((round + 1) % 3).finished(&task).await;
        assert_eq!(record["state"], "done", "{record:#}");
        assert_eq!(record["result"], format!("hello {round}"));
        assert_eq!(record["attempts"], 1);
        assert_eq!(record["origin"], json!({"kind": "api"}));
        for time in ["created_at", "started_at", "finished_at"] {
            assert!(record[time].is_string(), "{time}: {record:#}");
        }
        ran_on.insert(record["node"].as_str().unwrap().to_owned());
    }
    println!("tasks ran on {ran_on:?}");
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_waiter_is_told_within_milliseconds_wherever_the_task_ran() {
    let mesh = TestMesh::start(3).await;
    mesh.client(0).deploy("nap", &shell("sleep 0.5; echo done")).await;
    for index in 0..3 {
        let begin = Instant::now();
        let task = mesh.client(index).enqueue("nap", "", "").await;
        let record = mesh.client(index).finished(&task).await;
        assert_eq!(record["result"], "done\n");
        // The nets below the hints (polling once a second on both sides) alone would need more.
        assert!(begin.elapsed() < Duration::from_millis(1_500), "it took {:?}", begin.elapsed());
    }
}

/// Many tasks of a function that runs once at a time on each node stand before everything else.
#[tokio::test]
async fn a_function_that_is_full_keeps_neither_other_tasks_nor_its_callers_waiting() {
    let mesh = TestMesh::start(3).await;
    let mut narrow = shell("sleep 1; echo done");
    narrow["concurrency"] = json!(1);
    mesh.client(0).deploy("narrow", &narrow).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    for index in 0..60 {
        mesh.client(index % 3).enqueue("narrow", "", "").await;
    }
    let leased = async || {
        let tasks = mesh.client(0).get("/v1/tasks?function=narrow&state=leased&limit=100").await.ok().json();
        tasks["tasks"].as_array().expect("a list").len()
    };
    until("it runs on every node", Duration::from_secs(5), leased, |count| *count == 3).await;
    let begin = Instant::now();
    let noop = mesh.client(0).enqueue("noop", "", "").await;
    assert_eq!(mesh.client(1).finished(&noop).await["state"], "done");
    println!("a task behind sixty of a full function had ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for index in 0..3 {
        let begin = Instant::now();
        assert_eq!(mesh.client(index).call("narrow", "").await.ok().text(), "done\n");
        println!("a call among them was answered after {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn waiting_for_a_task_ends_with_the_asked_time_and_tells_how_it_stands() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("nap", &shell("sleep 3")).await;
    let task = mesh.client(0).enqueue("nap", "", "").await;
    for index in 0..2 {
        let begin = Instant::now();
        let record = mesh.client(index).get(&format!("/v1/tasks/{task}?wait=400ms")).await.ok().json();
        assert_eq!(record["state"], "leased", "{record:#}");
        assert!((400..2_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    mesh.client(0).get(&format!("/v1/tasks/{unknown}?wait=5s")).await.problem(404, "task_not_found");
    mesh.client(0).get("/v1/tasks/nonsense").await.problem(400, "bad_request");
    mesh.client(0).get(&format!("/v1/tasks/{task}?wait=soon")).await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_delayed_task_waits_for_its_time_and_can_be_cancelled() {
    let mesh = TestMesh::start(2).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("note", &side.function(&side.append("$(cat)"))).await;
    let delayed = mesh.client(0).enqueue("note", "?delay=1500ms", "late").await;
    let cancelled = mesh.client(0).enqueue("note", "?delay=1500ms", "never").await;
    let begin = Instant::now();
    let record = mesh.client(1).get(&format!("/v1/tasks/{delayed}")).await.ok().json();
    assert_eq!(record["state"], "scheduled");
    let record = mesh.client(1).delete(&format!("/v1/tasks/{cancelled}")).await.ok().json();
    assert_eq!(record["state"], "cancelled");
    // Once is enough; a second time changes nothing.
    mesh.client(0).delete(&format!("/v1/tasks/{cancelled}")).await.ok();
    assert_eq!(mesh.client(1).finished(&delayed).await["state"], "done");
    assert!(begin.elapsed() >= Duration::from_millis(1_400), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_millis(4_000), "{:?}", begin.elapsed());
    mesh.client(0).delete(&format!("/v1/tasks/{delayed}")).await.problem(409, "wrong_state");
    // The header says the same as the query.
    let request =
        mesh.client(0).request(Method::POST, "/v1/functions/note/tasks").header("Beatmesh-Delay", "1h");
    let task = http::send(request.body("x")).await.unwrap().ok().json()["task_id"].clone();
    let record = mesh.client(0).get(&format!("/v1/tasks/{}", task.as_str().unwrap())).await.ok().json();
    assert_eq!(record["state"], "scheduled");
    assert_eq!(side.lines(), ["late"], "the cancelled task never ran");
}

#[tokio::test]
async fn a_task_that_nobody_began_in_time_expires() {
    let mesh = TestMesh::start_with(1, |spec| spec.set("node.slots", 1)).await;
    mesh.client(0).deploy("nap", &shell("sleep 3")).await;
    let first = mesh.client(0).enqueue("nap", "", "").await;
    let look = async || mesh.client(0).get(&format!("/v1/tasks/{first}")).await.json()["state"].clone();
    until("the only slot is taken", Duration::from_secs(3), look, |state| state == "leased").await;
    let second = mesh.client(0).enqueue("nap", "?expires=500ms", "").await;
    assert_eq!(mesh.client(0).finished(&second).await["state"], "expired");
    mesh.client(0).post("/v1/functions/nap/tasks?expires=1s&delay=2s", "").await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_failing_task_is_retried_as_often_as_asked_and_by_hand_after_that() {
    let mesh = TestMesh::start(2).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let script = format!("{}; echo why >&2; exit 3", side.append("$BEATMESH_ATTEMPT"));
    let mut definition = side.function(&script);
    definition["retries"] = json!({"max": 0, "backoff": "200ms..1s"});
    mesh.client(0).deploy("bad", &definition).await;
    let task = mesh.client(0).enqueue("bad", "?retries=2", "").await;
    let record = mesh.client(1).finished(&task).await;
    assert_eq!(record["state"], "failed", "{record:#}");
    assert_eq!((&record["attempts"], &record["failures"]), (&json!(3), &json!(3)));
    assert_eq!(record["error"]["type"], "function_failed");
    assert_eq!(record["error"]["exit"], 3);
    assert_eq!(record["error"]["stderr_tail"], "why\n");
    assert_eq!(record["log_tail"], "why\n");
    assert_eq!(side.lines(), ["1", "2", "3"]);

    // Repaired, then another chance by hand.
    mesh.client(0).deploy("bad", &shell("echo good")).await;
    mesh.client(1).post(&format!("/v1/tasks/{task}/retry"), "").await.ok();
    let record = mesh.client(0).finished(&task).await;
    assert_eq!((&record["state"], &record["result"]), (&json!("done"), &json!("good\n")));
    assert_eq!(record["attempts"], 4);
    mesh.client(1).post(&format!("/v1/tasks/{task}/retry"), "").await.problem(409, "wrong_state");
}

#[tokio::test]
async fn one_idempotency_key_makes_one_task() {
    let mesh = TestMesh::start(3).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    mesh.client(0).deploy("note", &side.function(&side.append("ran"))).await;
    mesh.client(0).deploy("other", &builtin("noop")).await;
    let enqueue = async |index: usize, function: &str, key: &str| {
        let path = format!("/v1/functions/{function}/tasks");
        let request =
            mesh.client(index).request(Method::POST, &path).header("Idempotency-Key", key).body("x");
        let answer = http::send(request).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["task_id"].as_str().unwrap().to_owned()
    };
    let first = enqueue(0, "note", "order-1").await;
    for index in 0..3 {
        assert_eq!(enqueue(index, "note", "order-1").await, first);
    }
    assert_ne!(enqueue(0, "note", "order-2").await, first);
    assert_ne!(enqueue(0, "other", "order-1").await, first, "keys belong to a function");
    mesh.client(1).finished(&first).await;
    assert_eq!(enqueue(1, "note", "order-1").await, first, "also after its end");
    let second = enqueue(0, "note", "order-2").await;
    mesh.client(1).finished(&second).await;
    assert_eq!(side.lines().len(), 2);
}

#[tokio::test]
async fn tasks_are_listed_by_state_function_and_schedule_newest_first() {
    let mesh = TestMesh::start(2).await;
    mesh.client(0).deploy("good", &builtin("noop")).await;
    mesh.client(0).deploy("bad", &shell("exit 1")).await;
    let mut good = Vec::new();
    for _ in 0..3 {
        good.push(mesh.client(0).enqueue("good", "", "").await);
    }
    let bad = mesh.client(0).enqueue("bad", "", "").await;
    let waiting = mesh.client(0).enqueue("good", "?delay=1h&queue=default&priority=5", "").await;
    for task in good.iter().chain([&bad]) {
        mesh.client(0).finished(task).await;
    }
    let list = async |query: &str| -> Vec<String> {
        let answer = mesh.client(1).get(&format!("/v1/tasks{query}")).await.ok().json();
        let tasks = answer["tasks"].as_array().unwrap().clone();
        tasks.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("").await.len(), 5);
    assert_eq!(list("?function=bad").await, [bad.as_str()]);
    assert_eq!(list("?state=failed").await, [bad]);
    assert_eq!(list("?state=scheduled").await, [waiting.as_str()]);
    assert_eq!(list("?state=done&function=good").await.len(), 3);
    assert_eq!(list("?limit=1").await, [waiting]);
    assert!(list("?schedule=none").await.is_empty());
    assert!(list("?queue=other").await.is_empty());
    for wrong in ["?state=ended", "?limit=0", "?limit=1001", "?function=a%2Fb", "?stat=done"] {
        mesh.client(1).get(&format!("/v1/tasks{wrong}")).await.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn a_task_runs_whatever_its_queue_is_called() {
    let mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("noop", &builtin("noop")).await;
    let client = mesh.client(0);
    for queue in ["other", "Zebra.2"] {
        let unknown = client.post(&format!("/v1/functions/noop/tasks?queue={queue}"), "").await;
        let problem = unknown.problem(404, "queue_not_found");
        assert!(problem["detail"].as_str().unwrap().contains(queue), "{problem}");
        client.put(&format!("/v1/queues/{queue}"), &json!({"weight": 2, "limit": 3})).await.ok();
    }
    for queue in ["other", "default", "Zebra.2"] {
        let task = mesh.client(0).enqueue("noop", &format!("?queue={queue}"), "").await;
        let record = mesh.client(0).finished(&task).await;
        assert_eq!((&record["state"], &record["queue"]), (&json!("done"), &json!(queue)));
    }
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all_and_one_key_is_one_task() {
    let mesh = TestMesh::start(2).await;
    let client = mesh.client(0);
    client.deploy("echo", &builtin("echo")).await;
    let post = async |items: serde_json::Value| client.post("/v1/tasks:batch", items.to_string()).await;
    let batch = json!([
        {"function": "echo", "input": {"n": 1}, "key": "first"},
        {"function": "echo", "input_base64": "aGk=", "content_type": "text/plain", "priority": 3},
        {"function": "echo"},
    ]);
    let answer = post(batch).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let ids: Vec<String> = serde_json::from_value(answer.json()["task_ids"].clone()).unwrap();
    let [first, second, third] = ids.as_slice() else { panic!("{ids:?}") };
    assert_eq!(client.finished(first).await["result"], json!({"n": 1}));
    assert_eq!(mesh.client(1).finished(second).await["result"], "hi");
    assert_eq!(client.finished(third).await["state"], "done");

    // The same request again is the same task; another input under its key is refused, with all of its batch.
    let again = post(json!([{"function": "echo", "input": {"n": 1}, "key": "first"}])).await;
    assert_eq!(again.json()["task_ids"], json!([first]));
    let count = async || client.get("/v1/tasks?limit=100").await.json()["tasks"].as_array().unwrap().len();
    let before = count().await;
    let taken =
        post(json!([{"function": "echo"}, {"function": "echo", "input": {"n": 2}, "key": "first"}])).await;
    let problem = taken.problem(409, "key_taken");
    assert_eq!((&problem["indexes"], &problem["task_ids"]), (&json!([1]), &json!([first])), "{problem}");
    for (bad, status, kind, word) in [
        (json!([]), 400, "bad_request", "1 to 5000"),
        (json!([{"function": "nope"}]), 404, "function_not_found", "nope"),
        (
            json!([{"function": "echo"}, {"function": "echo", "queue": "nowhere"}]),
            404,
            "queue_not_found",
            "nowhere",
        ),
        (json!([{"function": "echo", "priority": 1000}]), 400, "bad_request", "1000"),
        (json!([{"function": "echo", "delay": "2s", "expires": "1s"}]), 400, "bad_request", "expires"),
        (json!([{"function": "echo", "delay": "-2s"}]), 422, "invalid_definition", "-2s"),
        (json!([{"function": "echo", "input": 1, "input_base64": ""}]), 400, "bad_request", "input_base64"),
        (json!([{"function": "echo", "input_base64": "?"}]), 400, "bad_request", "input_base64"),
        (json!([{"function": "echo", "retires": 1}]), 422, "invalid_definition", "retires"),
    ] {
        let problem = post(bad.clone()).await.problem(status, kind);
        assert!(problem.to_string().contains(word), "{bad}: {problem}");
    }
    assert_eq!(count().await, before, "nothing of what was refused was stored");
    let queues = client.get("/v1/queues").await.json();
    assert_eq!(
        (&queues["queues"][0]["name"], &queues["workers"]),
        (&json!("default"), &json!(2)),
        "{queues}"
    );
}

/// Enqueued in each way, at any node, run on any node.
#[tokio::test]
async fn tasks_with_an_order_key_run_one_after_the_other_in_their_order() {
    const EACH: usize = 12;
    let mut mesh = TestMesh::start(3).await;
    let side = SideFile::new(mesh.dir.path(), "side");
    let (begin, end) = (side.append("begin $(cat)"), side.append("end"));
    mesh.client(0).deploy("ordered", &side.function(&format!("{begin}; sleep 0.1; {end}"))).await;
    let mut last = String::new();
    for number in 0..EACH {
        let client = mesh.client(number % 3);
        last = match number % 3 {
            0 => client.enqueue("ordered", "?order_key=a%20b", number.to_string()).await,
            1 => {
                let request = client.request(Method::POST, "/v1/functions/ordered/tasks?priority=9");
                let request = request.header("Beatmesh-Order-Key", "a b").body(number.to_string());
                let answer = http::send(request).await.expect("answered").ok();
                answer.json()["task_id"].as_str().expect("an id").to_owned()
            }
            _ => {
                let item = json!([{"function": "ordered", "input": number, "order_key": "a b"}]);
                let answer = client.post("/v1/tasks:batch", item.to_string()).await.ok();
                answer.json()["task_ids"][0].as_str().expect("an id").to_owned()
            }
        };
    }
    let record = mesh.client(1).get(&format!("/v1/tasks/{last}")).await.ok().json();
    assert_eq!((&record["order_key"], &record["state"]), (&json!("a b"), &json!("ready")), "{record:#}");
    assert_eq!((&record["waits_for_order"], &record["lost_leases"]), (&json!(true), &json!(0)));
    let listed = mesh.client(2).get("/v1/tasks?function=ordered&order_key=a%20b").await.ok().json();
    assert_eq!(listed["tasks"].as_array().expect("a list").len(), EACH);

    let record = mesh.client(0).finished(&last).await;
    assert_eq!((&record["state"], &record["waits_for_order"]), (&json!("done"), &json!(null)), "{record:#}");
    let expected = (0..EACH).flat_map(|number| [format!("begin {number}"), "end".to_owned()]);
    assert_eq!(side.lines(), expected.collect::<Vec<_>>());
    mesh.assert_well().await;
}

#[tokio::test]
async fn a_task_of_a_deleted_function_fails_and_says_why() {
    let mesh = TestMesh::start(1).await;
    mesh.client(0).deploy("gone", &builtin("noop")).await;
    let task = mesh.client(0).enqueue("gone", "?delay=800ms", "").await;
    mesh.client(0).delete("/v1/functions/gone").await.ok();
    let record = mesh.client(0).finished(&task).await;
    assert_eq!(record["state"], "failed");
    assert_eq!(record["error"]["type"], "function_not_found", "{record:#}");
}
