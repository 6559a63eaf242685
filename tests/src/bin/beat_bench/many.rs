//! Many schedules, many of them due each second, one Beat: how late they are, and what that costs its process.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use beatmesh_tests::servers::Redis;
use beatmesh_tests::side_file::builtin;
use beatmesh_tests::{Client, Node, Scratch, ledger, processes, until};
use futures_util::StreamExt;
use serde_json::json;

use crate::ground::{Server, StoreKind, lone_node};
use crate::report::Report;
use crate::{Options, progress};

/// Schedules that are put in at the same time.
const AT_ONCE: usize = 128;

/// A store that is asked for too much at once answers 503; whoever is told so comes back.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// The Beat knows all of them and fires them regularly: until then nothing is measured.
const SETTLED: Duration = Duration::from_secs(10);

/// Lines of the ledger that are read at once: Redis serves nobody else meanwhile.
const PIECE: usize = 1_000;

/// Who is due when. At each second of the minute `each_minute` schedules are due every minute, and twice
/// `each_second_minute` every other minute, half of them in even ones: so as many are due at one second as at any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    each_minute: u32,
    each_second_minute: u32,
}

impl Shape {
    /// As the command line says.
    ///
    /// # Errors
    /// Every schedule would have to be due more often than every minute, or less often than every two.
    pub fn of(options: &Options) -> Result<Self> {
        let (schedules, due) = (options.schedules, options.due);
        ensure!(
            due > 0 && (60 * due..=120 * due).contains(&schedules),
            "--schedules {schedules} --due {due}: each schedule is due every one or two minutes, so there must be 60 to 120 \
             times as many as are due each second"
        );
        // each_minute + each_second_minute = due, 60 each_minute + 120 each_second_minute = schedules.
        let each_minute = (120 * due - schedules) / 60;
        Ok(Self { each_minute, each_second_minute: due - each_minute })
    }

    fn due(self) -> u32 {
        self.each_minute + self.each_second_minute
    }

    /// Names and cron texts.
    fn schedules(self) -> impl Iterator<Item = (String, String)> {
        (0..60).flat_map(move |second| {
            let every = [
                ("*", self.each_minute),
                ("*/2", self.each_second_minute),
                ("1-59/2", self.each_second_minute),
            ];
            every.into_iter().enumerate().flat_map(move |(kind, (minute, count))| {
                let cron = format!("{second} {minute} * * * *");
                (0..count).map(move |number| (format!("s{second}-{kind}-{number}"), cron.clone()))
            })
        })
    }
}

/// What one run has shown.
struct Run {
    lateness: Vec<i64>,
    cpu: f64,
    resident: f64,
    deployed: f64,
    missing: usize,
}

/// Measures some runs.
///
/// # Errors
/// The options do not fit.
pub async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let shape = Shape::of(options)?;
    let what = format!("{} schedules, {} due each second", shape.schedules().count(), shape.due());
    let mut runs = Vec::new();
    for run in 0..options.runs {
        progress(format!("{what}: run {} of {}", run + 1, options.runs));
        runs.push(one(options, shape).await);
    }
    let of = |figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let lateness: Vec<i64> = runs.iter().flat_map(|run| run.lateness.iter().copied()).collect();
    report.times(format!("{what}: lateness"), "p99 <= 50 ms", &lateness);
    report.runs(
        format!("{what}: lateness p99 of each run"),
        "<= 50",
        "ms",
        &of(|run| beatmesh_tests::figures::percentile(&run.lateness, 99.0) as f64),
    );
    report.runs(format!("{what}: CPU of the Beat's process"), "<= 50", "% of a core", &of(|run| run.cpu));
    report.runs(
        format!("{what}: memory of the Beat's process"),
        "<= 300",
        "MB",
        &of(|run| run.resident / 1e6),
    );
    report.runs(format!("{what}: put in over HTTP"), "", "s", &of(|run| run.deployed));
    let missing = runs.iter().map(|run| run.missing).sum();
    report.count(format!("{what}: due times that were not fired"), "0", missing, lateness.len() + missing);
    Ok(())
}

async fn one(options: &Options, shape: Shape) -> Run {
    let (dir, server) = (Scratch::new(), Server::start(StoreKind::Redis));
    let Server::Redis(redis) = &server else { unreachable!("that was asked for") };
    let beat = lone_node(&server, &dir, "beat", "server,beat").start();
    // Whoever runs what is fired is another process, as in a mesh of some size.
    let worker = lone_node(&server, &dir, "worker", "worker").start();
    let standbys = (1..=options.standbys)
        .map(|number| lone_node(&server, &dir, &format!("standby-{number}"), "beat").start());
    let standbys: Vec<Node> = standbys.collect();
    let client = beat.client();
    until(
        "the Beat is the one to be measured",
        SETTLED,
        async || beat.view().await,
        |view| view["beat"] == "beat" || options.standbys > 0,
    )
    .await;
    client.deploy("noop", &builtin("noop")).await;
    let begin = Instant::now();
    put_all(&client, shape).await;
    let deployed = begin.elapsed().as_secs_f64();
    progress(format!("  put in within {deployed:.1} s"));
    let measured = beat_of(&beat, &standbys).await;
    tokio::time::sleep(SETTLED).await;
    // Between two seconds, so that all of one second are counted or none.
    let from = (ledger::now().div_euclid(1_000) + 1) * 1_000;
    let lasting = Duration::from_secs(options.seconds.into());
    sleep_until(from - 200).await;
    let (used, begin) = (processes::ticks(measured), Instant::now());
    tokio::time::sleep(lasting).await;
    let used = processes::ticks(measured).zip(used).map(|(after, before)| after - before);
    let seconds = begin.elapsed().as_secs_f64();
    let resident = processes::resident(measured).expect("it runs");
    // The last ones have their time to be late in.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let lateness = lateness(redis, from, from + i64::from(options.seconds) * 1_000);
    let expected = shape.due() as usize * usize::from(options.seconds);
    drop(worker);
    Run {
        missing: expected.saturating_sub(lateness.len()),
        lateness,
        cpu: used.expect("it runs") as f64 / processes::ticks_per_second() as f64 / seconds * 100.0,
        resident: resident as f64,
        deployed,
    }
}

/// The process of whoever is the Beat.
async fn beat_of(beat: &Node, standbys: &[Node]) -> i32 {
    let view = beat.view().await;
    let standby = standbys.iter().find(|standby| view["beat"] == standby.name());
    standby.unwrap_or(beat).pid()
}

async fn put_all(client: &Client, shape: Shape) {
    let begin = Instant::now();
    let making = shape.schedules().enumerate().map(|(number, (name, cron))| async move {
        let definition = json!({"cron": cron, "function": "noop"});
        let path = format!("/v1/schedules/{name}");
        let put = async || client.put(&path, &definition).await;
        until("it is put in", TAKEN_WITHIN, put, |answer| answer.status != 503).await.ok();
        if (number + 1) % 10_000 == 0 {
            progress(format!("  {} are put in after {:.1?}", number + 1, begin.elapsed()));
        }
    });
    futures_util::stream::iter(making).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn sleep_until(moment: i64) {
    let left = u64::try_from(moment - ledger::now()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(left)).await;
}

/// Commit minus due of everything that was due in `[from, until)`, from the queue's own record of all ledgers: a line is
/// `SCHEDULE DUE`, its score the time of the commit.
fn lateness(redis: &Redis, from: i64, until: i64) -> Vec<i64> {
    let (mut found, mut offset) = (Vec::new(), 0_usize);
    loop {
        let (least, at, piece) = (from.to_string(), offset.to_string(), PIECE.to_string());
        let lines = ["{beatmesh:beatmesh}:lines", &least, "+inf", "withscores", "limit", &at, &piece];
        let said = redis.cli(&[&["zrangebyscore"], lines.as_slice()].concat());
        let lines: Vec<&str> = said.lines().collect();
        for pair in lines.chunks_exact(2) {
            let due = pair[0].rsplit(' ').next().and_then(|due| due.parse::<i64>().ok()).expect("a due time");
            if (from..until).contains(&due) {
                found.push(pair[1].parse::<i64>().expect("a time") - due);
            }
        }
        if lines.len() < 2 * PIECE {
            return found;
        }
        offset += PIECE;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn as_many_schedules_are_due_at_each_second_as_was_asked_for() {
        let shape = Shape { each_minute: 333, each_second_minute: 667 };
        let mut due: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let mut names = std::collections::BTreeSet::new();
        for (name, cron) in shape.schedules() {
            let words: Vec<&str> = cron.split(' ').collect();
            let second = words[0].parse().unwrap();
            for minute in 0..2 {
                let is_due = words[1] == "*" || (words[1] == "*/2") == (minute == 0);
                *due.entry((minute, second)).or_default() += u32::from(is_due);
            }
            assert!(names.insert(name));
        }
        assert_eq!(due.len(), 120);
        assert!(due.values().all(|count| *count == 1_000), "{due:?}");
        assert_eq!(names.len(), 100_020);
    }
}
