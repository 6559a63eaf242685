//! T1: a due tick is decided at most once, and once it is due and the mesh is at rest, it is decided; nothing
//! is decided that is not owed.
//!
//! Judged by the history, not by the ledger: a store that overwrote a line would hide the double. The due
//! times themselves come from counting seconds between edits, not from the product's timetable or cursor:
//! what is due while a schedule is enabled is owed, also when an edit takes it away a moment later. All by
//! the store's clock; when that steps back, what was decided before stays decided.

use std::collections::BTreeMap;

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;

use super::{Evidence, Property, Violation};
use crate::history::{Event, Record};

/// This file's property.
pub const PROPERTY: Property = Property { name: "T1 every due time is decided once", check };

/// Due times are whole seconds.
const SECOND_MS: i64 = 1_000;

/// What a schedule owes from one edit of its times to the next.
#[derive(Clone, Debug)]
struct Terms {
    /// Edits that keep the times go on with what is owed.
    revisions: Vec<u64>,
    /// What the store's clock showed when they began: what is due later may be decided.
    began: UnixMs,
    /// Due times after this one must be decided: the latest that the clock showed at any edit so far, or what
    /// was decided by then.
    from: UnixMs,
    /// Up to this one: what the clock showed when they ended.
    until: UnixMs,
    /// The latest that it showed until then.
    latest: UnixMs,
    is_enabled: bool,
    /// It is due when the milliseconds since 1970 are a multiple of this.
    period_ms: i64,
}

impl Terms {
    fn due_times(&self, until: UnixMs) -> impl Iterator<Item = UnixMs> + use<> {
        let first = (self.from.0.div_euclid(self.period_ms) + 1) * self.period_ms;
        let last = if self.is_enabled { self.until.min(until).0 } else { i64::MIN };
        (first..=last).step_by(self.period_ms as usize).map(UnixMs)
    }

    /// A due time of these terms, or one that was fired a little early before their end.
    fn owe(&self, due: UnixMs) -> bool {
        let until = self.latest.0.saturating_add(EARLIEST_MS);
        self.is_enabled && due.0 % self.period_ms == 0 && due > self.began && due.0 <= until
    }
}

/// A tick may be committed so much before its due time, in milliseconds, and no more: written down here once
/// more, so that the product cannot allow itself more.
const EARLIEST_MS: i64 = 50;

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let terms = match terms_of(evidence.history) {
        Ok(terms) => terms,
        Err(violation) => return vec![violation],
    };
    let mut violations = Vec::new();
    let mut decided: BTreeMap<(&ScheduleName, UnixMs), &str> = BTreeMap::new();
    for record in evidence.history {
        let Event::TickCommitted { schedule, revision, from, due, count, node, .. } = &record.event else {
            continue;
        };
        let of_schedule = terms.get(schedule).map_or(&[][..], Vec::as_slice);
        let period_ms =
            of_schedule.iter().find(|terms| terms.revisions.contains(revision)).map(|t| t.period_ms);
        let run: Vec<_> =
            (from.0..=due.0).step_by(period_ms.unwrap_or(SECOND_MS) as usize).map(UnixMs).collect();
        if period_ms.is_none() || run.last() != Some(due) || run.len() != *count as usize {
            let what = format!("{schedule} from {} to {} are not {count} due times", from.0, due.0);
            violations.push(Violation::at(record.at, what));
        }
        for due in run {
            if !of_schedule.iter().any(|terms| terms.owe(due)) {
                let what = format!("{schedule} due at {} was decided by {node} and is owed to nobody", due.0);
                violations.push(Violation::at(record.at, what));
            }
            if let Some(before) = decided.insert((schedule, due), node) {
                let what = format!("{schedule} due at {} was decided by {before} and again by {node}", due.0);
                violations.push(Violation::at(record.at, what));
            }
        }
    }
    for schedule in evidence.fire_all.iter().filter(|schedule| !terms.contains_key(schedule)) {
        violations.push(Violation::at_the_end(format!("{schedule} was never put in")));
    }
    for (schedule, terms) in &terms {
        for due in terms.iter().flat_map(|terms| terms.due_times(evidence.settled)) {
            if !decided.contains_key(&(*schedule, due)) {
                let what = format!("{schedule} due at {} was neither fired nor skipped", due.0);
                violations.push(Violation::at(due, what));
            }
        }
    }
    violations
}

/// What each schedule owed when, by its edits.
fn terms_of(history: &[Record]) -> Result<BTreeMap<&ScheduleName, Vec<Terms>>, Violation> {
    let mut all: BTreeMap<&ScheduleName, Vec<Terms>> = BTreeMap::new();
    let mut clocks: BTreeMap<&ScheduleName, Clock> = BTreeMap::new();
    for record in history {
        match &record.event {
            Event::TickCommitted { schedule, due, store_now, .. } => {
                clocks.entry(schedule).or_default().decided(*due, *store_now);
            }
            Event::Fenced { schedule, revision, enabled, cron, store_now, .. } => {
                let period_ms = match cron {
                    Some(cron) => period_ms(cron).ok_or_else(|| {
                        Violation::at(
                            record.at,
                            format!("{schedule}: `{cron}` cannot be counted by this check"),
                        )
                    })?,
                    None => SECOND_MS,
                };
                let (terms, clock) = (all.entry(schedule).or_default(), clocks.entry(schedule).or_default());
                clock.show(*store_now);
                match terms.last_mut() {
                    Some(last) if last.is_enabled && *enabled && last.period_ms == period_ms => {
                        last.revisions.push(*revision);
                    }
                    last => {
                        if let Some(last) = last {
                            (last.until, last.latest) = (*store_now, clock.latest);
                        }
                        terms.push(clock.begin(*revision, *store_now, *enabled, period_ms));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(all)
}

/// What the store's clock has shown to one schedule.
struct Clock {
    /// The latest since the present terms began.
    latest: UnixMs,
    /// The latest at any edit, and the latest due time that was decided.
    settled: UnixMs,
}

impl Default for Clock {
    fn default() -> Self {
        Self { latest: UnixMs(i64::MIN), settled: UnixMs(i64::MIN) }
    }
}

impl Clock {
    fn show(&mut self, now: UnixMs) {
        (self.latest, self.settled) = (self.latest.max(now), self.settled.max(now));
    }

    fn decided(&mut self, due: UnixMs, now: UnixMs) {
        (self.latest, self.settled) = (self.latest.max(now), self.settled.max(due));
    }

    fn begin(&mut self, revision: u64, now: UnixMs, is_enabled: bool, period_ms: i64) -> Terms {
        self.latest = now;
        let (until, latest) = (UnixMs(i64::MAX), UnixMs(i64::MAX));
        Terms {
            revisions: vec![revision],
            began: now,
            from: self.settled,
            until,
            latest,
            is_enabled,
            period_ms,
        }
    }
}

/// Of texts that are due every so many seconds of a minute, or every minute.
fn period_ms(cron: &str) -> Option<i64> {
    let seconds = match cron.strip_suffix(" * * * * *")? {
        "*" => 1,
        "0" => 60,
        step => step.strip_prefix("*/")?.parse().ok().filter(|step| *step > 0 && 60 % step == 0)?,
    };
    Some(seconds * SECOND_MS)
}
