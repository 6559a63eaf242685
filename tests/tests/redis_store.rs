//! The queue on one real Redis that is hurt: nothing is acknowledged that is not there, nothing is lost that was, and
//! all goes on by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::catalogue::schedule::Overlap;
use beatmesh_node::queue::task::{Completion, NewTask, TaskState};
use beatmesh_node::queue::tick::{TickCommit, TickDecision, TickOutcome, Verdict, tick_task_id};
use beatmesh_node::queue::{Claimant, StoreError, TaskQueue};
use beatmesh_tests::redis_queue::{BACK, LONG, PREFIX, TestQueue, assert_not_taken, id, settings, task};
use beatmesh_tests::servers::Redis;
use beatmesh_tests::{Answers, Line, until};
use bytes::Bytes;
use futures_util::future::join_all;

/// Every change is on the disk before it is answered: what survives `kill -9`.
const KEEPS: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "always")];

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_gets_them_again() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    server.cli(&["script", "flush"]);
    queue.enqueue(2).await.expect("enqueued");
    assert_eq!(queue.work_off(2).await, [1, 2]);
    server.cli(&["script", "flush"]);
    assert_eq!(queue.0.sweep(3).await.expect("swept").returned, []);
    assert_eq!(queue.state(2).await, Some(TaskState::Done));
}

#[tokio::test]
async fn a_server_that_died_is_found_again_with_all_that_was_acknowledged() {
    let mut server = Redis::start_with(&KEEPS);
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    server.kill();
    let begin = Instant::now();
    for attempt in 0..20 {
        assert_not_taken(queue.enqueue(2).await, "");
        assert!(queue.claim().await.is_err());
        if attempt > 0 {
            // After the first error it is known, and nobody has to wait for it.
            assert_not_taken(queue.enqueue(2).await, "the store cannot be used now");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "callers are refused at once: {:?}", begin.elapsed());
    server.start_again();
    println!("tasks are taken {:?} after the server is back", queue.until_enqueued(2).await);
    assert_eq!(queue.work_off(2).await, [1, 2]);
}

#[tokio::test]
async fn a_server_that_stands_still_leaves_outcomes_open_and_goes_on() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    server.signal(beatmesh_tests::Signal::Stop);
    let begin = Instant::now();
    let error = assert_not_taken(queue.enqueue(2).await, "did not say whether it was done");
    assert!(matches!(error, StoreError::Unknown(_)));
    assert_not_taken(queue.enqueue(3).await, "cannot be used now");
    assert!(begin.elapsed() < Duration::from_secs(10), "nobody waits long: {:?}", begin.elapsed());
    server.signal(beatmesh_tests::Signal::Continue);
    queue.until_enqueued(2).await;
    // Number 3 was refused before anything was sent.
    assert_eq!(queue.work_off(2).await, [1, 2]);
    assert_eq!(queue.state(3).await, None);
}

#[tokio::test]
async fn a_server_that_became_a_replica_takes_nothing() {
    let (server, other) = (Redis::start(), Redis::start());
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    server.replica_of(&other);
    let error = assert_not_taken(queue.enqueue(2).await, "");
    assert!(matches!(error, StoreError::Unavailable(_)), "it says that it did nothing: {error}");
    assert_not_taken(queue.enqueue(2).await, "takes no writes");
    server.cli(&["replicaof", "no", "one"]);
    queue.until_enqueued(2).await;
    // It has copied the empty one.
    assert_eq!(queue.work_off(1).await, [2]);
}

#[tokio::test]
async fn a_server_that_is_still_loading_is_waited_for() {
    // A tenth of a second for each key.
    let slow = [("key-load-delay", "100000"), ("loading-process-events-interval-bytes", "1024")];
    let mut server = Redis::start_with(&slow);
    let queue = TestQueue::open(settings(&server.url())).await;
    for number in 0..20 {
        queue.enqueue(number).await.expect("enqueued");
    }
    server.cli(&["save"]);
    server.kill();
    server.start_later();
    let saw = until(
        "it says that it is loading",
        BACK,
        async || queue.enqueue(20).await,
        |answer| answer.is_ok() || answer.as_ref().is_err_and(|error| error.to_string().contains("LOADING")),
    )
    .await;
    assert!(saw.is_err(), "it was loaded before anybody looked");
    queue.until_enqueued(20).await;
    assert_eq!(queue.work_off(21).await, (0..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_unavailable_until_that_is_killed() {
    let server = Arc::new(Redis::start_with(&[("lua-time-limit", "50")]));
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    let looping = server.clone();
    let looping = tokio::task::spawn_blocking(move || looping.try_cli(&["eval", "while true do end", "0"]));
    let is_busy = async || server.try_cli(&["ping"]).is_err_and(|said| said.contains("BUSY"));
    until("it is busy", BACK, is_busy, |busy| *busy).await;
    let error = assert_not_taken(queue.enqueue(2).await, "BUSY");
    assert!(matches!(error, StoreError::Unavailable(_)), "it says that it did nothing: {error}");
    assert!(queue.claim().await.is_err());
    server.cli(&["script", "kill"]);
    assert!(looping.await.expect("it ends").is_err(), "it was killed");
    queue.until_enqueued(2).await;
    assert_eq!(queue.work_off(2).await, [1, 2]);
}

#[tokio::test]
async fn a_full_server_takes_no_tasks_and_forgets_none_and_works_off_those_it_has() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    for number in 0..10 {
        let delay = if number == 8 { Duration::from_millis(1) } else { Duration::ZERO };
        queue.0.enqueue(vec![NewTask { delay, ..task(number) }]).await.expect("enqueued");
    }
    let running = queue.0.claim(&Claimant::new("worker"), 1, Duration::from_secs(1)).await.expect("claimed");
    let before = server.cli(&["dbsize"]);
    server.config_set("maxmemory", "1");
    let error = assert_not_taken(queue.enqueue(10).await, "OOM");
    assert!(matches!(error, StoreError::Unavailable(_)), "nothing was written: {error}");
    assert_eq!(queue.0.task(id(10)).await, Ok(None));
    assert_eq!(server.cli(&["dbsize"]), before, "nor half of it");
    // What ends makes room, so that much goes on.
    let leases = [(running[0].id, running[0].attempt)];
    assert_eq!(queue.0.renew(&leases, LONG).await, Ok(vec![]), "what runs keeps its lease");
    let done = queue.complete(&running[0]).await;
    assert_eq!(done, Ok(Completion::Recorded(TaskState::Done)), "an end is recorded");
    assert_eq!(queue.0.cancel(id(9)).await, Ok(Some(TaskState::Cancelled)));
    let swept = queue.0.sweep(3).await.expect("swept");
    assert_eq!((swept.returned.len(), swept.expired), (0, 0));
    assert_eq!(queue.work_off(8).await, (1..9).collect::<Vec<_>>());
    assert_not_taken(queue.enqueue(10).await, "OOM");
    server.config_set("maxmemory", "0");
    queue.enqueue(10).await.expect("enqueued");
    assert_eq!(queue.work_off(1).await, [10]);
}

#[tokio::test]
async fn an_answer_that_gets_lost_leaves_the_outcome_open_and_the_same_task_again_is_one_task() {
    let server = Redis::start();
    let line = Line::to(server.addr()).await;
    let queue = TestQueue::open(settings(&format!("redis://{}", line.addr()))).await;
    // So that the server knows the scripts: else what gets lost is that it does not.
    queue.enqueue(0).await.expect("enqueued");
    assert_eq!(queue.work_off(1).await, [0]);
    for (number, fault) in [(1, Answers::Break), (2, Answers::Vanish)] {
        line.next_answer(fault);
        let error = assert_not_taken(queue.enqueue(number).await, "did not say whether it was done");
        assert!(matches!(error, StoreError::Unknown(_)));
        assert_eq!(line.lost(), number, "{fault:?}");
        let key = format!("{PREFIX}task:{}", id(number));
        assert_eq!(server.cli(&["exists", &key]), "1", "it was done before the answer got lost");
        queue.until_enqueued(number).await;
    }
    let claimed = queue.claim().await.expect("claimed");
    assert_eq!(claimed.len(), 2, "each is there once: {claimed:?}");
    for (claimed, fault) in claimed.iter().zip([Answers::Break, Answers::Vanish]) {
        line.next_answer(fault);
        assert_not_taken(queue.complete(claimed).await, "did not say whether it was done");
        let look = async || queue.complete(claimed).await;
        let again = until("it answers again", BACK, look, Result::is_ok).await;
        assert_eq!(again, Ok(Completion::Stale), "it was recorded, once");
        assert_eq!(queue.0.task(claimed.id).await.unwrap().unwrap().state, TaskState::Done);
    }
}

/// Somebody's hands in the data, or a later version's tasks.
#[tokio::test]
async fn what_is_no_task_of_ours_is_set_aside_and_stops_nobody() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    for number in 0..6 {
        queue.enqueue(number).await.expect("enqueued");
    }
    let key = |number: u32| format!("{PREFIX}task:{}", id(number));
    let value = server.cli(&["get", &key(4)]);
    let (words, _json) = value.split_once("{").expect("its last word");
    server.cli(&["set", &key(0), "a text"]);
    server.cli(&["set", &key(1), &value.replacen("ready", "steady", 1)]);
    for command in [["del", &key(2)], ["del", &key(3)]] {
        server.cli(&command);
    }
    server.cli(&["hset", &key(2), "field", "of a hash"]);
    server.cli(&["set", &key(4), &format!("{words}{{\"of a later\": \"version\"}}")]);
    assert_eq!(queue.work_off(1).await, [5]);
    assert_eq!(queue.0.next_ready(&Claimant::new("worker")).await, Ok(None), "nobody looks for them again");
    let aside = server.cli(&["zrange", &format!("{PREFIX}aside"), "0", "-1"]);
    let expected: Vec<String> = (0..4).map(|number| id(number).to_string()).collect();
    let mut aside: Vec<&str> = aside.lines().collect();
    aside.sort_unstable();
    assert_eq!(aside, expected);
    // What people ask of them is answered or refused, and hurts nothing else.
    for number in 0..5 {
        let _ = queue.0.task(id(number)).await;
        let _ = queue.0.cancel(id(number)).await;
        let _ = queue.0.retry(id(number)).await;
        let _ = queue
            .0
            .tasks(&beatmesh_node::queue::TaskFilter { limit: 10, ..Default::default() })
            .await
            .expect("listed");
    }
    // Where the leased, the delayed and the expiring ones wait, too.
    for index in ["leases", "wait", "expiry"] {
        for name in ["no-id", &id(0).to_string(), &id(2).to_string(), &id(77).to_string()] {
            server.cli(&["zadd", &format!("{PREFIX}{index}"), "1", name]);
        }
    }
    server.cli(&["zadd", &format!("{PREFIX}ready:default:f"), "0", "too short"]);
    server.cli(&["zadd", &format!("{PREFIX}ready"), "0", "default f"]);
    queue.0.sweep(3).await.expect("swept");
    queue.enqueue(7).await.expect("enqueued");
    assert_eq!(queue.work_off(1).await, [7]);
    for index in ["leases", "wait", "expiry"] {
        let left = server.cli(&["zrange", &format!("{PREFIX}{index}"), "0", "-1"]);
        assert!(left.lines().all(|id| id == self::id(4).to_string()), "{index}: {left}");
    }
    assert_eq!(queue.0.next_ready(&Claimant::new("worker")).await, Ok(None));
}

/// Of many schedules that are due at one moment one stands in nobody's way.
#[tokio::test]
async fn a_schedule_whose_values_are_of_another_kind_holds_up_no_other() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    let names = ["a", "broken", "c"].map(|name| name.parse::<ScheduleName>().expect("a name"));
    for name in &names {
        server.cli(&["hset", &format!("{PREFIX}schedules"), name.as_str(), "1 1 1000 UTC * * * * * *"]);
    }
    server.cli(&["set", &format!("{PREFIX}ticks:broken"), "of another kind"]);
    let commit = |schedule: &ScheduleName| TickCommit {
        schedule: schedule.clone(),
        revision: 1,
        expected_cursor: UnixMs(1_000),
        decisions: vec![TickDecision {
            due: UnixMs(2_000),
            from: UnixMs(2_000),
            count: 1,
            verdict: Verdict::Fire,
        }],
        function: "f".parse().expect("a name"),
        queue: "default".parse().expect("a name"),
        input: Bytes::from_static(b"input"),
        retries: 0,
        overlap: Overlap::Allow,
        order: None,
        node: "n".to_owned(),
    };
    let outcomes = join_all(names.iter().map(|name| queue.0.commit_tick(commit(name)))).await;
    let fired =
        |schedule| Ok(TickOutcome::Committed { fired: vec![tick_task_id(schedule, 1, UnixMs(2_000))] });
    assert_eq!([&outcomes[0], &outcomes[2]], [&fired(&names[0]), &fired(&names[2])]);
    let error = outcomes[1].as_ref().expect_err("it stands in the way").to_string();
    assert!(error.contains("`broken`") && error.contains("WRONGTYPE"), "{error}");
    // Nothing of it was done: it fires when the value is gone.
    let states = queue.0.schedule_states().await.expect("read");
    assert_eq!(states.iter().map(|state| state.cursor.0).collect::<Vec<_>>(), [2_000, 1_000, 2_000]);
    assert_eq!(queue.claim().await.expect("claimed").len(), 2);
    server.cli(&["del", &format!("{PREFIX}ticks:broken")]);
    assert_eq!(queue.0.commit_tick(commit(&names[1])).await, fired(&names[1]));
    assert_eq!(queue.claim().await.expect("claimed").len(), 1);
}
