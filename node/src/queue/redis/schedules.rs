//! Fences and ticks: where a schedule stands, and the one step on which "never twice" rests.

use std::sync::Arc;

use beatmesh_mesh::env::UnixMs;
use redis::Value;

use super::RedisQueue;
use super::batch::Carry;
use super::codec::{self, Standing, list, number, text};
use super::error::odd;
use super::link::Link;
use super::scripts;
use super::tasks::Args;
use crate::beat::fence::{Edit, Fence};
use crate::catalogue::entry::ScheduleEntry;
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Overlap;
use crate::queue::StoreError;
use crate::queue::tick::{EARLIEST_MS, ScheduleState, TickCommit, TickOutcome, TickRecord, Verdict};

/// How often a fence is computed anew because the schedule moved meanwhile. After a few times it is held still; then
/// only other edits move it.
const MOST_TRIES: usize = 64;
const TRIES_BESIDE_TICKS: usize = 3;

impl RedisQueue {
    /// What an edit gives up follows from cron texts, which scripts cannot read: so it is computed here and written
    /// if the schedule has not moved meanwhile.
    pub(super) async fn write_fence(
        &self,
        schedule: &ScheduleName,
        revision: u64,
        after: Option<&ScheduleEntry>,
    ) -> Result<(), StoreError> {
        for tries in 0..MOST_TRIES {
            if tries == TRIES_BESIDE_TICKS {
                let mut args = Args::default();
                args.add(schedule.to_string());
                args.number(revision);
                self.durable.run(&scripts::CLOSE, &args.slices(), false).await?;
            }
            let answer = self.durable.run(&scripts::STANDING, &[schedule.as_str().as_bytes()], false).await?;
            let Some([now, found]) = list(&answer) else { return Err(odd("standing")) };
            let now = UnixMs(number(now).ok_or_else(|| odd("standing"))?);
            let found = text(found).map(ToOwned::to_owned);
            let standing = match &found {
                Some(text) => Some(read(schedule, text)?),
                None if after.is_none() => return Ok(()),
                None => None,
            };
            let (state, before) = standing.map(|Standing { state, owes }| (state, owes)).unzip();
            if state.as_ref().is_some_and(|state| state.revision >= revision) {
                // Perhaps by another caller, who still waits for its confirmation: so does this one.
                self.durable.run(&scripts::STANDING, &[schedule.as_str().as_bytes()], true).await?;
                return Ok(());
            }
            let before = before.flatten();
            let edit = Edit { schedule, revision, before, after };
            let Fence { given_up, state: next } = edit.fence(state.as_ref(), now);
            let times = after.map(|after| after.definition.times());
            let line = given_up.zip(state).map(|(run, state)| TickRecord {
                due: run.due,
                from: run.from,
                count: run.count,
                revision: state.revision,
                skipped: match run.verdict {
                    Verdict::Fire => None,
                    Verdict::Skip(reason) => Some(reason.as_str().to_owned()),
                },
                task: None,
                committed_at: now,
                node: String::new(),
            });
            let mut args = Args::default();
            args.add(schedule.to_string());
            args.add(found.unwrap_or_default());
            args.add(codec::standing(&next, times.as_ref()));
            args.add(line.as_ref().map(|line| line.due.0.to_string()).unwrap_or_default());
            args.add(line.as_ref().map(codec::line).unwrap_or_default());
            let answer = self.durable.run(&scripts::FENCE, &args.slices(), true).await?;
            match list(&answer).and_then(|answer| number(answer.first()?)) {
                Some(1) => return Ok(()),
                Some(_) => {}
                None => return Err(odd("fence")),
            }
        }
        Err(StoreError::Unavailable(format!("schedule `{schedule}` moves too fast to be edited")))
    }

    /// Of a thousand schedules that are due at once each has a commit of its own; they go together.
    pub(super) async fn commit(&self, commit: TickCommit) -> Result<TickOutcome, StoreError> {
        let bytes = commit.decisions.len() * (commit.input.len() + 256);
        self.ticks.run(commit, bytes).await?
    }
}

/// Carries commits; a schedule whose values are broken is nobody else's trouble.
pub(super) fn carry_ticks(link: Arc<Link>) -> Carry<TickCommit, Result<TickOutcome, StoreError>> {
    Box::new(move |commits| {
        let link = link.clone();
        Box::pin(async move {
            let mut args = Args::default();
            for commit in &commits {
                args.number(ARGS_OF_COMMIT + ARGS_OF_DECISION * commit.decisions.len());
                args.commit(commit);
            }
            let answer = link.run(&scripts::TICK, &args.slices(), true).await?;
            let answers = list(&answer).ok_or_else(|| odd("tick"))?;
            let read = commits.iter().zip(answers).map(|(commit, answer)| outcome(&commit.schedule, answer));
            Ok(read.collect())
        })
    })
}

/// What `tick.lua` is given.
const ARGS_OF_COMMIT: usize = 6;
const ARGS_OF_DECISION: usize = 7;

impl Args {
    fn commit(&mut self, commit: &TickCommit) {
        let args = self;
        args.add(commit.schedule.to_string());
        args.number(commit.revision);
        args.number(commit.expected_cursor.0);
        args.add(commit.node.clone());
        args.add(match commit.overlap {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::QueueOne => "queue_one",
        });
        args.number(EARLIEST_MS);
        for decision in &commit.decisions {
            args.number(decision.due.0);
            args.number(decision.from.0);
            args.number(decision.count);
            match decision.verdict {
                Verdict::Fire => {
                    let task = commit.firing(decision.due);
                    args.add("");
                    args.add(task.id.to_string());
                    args.add(codec::definition(&task));
                    args.add(task.input);
                }
                Verdict::Skip(reason) => {
                    args.add(reason.as_str());
                    (0..3).for_each(|_| args.add(""));
                }
            }
        }
    }
}

fn outcome(schedule: &ScheduleName, answer: &Value) -> Result<TickOutcome, StoreError> {
    let (kind, rest) = list(answer).and_then(<[Value]>::split_first).ok_or_else(|| odd("tick"))?;
    match (text(kind), rest) {
        // What Lua ends a list with, it does not send.
        (Some("moved"), [] | [Value::Nil]) => Ok(TickOutcome::Moved(None)),
        (Some("moved"), [standing]) => {
            let standing = read(schedule, text(standing).ok_or_else(|| odd("tick"))?)?;
            Ok(TickOutcome::Moved(Some(standing.state)))
        }
        (Some("early"), [now]) => {
            let store_now = UnixMs(number(now).ok_or_else(|| odd("tick"))?);
            Ok(TickOutcome::TooEarly { store_now })
        }
        (Some("broken"), [why]) => {
            let why = text(why).unwrap_or("an error").to_owned();
            Err(StoreError::Unknown(format!("a value of schedule `{schedule}` stands in the way: {why}")))
        }
        (Some("ok"), fired) => {
            let fired: Option<_> = fired.iter().map(|id| text(id)?.parse().ok()).collect();
            Ok(TickOutcome::Committed { fired: fired.ok_or_else(|| odd("tick"))? })
        }
        _ => Err(odd("tick")),
    }
}

fn read(schedule: &ScheduleName, standing: &str) -> Result<Standing, StoreError> {
    codec::read_standing(schedule.clone(), standing.as_bytes()).ok_or_else(|| {
        StoreError::Refused(format!("where schedule `{schedule}` stands cannot be read: `{standing}`"))
    })
}

impl RedisQueue {
    pub(super) async fn read_schedule(
        &self,
        schedule: &ScheduleName,
    ) -> Result<Option<ScheduleState>, StoreError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.keys.named("schedules")).arg(schedule.as_str());
        match self.quick.read(&get).await? {
            Value::Nil => Ok(None),
            found => Ok(Some(read(schedule, text(&found).ok_or_else(|| odd("HGET"))?)?.state)),
        }
    }

    /// As they stand, not all at one moment: whoever commits from one is checked against the store.
    pub(super) async fn read_schedules(&self) -> Result<Vec<ScheduleState>, StoreError> {
        let mut states = std::collections::BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(self.keys.named("schedules")).arg(&cursor).arg("COUNT").arg(1_000);
            let answer = self.quick.read(&scan).await?;
            let Some([next, items]) = list(&answer) else { return Err(odd("HSCAN")) };
            for pair in list(items).ok_or_else(|| odd("HSCAN"))?.chunks_exact(2) {
                let read = || codec::read_standing(text(&pair[0])?.parse().ok()?, codec::bytes(&pair[1])?);
                match read() {
                    Some(Standing { state, .. }) => {
                        states.insert(state.schedule.clone(), state);
                    }
                    None => {
                        tracing::error!(
                            schedule = text(&pair[0]).unwrap_or("?"),
                            "where a schedule stands cannot be read; it is not fired"
                        );
                    }
                }
            }
            cursor = text(next).ok_or_else(|| odd("HSCAN"))?.to_owned();
            if cursor == "0" {
                return Ok(states.into_values().collect());
            }
        }
    }

    pub(super) async fn read_ticks(
        &self,
        schedule: &ScheduleName,
        since: UnixMs,
        until: UnixMs,
        limit: u32,
    ) -> Result<Vec<TickRecord>, StoreError> {
        // Scores are doubles: beyond 2^53 there are no due times.
        let exact = -(1_i64 << 53)..(1_i64 << 53);
        let since = if exact.contains(&since.0) { since.0.to_string() } else { "-inf".to_owned() };
        let until = if exact.contains(&until.0) { format!("({}", until.0) } else { "+inf".to_owned() };
        let mut range = redis::cmd("ZREVRANGEBYSCORE");
        range.arg(self.keys.of_one("ticks", schedule)).arg(until).arg(since).arg("LIMIT").arg(0).arg(limit);
        let answer = self.quick.read(&range).await?;
        let lines = list(&answer).ok_or_else(|| odd("ZREVRANGEBYSCORE"))?;
        Ok(lines.iter().filter_map(|line| codec::read_line(codec::bytes(line)?)).collect())
    }
}
