//! What is done to a group, and what is measured of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use beatmesh_tests::{Signal, loopback, processes};

use crate::board::{Sight, State};
use crate::group::Group;

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Loops that do nothing but take time from the agents.
const BUSY_LOOPS: usize = 4;

/// For so long after that, verdicts of it count as made on waking. The slowest profile judges within.
const WATCHED: Duration = Duration::from_secs(15);

/// Between two trials: joins have been told to all.
const SETTLE: Duration = Duration::from_secs(1);

/// A group is quiet so long after it was formed.
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// All figures of one system with so many nodes. Times are microseconds.
#[derive(Debug, Default)]
pub struct Measured {
    /// From `kill -9` until the last of the others holds it for dead.
    pub kills: Vec<i64>,
    /// From the signal until the last of the others knows that it left.
    pub leaves: Vec<i64>,
    pub stops: Vec<Stops>,
    /// Verdicts of anybody against members that ran all the time, in all trials.
    pub false_deaths: usize,
    pub busy: Option<Busy>,
    pub quiet: Option<Quiet>,
}

/// Stops of one length.
#[derive(Debug)]
pub struct Stops {
    pub lasting: Duration,
    /// From SIGCONT until all hold all for alive, for good.
    pub wakings: Vec<i64>,
    /// Stops in which anybody held the stopped one for dead. Who judges more slowly than that has less to undo.
    pub missed: usize,
    /// Members that those who woke held for dead.
    pub dead_to_the_woken: usize,
}

/// Some time beside busy loops.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    pub lasting: Duration,
    /// Verdicts against anybody: all run.
    pub deaths: usize,
    /// Probes and false suspicions of all nodes meanwhile, for who counts them.
    pub probes: Option<(f64, f64)>,
}

/// What a node costs when nothing happens; means of all nodes.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// Loopback frames with their headers, per node and second. None when others use the same loopback.
    pub frame_bytes: Option<f64>,
    /// As the nodes count it: UDP payload.
    pub payload_bytes: Option<f64>,
    pub datagrams: Option<f64>,
    /// Percent of one core.
    pub cpu: f64,
    /// What one tick of one node would make of that.
    pub cpu_resolution: f64,
    pub resident: f64,
}

fn micros(since: Instant, at: Instant) -> i64 {
    i64::try_from(at.saturating_duration_since(since).as_micros()).unwrap_or(i64::MAX)
}

/// Kills and goodbyes of one after the other.
pub async fn kill_and_leave(group: &mut Group, trials: usize, measured: &mut Measured) -> Result<()> {
    for trial in 0..trials {
        let took = goes(group, trial, Signal::Kill, measured).await?;
        measured.kills.push(took);
    }
    for trial in 0..trials {
        let took = goes(group, trial, Signal::Terminate, measured).await?;
        measured.leaves.push(took);
    }
    Ok(())
}

/// Stops of one after the other, of one length.
pub async fn stop_and_wake(
    group: &Group,
    trials: usize,
    lasting: Duration,
    false_deaths: &mut usize,
) -> Result<Stops> {
    let mut stops = Stops { lasting, wakings: Vec::new(), missed: 0, dead_to_the_woken: 0 };
    for trial in 0..trials {
        *false_deaths += stop(group, trial, &mut stops).await?;
    }
    Ok(stops)
}

/// One goes, by a kill or with a goodbye; answers when the last of the others knew. It is back when this returns.
async fn goes(group: &mut Group, trial: usize, by: Signal, measured: &mut Measured) -> Result<i64> {
    let (victim, count) = (trial % group.len(), group.len());
    // At another phase of the period of probes each time.
    tokio::time::sleep(SETTLE + Duration::from_millis(trial as u64 * 137 % 1_000)).await;
    let begin = Instant::now();
    match by {
        Signal::Kill => group.signal(victim, Signal::Kill),
        _ => group.ask_to_leave(victim),
    }
    let is_known = group
        .board
        .until(PATIENCE, |board| {
            let mut views = board.views_of(victim, count).into_iter();
            views.all(|state| matches!(state, Some(State::Dead | State::Left)))
        })
        .await;
    ensure!(is_known, "{} has gone, and not all know: {:?}", victim + 1, group.board.views_of(victim, count));
    let seen = group.board.since(begin);
    let of_it = seen.iter().filter(|sight| sight.subject == victim && sight.observer != victim);
    let last = of_it.filter(|sight| sight.state != State::Alive).map(|sight| sight.at).max();
    let took = micros(begin, last.unwrap_or(begin));
    group.restart(victim).await?;
    let others = |sight: &Sight| sight.subject != victim && sight.observer != victim;
    let seen = group.board.since(begin);
    measured.false_deaths += seen.iter().filter(|s| others(s) && s.state == State::Dead).count();
    Ok(took)
}

/// One stands still and goes on. Answers how often one of the others held another one of them for dead.
async fn stop(group: &Group, trial: usize, stops: &mut Stops) -> Result<usize> {
    let (victim, count) = (trial % group.len(), group.len());
    tokio::time::sleep(SETTLE + Duration::from_millis(trial as u64 * 137 % 1_000)).await;
    let begin = Instant::now();
    group.signal(victim, Signal::Stop);
    tokio::time::sleep_until((begin + stops.lasting).into()).await;
    let woken = Instant::now();
    group.signal(victim, Signal::Continue);
    tokio::time::sleep_until((woken + WATCHED).into()).await;
    let is_whole = group.board.until(PATIENCE, |board| board.is_whole(count)).await;
    ensure!(is_whole, "{} was stopped, and is not back: {:?}", victim + 1, group.board);
    let seen = group.board.since(begin);
    let back = seen.iter().filter(|sight| {
        sight.at >= woken && sight.state == State::Alive && sight.previous != Some(State::Alive)
    });
    // Whoever was not missed is back at once.
    stops.wakings.push(back.map(|sight| micros(woken, sight.at)).max().unwrap_or(0));
    let is_missed = seen.iter().any(|sight| sight.state == State::Dead && sight.subject == victim);
    stops.missed += usize::from(is_missed);
    let deaths = seen.iter().filter(|sight| sight.state == State::Dead && sight.subject != victim);
    let own = deaths.clone().filter(|sight| sight.observer == victim).count();
    stops.dead_to_the_woken += own;
    Ok(deaths.filter(|sight| sight.observer != victim).count())
}

/// For so long others take the machine's time: whoever is held for dead meanwhile is not.
pub async fn be_busy(group: &Group, lasting: Duration) -> Result<Busy> {
    let over = Arc::new(AtomicBool::new(false));
    let loops = (0..BUSY_LOOPS).map(|_| {
        let over = over.clone();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    });
    let loops: Vec<_> = loops.collect();
    let (counted, begin) = (group.probes().await?, Instant::now());
    tokio::time::sleep_until((begin + lasting).into()).await;
    let probes = counted.zip(group.probes().await?);
    over.store(true, Ordering::Relaxed);
    loops.into_iter().for_each(|busy| drop(busy.join()));
    // Who was suspected at the end has its time to refute.
    tokio::time::sleep(WATCHED).await;
    let deaths = group.board.since(begin).iter().filter(|sight| sight.state == State::Dead).count();
    let probes = probes.map(|(before, after)| (after.0 - before.0, after.1 - before.1));
    Ok(Busy { lasting, deaths, probes })
}

/// Nothing happens for so long. `is_alone`: nobody else uses this loopback.
pub async fn be_quiet(group: &Group, lasting: Duration, is_alone: bool) -> Result<Quiet> {
    tokio::time::sleep(QUIET_AFTER).await;
    let (nodes, pids) = (group.len() as f64, (0..group.len()).map(|index| group.pid(index)));
    let ticks = || pids.clone().filter_map(processes::ticks).sum::<u64>();
    let (sent, begin) = (group.sent().await?, Instant::now());
    let (frames, used) = (loopback::bytes(), ticks());
    tokio::time::sleep_until((begin + lasting).into()).await;
    let (frames_after, used_after, seconds) = (loopback::bytes(), ticks(), begin.elapsed().as_secs_f64());
    let each = |sum: f64| sum / nodes / seconds;
    let sent = sent.zip(group.sent().await?);
    let tick = 100.0 / processes::ticks_per_second() as f64;
    let frames = frames.zip(frames_after).filter(|_| is_alone);
    let resident: u64 = pids.clone().filter_map(processes::resident).sum();
    Ok(Quiet {
        frame_bytes: frames.map(|(before, after)| each((after - before) as f64)),
        payload_bytes: sent.map(|(before, after)| each(after.0 - before.0)),
        datagrams: sent.map(|(before, after)| each(after.1 - before.1)),
        cpu: each((used_after - used) as f64 * tick),
        cpu_resolution: tick / seconds,
        resident: resident as f64 / nodes,
    })
}
