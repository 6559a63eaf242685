//! Real processes on one file, killed in the middle of everything, and what is there afterwards
//! (T1, T2, Q1, Q2).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::schedule::{Overlap, Schedule};
use beatmesh_node::queue::task::{Completion, TaskId, TaskOutcome, TaskState};
use beatmesh_node::queue::tick::{ScheduleState, TickCommit, TickDecision, TickOutcome, Verdict};
use beatmesh_node::queue::{Claimant, TaskQueue};
use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::sql::SqlStore;
use bytes::Bytes;
use sqlx::Connection;
use tokio::task::JoinSet;

use crate::scratch::{Scratch, again, directory, number, open, stranger, task};

/// Says to the first process what was acknowledged, in one write, so that a line is whole or not there.
fn say(line: String) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).expect("the first process reads");
}

/// A process that does everything at once until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm() {
    let Some(dir) = directory() else { return };
    let store = open(&dir).await;
    say("up".to_owned());
    let mut lanes = JoinSet::new();
    for _ in 0..8 {
        lanes.spawn(enqueue(store.clone()));
    }
    for _ in 0..2 {
        lanes.spawn(work(store.clone()));
        lanes.spawn(fire(store.clone()));
    }
    lanes.join_all().await;
}

async fn enqueue(store: Arc<SqlStore>) {
    loop {
        let tasks = vec![task(), task()];
        let ids = [tasks[0].id, tasks[1].id];
        match store.enqueue(tasks).await {
            Ok(_) => say(format!("enqueued {} {}", ids[0], ids[1])),
            Err(error) => say(format!("error enqueue: {error}")),
        }
    }
}

async fn work(store: Arc<SqlStore>) {
    let node = format!("pid-{}", std::process::id());
    let who = Claimant { queues: vec!["default".parse().expect("a name")], ..Claimant::new(node) };
    loop {
        let claimed = match store.claim(&who, 4, Duration::from_secs(600)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                say(format!("error claim: {error}"));
                continue;
            }
        };
        for task in claimed {
            say(format!("claimed {} {}", task.id, task.attempt.0));
            let outcome =
                TaskOutcome::Done { output: Bytes::from_static(b"ok"), content_type: String::new() };
            match store.complete(task.id, task.attempt, outcome, String::new()).await {
                Ok(Completion::Recorded(TaskState::Done)) => say(format!("done {}", task.id)),
                Ok(other) => say(format!("odd completion {} {other:?}", task.id)),
                Err(error) => say(format!("error complete: {error}")),
            }
        }
    }
}

async fn fire(store: Arc<SqlStore>) {
    let Ok(mut states) = store.schedule_states().await else { return };
    let mut state = states.remove(0);
    loop {
        match store.commit_tick(next(&state)).await {
            Ok(TickOutcome::Committed { fired }) => {
                state.cursor.0 += 1;
                say(format!("fired {} {}", state.cursor.0, fired[0]));
            }
            Ok(TickOutcome::Moved(Some(now))) => state = now,
            Ok(TickOutcome::Moved(None)) => say("odd: the schedule is gone".to_owned()),
            Ok(TickOutcome::TooEarly { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => say(format!("error tick: {error}")),
        }
    }
}

fn next(state: &ScheduleState) -> TickCommit {
    let due = UnixMs(state.cursor.0 + 1);
    TickCommit {
        schedule: state.schedule.clone(),
        revision: state.revision,
        expected_cursor: state.cursor,
        decisions: vec![TickDecision { due, from: due, count: 1, verdict: Verdict::Fire }],
        function: "f".parse().expect("a name"),
        queue: "ticks".parse().expect("a name"),
        input: Bytes::new(),
        retries: 0,
        overlap: Overlap::Allow,
        order: None,
        node: format!("pid-{}", std::process::id()),
    }
}

/// What all processes were told, over all rounds.
#[derive(Default)]
struct Told {
    enqueued: BTreeSet<String>,
    claimed: BTreeMap<(String, String), usize>,
    done: BTreeMap<String, usize>,
    fired: BTreeMap<String, usize>,
    errors: BTreeMap<String, usize>,
    odd: Vec<String>,
}

impl Told {
    fn hear(&mut self, output: &[u8]) {
        let text = String::from_utf8_lossy(output);
        // What follows the last line break was cut off by the kill.
        for line in text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["enqueued", one, other] => self.enqueued.extend([one.to_owned(), other.to_owned()]),
                ["claimed", id, attempt] => {
                    *self.claimed.entry((id.to_owned(), attempt.to_owned())).or_default() += 1;
                }
                ["done", id] => *self.done.entry(id.to_owned()).or_default() += 1,
                ["fired", due, _] => *self.fired.entry(due.to_owned()).or_default() += 1,
                ["error", ..] => *self.errors.entry(line.to_owned()).or_default() += 1,
                _ if line.starts_with("odd") => self.odd.push(line.to_owned()),
                _ => {}
            }
        }
    }
}

async fn make_schedule(dir: &Path) {
    let store = open(dir).await;
    let f = serde_json::json!({"runtime": "builtin", "handler": "noop"});
    let function = serde_json::from_value(f).expect("a function");
    store.put_function(&"f".parse().expect("a name"), &function, None).await.expect("stored");
    let s = serde_json::json!({"cron": "* * * * * *", "function": "f"});
    let schedule: Schedule = serde_json::from_value(s).expect("a schedule");
    store.put_schedule(&"s".parse().expect("a name"), &schedule, None).await.expect("stored");
    store.close().await;
}

/// Lets the processes rage, then kills one after the other.
fn rage(dir: &Path, processes: usize, told: &mut Told) {
    let mut children: Vec<Child> =
        (0..processes).map(|_| again("processes::storm", dir).spawn().expect("started")).collect();
    let mut readers = Vec::new();
    for child in &mut children {
        let mut output = child.stdout.take().expect("piped");
        readers.push(std::thread::Builder::new().spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut output, &mut bytes).expect("read");
            bytes
        }));
    }
    for (n, child) in children.iter_mut().enumerate() {
        // In the middle of something, wherever that is; not for an outcome.
        std::thread::sleep(Duration::from_millis(700 + 37 * n as u64));
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    for reader in readers {
        told.hear(&reader.expect("started").join().expect("read"));
    }
}

async fn check(dir: &Path, told: &Told) {
    let store = open(dir).await;
    let id = |text: &str| text.parse::<TaskId>().expect("an id");
    for text in &told.enqueued {
        assert!(store.task(id(text)).await.expect("read").is_some(), "acknowledged, and not there: {text}");
    }
    for (text, times) in &told.done {
        assert_eq!(*times, 1, "recorded twice: {text}");
        assert_eq!(store.task(id(text)).await.expect("read").expect("there").state, TaskState::Done);
    }
    for (claim, times) in &told.claimed {
        assert_eq!(*times, 1, "one attempt, two workers: {claim:?}");
    }
    for (due, times) in &told.fired {
        assert_eq!(*times, 1, "one due time, two firings: {due}");
    }
    assert!(told.odd.is_empty(), "{:?}", told.odd);
    store.close().await;
    drop(store);

    let mut other = stranger(dir).await;
    let mut ask = async |query: &str| number(&mut other, query).await;
    assert_eq!(ask("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'").await, 0);
    let cursor = ask("SELECT due_up_to FROM schedule_states").await;
    assert_eq!(
        cursor,
        ask("SELECT MAX(due) FROM ticks").await,
        "the cursor is the greatest decided due time"
    );
    let lines = ask("SELECT COUNT(*) FROM ticks").await;
    assert_eq!(ask("SELECT MAX(due) - MIN(due) + 1 FROM ticks").await, lines, "every one is in the ledger");
    assert!(lines >= told.fired.len() as i64);
    let orphans = "SELECT COUNT(*) FROM ticks WHERE task NOT IN (SELECT id FROM tasks)";
    assert_eq!(ask(orphans).await, 0, "fired, and no task");
    let strays = "SELECT COUNT(*) FROM tasks WHERE schedule = 's' AND id NOT IN (SELECT task FROM ticks)";
    assert_eq!(ask(strays).await, 0, "a task, and not fired");
    let halves = "SELECT COUNT(*) FROM tasks WHERE schedule IS NULL";
    assert_eq!(ask(halves).await % 2, 0, "half a batch");
    for due in told.fired.keys() {
        let line = format!("SELECT COUNT(*) FROM ticks WHERE due = {due} AND task IS NOT NULL");
        assert_eq!(ask(&line).await, 1, "told, and not in the ledger");
    }
    other.close().await.expect("closed");
}

#[tokio::test]
async fn a_process_killed_again_and_again_loses_nothing_that_it_acknowledged() {
    let scratch = Scratch::new();
    make_schedule(&scratch.0).await;
    let mut told = Told::default();
    for _ in 0..4 {
        rage(&scratch.0, 1, &mut told);
        check(&scratch.0, &told).await;
    }
    report("one process, four kills", &told);
    assert!(told.errors.is_empty(), "alone, it has nobody to wait for: {:?}", told.errors);
}

#[tokio::test]
async fn processes_that_share_a_file_never_do_the_same_thing_twice() {
    let scratch = Scratch::new();
    make_schedule(&scratch.0).await;
    let mut told = Told::default();
    for _ in 0..2 {
        rage(&scratch.0, 3, &mut told);
        check(&scratch.0, &told).await;
    }
    report("three processes, two kills each", &told);
}

fn report(what: &str, told: &Told) {
    println!(
        "{what}: {} enqueued, {} claimed, {} done, {} fired, errors {:?}",
        told.enqueued.len(),
        told.claimed.len(),
        told.done.len(),
        told.fired.len(),
        told.errors
    );
    assert!(told.enqueued.len() > 20 && told.done.len() > 5 && told.fired.len() > 5, "hardly anything ran");
}
