//! Each place of the queue in a real Redis is broken by hand; a scan puts it right, says so once, and every task is run.

use std::time::Duration;

use beatmesh_node::queue::TaskQueue;
use beatmesh_node::queue::order::{Order, OrderKey};
use beatmesh_node::queue::scan::{RepairKind, ScanCursor};
use beatmesh_node::queue::task::{NewTask, Origin, TaskOutcome, TaskState};
use beatmesh_tests::redis_queue::{LONG, PREFIX, TestQueue, id, settings, task};
use beatmesh_tests::servers::Redis;

use RepairKind::{Counted, Displaced, Placed, SetAside};

/// A queue with a task in each state.
struct Broken {
    server: Redis,
    queue: TestQueue,
}

const READY: u32 = 1;
const SCHEDULED: u32 = 2;
const LEASED: u32 = 3;
const DONE: u32 = 4;
const RETRY: u32 = 5;

impl Broken {
    async fn begin() -> Self {
        let server = Redis::start();
        let queue = TestQueue::open(settings(&server.url())).await;
        let of_schedule = |number: u32| NewTask {
            origin: Origin::Trigger { schedule: "s".parse().expect("a name") },
            ..task(number)
        };
        for (number, outcome) in [
            (DONE, Some(TaskOutcome::Done { output: "o".into(), content_type: String::new() })),
            (RETRY, Some(TaskOutcome::Failed { error: "e".into(), retry_in: Some(LONG) })),
            (LEASED, None),
        ] {
            queue.0.enqueue(vec![of_schedule(number)]).await.expect("enqueued");
            let claimed = queue.claim().await.expect("claimed").remove(0);
            if let Some(outcome) = outcome {
                let ended = queue.0.complete(claimed.id, claimed.attempt, outcome, String::new());
                ended.await.expect("completed");
            }
        }
        let ready = NewTask { expires: Some(LONG), ..of_schedule(READY) };
        let scheduled = NewTask { delay: LONG, ..of_schedule(SCHEDULED) };
        queue.0.enqueue(vec![ready, scheduled]).await.expect("enqueued");
        let this = Self { server, queue };
        assert_eq!(this.scan().await, [], "nothing is broken yet");
        this
    }

    /// A command of a person; `@` stands for the beginning of all keys.
    fn break_with(&self, words: &[&str]) {
        let words: Vec<_> = words.iter().map(|word| word.replacen('@', PREFIX, 1)).collect();
        self.server.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    async fn scan(&self) -> Vec<(RepairKind, String)> {
        let (mut cursor, mut repairs) = (ScanCursor::default(), Vec::new());
        loop {
            let scanned = self.queue.0.scan(cursor).await.expect("scanned");
            repairs.extend(scanned.repaired.into_iter().map(|repair| (repair.kind, repair.what)));
            match scanned.next {
                Some(next) => cursor = next,
                None => return repairs,
            }
        }
    }

    /// What one command breaks is found in one scan, and the next one finds nothing.
    async fn assert_repaired(&self, command: &[&str], expected: &[(RepairKind, &str)]) {
        self.break_with(command);
        let mut found = self.scan().await;
        found.sort();
        let expected: Vec<_> = expected.iter().map(|(kind, what)| (*kind, (*what).to_owned())).collect();
        assert_eq!(found, expected, "{command:?}");
        assert_eq!(self.scan().await, [], "once: {command:?}");
    }
}

fn of(number: u32, place: &str) -> String {
    format!("{} {place}", id(number))
}

#[tokio::test]
async fn what_is_missing_in_a_place_is_put_there() {
    let broken = Broken::begin().await;
    for (number, place) in
        [(SCHEDULED, "wait"), (RETRY, "wait"), (READY, "expiry"), (DONE, "ended:done"), (READY, "all")]
    {
        let what = of(number, &format!("in {place}"));
        let id = id(number).to_string();
        broken.assert_repaired(&["zrem", &format!("@{place}"), &id], &[(Placed, &what)]).await;
    }
    for (number, place) in [(READY, "waits:s"), (LEASED, "runs:s")] {
        let what = of(number, &format!("in {place}"));
        let id = id(number).to_string();
        broken.assert_repaired(&["srem", &format!("@{place}"), &id], &[(Placed, &what)]).await;
    }
    let ready = of(READY, "in ready:default:f");
    broken.assert_repaired(&["del", "@ready:default:f"], &[(Placed, &ready)]).await;
    broken.assert_repaired(&["zrem", "@ready", "default f"], &[(Placed, &ready)]).await;
    assert_eq!(broken.queue.claim().await.expect("claimed").len(), 1, "it can be claimed again");
}

#[tokio::test]
async fn a_lease_that_nobody_wrote_runs_out() {
    let broken = Broken::begin().await;
    let (what, leased) = (of(LEASED, "in leases"), id(LEASED).to_string());
    broken.assert_repaired(&["zadd", "@leases", "99999999999999", &leased], &[(Placed, &what)]).await;
    broken.assert_repaired(&["zrem", "@leases", &leased], &[(Placed, &what)]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let swept = broken.queue.0.sweep(5).await.expect("swept");
    assert_eq!(swept.returned, [id(LEASED)]);
    assert_eq!(broken.scan().await, []);
}

#[tokio::test]
async fn what_is_in_a_wrong_place_is_taken_out() {
    let broken = Broken::begin().await;
    let (done, ready) = (id(DONE).to_string(), id(READY).to_string());
    for place in ["wait", "leases", "expiry", "ended:dead"] {
        let what = of(DONE, &format!("from {place}"));
        broken
            .assert_repaired(&["zadd", &format!("@{place}"), "99999999999999", &done], &[(Displaced, &what)])
            .await;
    }
    for place in ["waits:s", "runs:s", "runs:other"] {
        let what = of(DONE, &format!("from {place}"));
        broken.assert_repaired(&["sadd", &format!("@{place}"), &done], &[(Displaced, &what)]).await;
    }
    let twice = of(READY, "from ready:default:f");
    let member = format!("000000000000000{ready}");
    broken.assert_repaired(&["zadd", "@ready:default:f", "0", &member], &[(Displaced, &twice)]).await;
    let elsewhere = of(READY, "from again:other:f");
    broken.assert_repaired(&["zadd", "@again:other:f", "0", &member], &[(Displaced, &elsewhere)]).await;
    // A task that is gone: its schedule would wait for it for ever.
    let gone = "01890000-0000-7000-8000-000000000000";
    broken.assert_repaired(&["sadd", "@runs:s", gone], &[(Displaced, &format!("{gone} from runs:s"))]).await;
    broken
        .assert_repaired(
            &["del", &format!("@task:{done}")],
            &[
                (Displaced, &of(DONE, "from all")),
                (Displaced, &of(DONE, "from ended:done")),
                (Displaced, &of(DONE, "from output")),
                (Counted, "default done: 0, not 1"),
            ],
        )
        .await;
}

#[tokio::test]
async fn counts_are_those_of_the_tasks() {
    let broken = Broken::begin().await;
    broken
        .assert_repaired(&["hincrby", "@counts", "leased:f", "3"], &[(Counted, "leased:f: 1, not 4")])
        .await;
    broken
        .assert_repaired(&["hset", "@counts", "gone ready", "2"], &[(Counted, "gone ready: 0, not 2")])
        .await;
    broken
        .assert_repaired(&["hset", "@counts", "default retry", "x"], &[(Counted, "default retry: 1, not x")])
        .await;
    broken
        .assert_repaired(&["hdel", "@counts", "default ready"], &[(Counted, "default ready: 1, not 0")])
        .await;
    let counts = broken.queue.0.queue_counts().await.expect("read");
    let counts = &counts[&"default".parse().expect("a name")].tasks;
    assert_eq!(counts.values().sum::<u64>(), 5, "{counts:?}");
}

#[tokio::test]
async fn a_task_that_waits_in_line_is_in_its_line_and_nowhere_else() {
    let broken = Broken::begin().await;
    let key: OrderKey = "key".parse().expect("a key");
    for number in 11..=13 {
        let ordered = NewTask { order: Some(Order::new(key.clone(), 1)), ..task(number) };
        broken.queue.0.enqueue(vec![ordered]).await.expect("enqueued");
    }
    broken.queue.claim().await.expect("claimed");
    assert_eq!(broken.scan().await, [], "one runs, two wait behind it");
    let found = broken.server.cli(&["keys", &format!("{PREFIX}line:*")]);
    let line = found.trim().strip_prefix(PREFIX).expect("one line");
    let [first, second, last] = [11, 12, 13].map(|number| id(number).to_string());
    for waits in [&first, &second, &last] {
        let expected = format!("{waits} in {line}");
        broken.assert_repaired(&["zrem", &format!("@{line}"), waits], &[(Placed, &expected)]).await;
    }
    let member = format!("7fff00000000000{last}");
    let expected = format!("{last} from ready:default:f");
    broken.assert_repaired(&["zadd", "@ready:default:f", "0", &member], &[(Displaced, &expected)]).await;
    let expected = format!("{} from {line}", id(DONE));
    broken
        .assert_repaired(
            &["zadd", &format!("@{line}"), "1", &id(DONE).to_string()],
            &[(Displaced, &expected)],
        )
        .await;
    assert_eq!(
        broken.queue.claim().await.expect("claimed"),
        [],
        "nobody was let in beside the one that runs"
    );
}

#[tokio::test]
async fn what_is_none_of_ours_is_set_aside_once_and_nobody_stumbles_over_it() {
    let broken = Broken::begin().await;
    broken.assert_repaired(&["hset", "@task:odd", "field", "value"], &[(SetAside, "odd")]).await;
    broken.assert_repaired(&["set", "@task:text", "value"], &[(SetAside, "text")]).await;
    broken.assert_repaired(&["set", "@again:default:f", "value"], &[(SetAside, "again:default:f")]).await;
    broken.assert_repaired(&["set", "@wait:", "value"], &[(SetAside, "wait:")]).await;
    assert_eq!(broken.queue.claim().await.expect("claimed").len(), 1, "claims go on");
    broken.break_with(&["set", &format!("@task:{}", id(SCHEDULED)), "scheduled"]);
    let found = broken.scan().await;
    assert!(found.contains(&(SetAside, id(SCHEDULED).to_string())), "{found:?}");
    assert!(found.contains(&(Displaced, of(SCHEDULED, "from wait"))), "{found:?}");
    assert_eq!(broken.scan().await, []);
}

#[tokio::test]
async fn a_large_queue_is_walked_in_pieces_and_counted_while_it_changes() {
    let server = Redis::start();
    let queue = TestQueue::open(settings(&server.url())).await;
    let enqueue = async |numbers: std::ops::Range<u32>| {
        queue.0.enqueue(numbers.map(task).collect()).await.expect("enqueued");
    };
    enqueue(0..3_000).await;
    let missing = id(1_234).to_string();
    server.cli(&["zrem", &format!("{PREFIX}all"), &missing]);
    server.cli(&["hincrby", &format!("{PREFIX}counts"), "default ready", "-7"]);
    let (mut cursor, mut repairs, mut pieces, mut next) = (ScanCursor::default(), Vec::new(), 0, 3_000);
    loop {
        let scanned = queue.0.scan(cursor).await.expect("scanned");
        repairs.extend(scanned.repaired.into_iter().map(|repair| repair.kind));
        let Some(on) = scanned.next else { break };
        (cursor, pieces) = (on, pieces + 1);
        enqueue(next..next + 3).await;
        next += 3;
        for claimed in
            queue.0.claim(&beatmesh_node::queue::Claimant::new("w"), 2, LONG).await.expect("claimed")
        {
            queue.complete(&claimed).await.expect("completed");
        }
    }
    assert!(pieces > 40, "in pieces: {pieces}");
    assert_eq!(repairs, [Placed, Counted]);
    let counts = queue.0.queue_counts().await.expect("read");
    let tasks = &counts[&"default".parse().expect("a name")].tasks;
    assert_eq!(tasks.values().sum::<u64>(), u64::from(next), "{tasks:?}");
    let done = server.cli(&["zcard", &format!("{PREFIX}ended:done")]);
    assert_eq!(tasks[&TaskState::Done].to_string(), done.trim());
}

/// In which order a scan meets tasks, each server throws dice for: so there are many of them.
#[tokio::test]
async fn nobody_is_let_in_beside_one_that_runs_and_is_missing_in_its_line() {
    let broken = Broken::begin().await;
    for number in 0..16 {
        let key: OrderKey = format!("key-{number}").parse().expect("a key");
        for of_key in [100 + number, 200 + number] {
            let ordered = NewTask { order: Some(Order::new(key.clone(), 1)), ..task(of_key) };
            broken.queue.0.enqueue(vec![ordered]).await.expect("enqueued");
        }
    }
    let claimed = broken.queue.claim().await.expect("claimed");
    for line in broken.server.cli(&["keys", &format!("{PREFIX}line:*")]).lines() {
        broken.server.cli(&["zremrangebyscore", line, "-1", "-1"]);
    }
    let found = broken.scan().await;
    assert!(found.len() == 16 && found.iter().all(|(kind, _)| *kind == Placed), "{found:?}");
    assert_eq!(broken.scan().await, []);
    assert_eq!(broken.queue.claim().await.expect("claimed"), [], "all lines are held by those that run");
    // Lines that are gone are made anew, and who waits in one in which nobody runs is let in.
    let runs = claimed.iter().find(|claimed| claimed.id == id(100)).expect("it runs");
    broken.queue.complete(runs).await.expect("completed");
    for line in broken.server.cli(&["keys", &format!("{PREFIX}line:*")]).lines() {
        broken.server.cli(&["del", line]);
    }
    let found = broken.scan().await;
    assert!(found.len() == 15 + 16 + 1 && found.iter().all(|(kind, _)| *kind == Placed), "{found:?}");
    assert_eq!(broken.scan().await, []);
    let next: Vec<_> = broken.queue.claim().await.expect("claimed").iter().map(|next| next.id).collect();
    assert_eq!(next, [id(200)]);
}
