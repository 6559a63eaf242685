//! A schedule's ledger, read over HTTP and checked: every due time once, none missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Client, SideFile, until, until_some};

/// Far longer than the few ticks that tests wait for take, also when the Beat has just died.
const TICKS_WITHIN: Duration = Duration::from_secs(20);

/// The same after a store was away: its way back, a busy machine, and what was missed.
const CAUGHT_UP: Duration = Duration::from_secs(40);

/// One due time, as the ledger has it.
#[derive(Clone, Debug)]
pub struct Tick {
    /// When it was due, in milliseconds since 1970.
    pub due: i64,
    /// `fired` or `skipped`.
    pub state: String,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// The task of a firing.
    pub task: Option<String>,
    /// Who committed it.
    pub node: String,
    /// Commit minus due.
    pub lateness: i64,
    /// Due times that this line stands for.
    pub count: i64,
}

/// The whole ledger of a schedule, oldest first.
///
/// # Panics
/// When it cannot be read.
pub async fn read(client: &Client, schedule: &str) -> Vec<Tick> {
    parse(&client.get(&format!("/v1/schedules/{schedule}/ticks?limit=10000")).await.ok().json())
}

fn parse(answer: &Value) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = answer["ticks"].as_array().expect("a list").iter().map(tick).collect();
    ticks.reverse();
    ticks
}

/// Waits until the ledger of a schedule has so many lines.
///
/// # Panics
/// When it has not in time.
pub async fn until_ticks(client: &Client, schedule: &str, count: usize) -> Vec<Tick> {
    let look = async || read(client, schedule).await;
    until(&format!("{schedule} has {count} ticks"), TICKS_WITHIN, look, |ticks| ticks.len() >= count).await
}

fn tick(line: &Value) -> Tick {
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    let number = |key: &str| line[key].as_i64().unwrap_or_else(|| panic!("{key} is missing: {line:#}"));
    Tick {
        due: time(&line["due"]),
        state: text("state").expect("every line has a state"),
        reason: text("reason"),
        task: text("task_id"),
        node: text("node").expect("every line has a node"),
        lateness: number("lateness_ms"),
        count: number("count"),
    }
}

/// An RFC 3339 time as milliseconds since 1970.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn time(text: &Value) -> i64 {
    let text = text.as_str().unwrap_or_else(|| panic!("{text} is no time"));
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_millisecond()
}

/// From when on due times are owed, as the answer to a schedule's creation, edit or resumption says. A due
/// time that was decided before the answer was written is behind it already.
///
/// # Panics
/// When the answer is not a schedule's.
#[must_use]
pub fn owed_since(answer: &Value) -> i64 {
    time(&answer["cursor"])
}

/// Asserts that the ledger holds every due time of a schedule that is due every `period` milliseconds,
/// from the first one after `since` to the last line, each fired exactly once and on time or late, never
/// early.
///
/// # Panics
/// When it does not.
pub fn assert_complete(ticks: &[Tick], since: i64, period: i64) {
    assert!(!ticks.is_empty(), "the ledger is empty");
    let first = (since.div_euclid(period) + 1) * period;
    assert!(ticks[0].due <= first, "due at {first} and not in the ledger, which begins with {:?}", ticks[0]);
    let skipped: Vec<_> = ticks.iter().filter(|tick| tick.state != "fired").collect();
    assert!(skipped.is_empty(), "skipped: {skipped:#?}");
    for tick in ticks {
        assert_eq!(tick.due.rem_euclid(period), 0, "nothing is due then: {tick:?}");
        assert_eq!(tick.count, 1, "a firing is one due time: {tick:?}");
        // The promise T3: nothing fires more than 50 ms early by the store's clock.
        assert!(tick.lateness >= -50, "fired early: {tick:?}");
    }
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].due - pair[0].due, period, "a gap or a repetition between {pair:#?}");
    }
    let tasks: BTreeSet<_> = ticks.iter().filter_map(|tick| tick.task.as_ref()).collect();
    assert_eq!(tasks.len(), ticks.len(), "every firing has a task of its own");
}

/// Milliseconds since 1970, by this machine's clock, which is that of every store of these tests.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    i64::try_from(now.as_millis()).expect("that is long")
}

/// Makes the schedule `tick`, due every second, whose function writes into the side file; what is missed is owed.
/// Answers from when on.
pub async fn start_ticking(client: &Client, side: &SideFile) -> i64 {
    client.deploy("note", &side.function(&recording(side))).await;
    let definition =
        json!({"cron": "* * * * * *", "function": "note", "misfire": "fire_all", "misfire_cap": 1000});
    owed_since(&client.put("/v1/schedules/tick", &definition).await.ok().json())
}

/// Waits until the ledger of a schedule reaches past now; a node that has no answer yet is asked again.
pub async fn caught_up(client: &Client, schedule: &str) -> Vec<Tick> {
    let since = now();
    until_some(&format!("the ledger of {schedule} has caught up"), CAUGHT_UP, async || {
        let path = format!("/v1/schedules/{schedule}/ticks?limit=10000");
        let answer = client.get(&path).await;
        if answer.status != 200 {
            return None;
        }
        let ticks = parse(&answer.json());
        ticks.last().is_some_and(|tick| tick.due >= since).then_some(ticks)
    })
    .await
}

/// Waits until the task of every tick has ended well.
///
/// # Panics
/// When one has not.
pub async fn all_executed(client: &Client, ticks: &[Tick]) {
    for tick in ticks {
        let record = client.finished(tick.task.as_deref().expect("fired")).await;
        assert_eq!(record["state"], "done", "{record:#}");
    }
}

/// The script of a function that writes `due attempt node` into the side file.
#[must_use]
pub fn recording(side: &SideFile) -> String {
    side.append("$BEATMESH_DUE $BEATMESH_ATTEMPT $BEATMESH_NODE")
}

/// Asserts that the function of every firing has run, once: a further run must be a further attempt of
/// the same task, after a lost lease, and stand in the task's record. Answers the number of such runs
/// and prints each.
///
/// # Panics
/// When one is missing or double.
pub async fn assert_executed(client: &Client, ticks: &[Tick], side: &SideFile) -> usize {
    let mut runs: BTreeMap<i64, Vec<(u64, String)>> = BTreeMap::new();
    for line in side.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [due, attempt, node] = words[..] else { panic!("a mixed line: {line}") };
        let (due, attempt) = (due.parse().expect("a due time"), attempt.parse().expect("an attempt"));
        runs.entry(due).or_default().push((attempt, node.to_owned()));
    }
    let mut again = 0;
    for tick in ticks {
        let due = tick.due;
        let runs = runs.remove(&due).unwrap_or_default();
        assert!(!runs.is_empty(), "fired but never executed: {tick:?}");
        if runs.len() == 1 {
            continue;
        }
        let task = tick.task.as_deref().expect("a firing has a task");
        let record = client.get(&format!("/v1/tasks/{task}")).await.ok().json();
        let attempts: BTreeSet<u64> = runs.iter().map(|(attempt, _)| *attempt).collect();
        assert_eq!(attempts.len(), runs.len(), "one attempt ran twice: {runs:?} of {record:#}");
        assert!(record["attempts"].as_u64() >= attempts.last().copied(), "{runs:?} of {record:#}");
        assert!(record["lost_leases"].as_u64() > Some(0), "no lease was lost: {runs:?} of {record:#}");
        println!("executed again after a lost lease: due {due}, (attempt, node) {runs:?}");
        again += runs.len() - 1;
    }
    let ours: BTreeSet<i64> = ticks.iter().map(|tick| tick.due).collect();
    let stray: Vec<_> = runs.keys().filter(|due| **due < ours.last().copied().unwrap_or(0)).collect();
    assert!(stray.is_empty(), "executed but not in the ledger: {stray:?}");
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(due: i64) -> Tick {
        let (state, task, node) = ("fired".to_owned(), Some(due.to_string()), "n".to_owned());
        Tick { due, state, reason: None, task, node, lateness: 3, count: 1 }
    }

    #[test]
    fn a_ledger_from_the_first_owed_due_time_on_is_complete() {
        let ticks = [2_000, 3_000].map(fired);
        assert_complete(&ticks, 1_000, 1_000);
        assert_complete(&ticks, 1_999, 1_000);
        assert_complete(&ticks, 2_000, 1_000);
    }

    #[test]
    #[should_panic(expected = "due at 2000 and not in the ledger")]
    fn a_due_time_that_is_missing_at_the_beginning_is_found() {
        assert_complete(&[3_000, 4_000].map(fired), 1_999, 1_000);
    }

    #[test]
    #[should_panic(expected = "a gap or a repetition")]
    fn a_due_time_that_is_missing_in_the_middle_is_found() {
        assert_complete(&[2_000, 4_000].map(fired), 1_999, 1_000);
    }
}
