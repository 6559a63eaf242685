//! What becomes of due times that have passed: which fire, which are skipped, and why.
//!
//! Pure: one schedule, its cursor, a point of time. The decisions are in ascending order, touch every
//! due time between cursor and last decision exactly once, and never reach past `until`. Work is
//! bounded: of a long gap only a first piece is decided, and only in a way that the rest, still
//! unseen, cannot make wrong. The commit moves the cursor, and the next piece starts from there.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::jitter::Moments;
use crate::catalogue::schedule::{LARGEST_MISFIRE_CAP, Misfire, OnStoreRollback, Schedule};
use crate::queue::tick::{MOST_DECISIONS, SkipReason, TickDecision, Verdict};

/// The most due times of one schedule that one commit decides. 2 to 20 us each, so at most 0.2 s for
/// the rarest expressions and 30 ms for those that are due every second, the only ones that pile up.
pub const MOST_DUE_TIMES: usize = 11_000;

/// Of a full piece at least 10,000 must be decidable without knowing what follows.
const _: () = assert!(MOST_DUE_TIMES >= 10 * LARGEST_MISFIRE_CAP as usize + LARGEST_MISFIRE_CAP as usize);

/// A `misfire_grace` below this counts as this: timers, the store's answer and a busy node make every
/// firing late by some milliseconds, and a grace of zero would skip everything for ever. Half of the
/// standby delay, so that what the owner fires is in time and what a standby rescues is not.
pub const LEAST_GRACE: Duration = Duration::from_millis(500);

/// The due times to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The first one after the cursor: the caller has it already.
    pub first: UnixMs,
    /// Those whose moments come later are not.
    pub until: UnixMs,
    /// Up to here all had been decided before the store went back to an earlier state, as this node remembers.
    pub decided_before: UnixMs,
}

/// What to commit, and what it cost to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// In ascending order, at most [`MOST_DECISIONS`]; empty when nothing is due.
    pub decisions: Vec<TickDecision>,
    /// How many due times were looked at.
    pub seen: usize,
}

/// Decides due times, or a first piece of them.
#[must_use]
pub fn decide(schedule: &Schedule, moments: &Moments<'_>, overdue: Overdue) -> Pending {
    let Overdue { first, until, decided_before } = overdue;
    if moments.of(first) > until {
        return Pending { decisions: Vec::new(), seen: 0 };
    }
    let mut due = vec![first];
    // Moments ascend as due times do.
    let mut later = moments.timetable.after(first).take_while(|due| moments.of(*due) <= until);
    due.extend(later.by_ref().take(MOST_DUE_TIMES - 1));
    // Whether due times have passed that this piece does not hold.
    let more = due.len() == MOST_DUE_TIMES && later.next().is_some();

    // They neither fire once more nor count for the policy.
    let lost = match schedule.on_store_rollback {
        OnStoreRollback::Refire => 0,
        OnStoreRollback::Skip => due.partition_point(|due| *due <= decided_before),
    };
    let (lost, due) = due.split_at(lost);

    let (skipped, reason) = match schedule.misfire {
        // The last one of a piece is superseded too when more have passed.
        Misfire::FireLatest => (due.len().saturating_sub(usize::from(!more)), SkipReason::Superseded),
        // With more to come, these `cap` may be among the newest or not: leave them to the next piece.
        Misfire::FireAll => (due.len().saturating_sub(cap(schedule)), SkipReason::OverMisfireCap),
        Misfire::Skip => {
            let oldest = until.minus(schedule.misfire_grace.0.max(LEAST_GRACE));
            (due.partition_point(|due| moments.of(*due) < oldest), SkipReason::PastGrace)
        }
    };
    // With more to come, `fire_all` and `fire_latest` fire nothing: what would be fired may be too old.
    let fires_now = !more || schedule.misfire == Misfire::Skip;
    let mut decisions = Vec::new();
    decisions.extend(run(lost, SkipReason::StoreRolledBack));
    decisions.extend(run(&due[..skipped], reason));
    if fires_now {
        decisions.extend(due[skipped..].iter().map(|due| single(*due, Verdict::Fire)));
    }
    decisions.truncate(MOST_DECISIONS);
    Pending { decisions, seen: lost.len() + due.len() }
}

/// At least one, or a schedule with a cap of zero would not even fire in time.
fn cap(schedule: &Schedule) -> usize {
    schedule.misfire_cap.clamp(1, LARGEST_MISFIRE_CAP) as usize
}

fn single(due: UnixMs, verdict: Verdict) -> TickDecision {
    TickDecision { due, from: due, count: 1, verdict }
}

/// One decision for all of them; `None` for none.
fn run(due: &[UnixMs], reason: SkipReason) -> Option<TickDecision> {
    let (from, last) = (*due.first()?, *due.last()?);
    let count = u32::try_from(due.len()).expect("a piece holds at most MOST_DUE_TIMES");
    Some(TickDecision { due: last, from, count, verdict: Verdict::Skip(reason) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::timetable::Timetable;
    use crate::catalogue::name::ScheduleName;

    fn decide((schedule, timetable): &(Schedule, Timetable), first: UnixMs, until: UnixMs) -> Pending {
        let name: ScheduleName = "s".parse().unwrap();
        let moments = Moments { schedule: &name, timetable, jitter: schedule.jitter.0 };
        super::decide(schedule, &moments, Overdue { first, until, decided_before: UnixMs(i64::MIN) })
    }

    fn schedule(cron: &str, misfire: &str, more: &str) -> (Schedule, Timetable) {
        let text = format!("cron = \"{cron}\"\nfunction = \"f\"\nmisfire = \"{misfire}\"\n{more}");
        let schedule: Schedule = toml::from_str(&text).unwrap();
        let timetable = schedule.times().timetable().unwrap();
        (schedule, timetable)
    }

    /// Decisions as text: `s1-7x7` is a run of seven skipped, `f8` a firing; in seconds.
    fn shown(schedule: &(Schedule, Timetable), cursor: i64, until_ms: i64) -> String {
        let first = schedule.1.next_after(UnixMs(cursor * 1_000)).unwrap();
        let pending = decide(schedule, first, UnixMs(until_ms));
        let word = |d: &TickDecision| match d.verdict {
            Verdict::Fire => format!("f{}", d.due.0 / 1_000),
            Verdict::Skip(_) => format!("s{}-{}x{}", d.from.0 / 1_000, d.due.0 / 1_000, d.count),
        };
        pending.decisions.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_due_time_that_has_just_passed_fires_under_every_policy() {
        for (misfire, more) in [
            ("fire_latest", ""),
            ("fire_all", ""),
            ("fire_all", "misfire_cap = 0"),
            ("skip", ""),
            ("skip", "misfire_grace = \"0s\""),
        ] {
            let every_minute = schedule("* * * * *", misfire, more);
            assert_eq!(shown(&every_minute, 0, 59_999), "", "{misfire} {more}: nothing is due yet");
            assert_eq!(shown(&every_minute, 0, 60_000), "f60", "{misfire} {more}");
            assert_eq!(shown(&every_minute, 0, 60_020), "f60", "{misfire} {more}");
        }
    }

    #[test]
    fn each_policy_decides_a_gap_in_its_own_way() {
        for (misfire, more, until_ms, expected) in [
            ("fire_latest", "", 2_000, "s1-1x1 f2"),
            ("fire_latest", "", 8_999, "s1-7x7 f8"),
            ("fire_all", "misfire_cap = 3", 3_000, "f1 f2 f3"),
            ("fire_all", "misfire_cap = 3", 8_500, "s1-5x5 f6 f7 f8"),
            ("skip", "misfire_grace = \"2s\"", 8_500, "s1-6x6 f7 f8"),
            ("skip", "misfire_grace = \"2s\"", 8_000, "s1-5x5 f6 f7 f8"),
            ("skip", "misfire_grace = \"1m\"", 3_000, "f1 f2 f3"),
        ] {
            let every_second = schedule("* * * * * *", misfire, more);
            assert_eq!(shown(&every_second, 0, until_ms), expected, "{misfire} {more}");
        }
        let every_hour = schedule("0 * * * *", "skip", "");
        assert_eq!(shown(&every_hour, 0, 7_100_000), "s3600-3600x1", "all may be past their grace");
    }

    #[test]
    fn what_is_put_off_is_due_at_its_moment_and_supersedes_nothing_before() {
        // A jitter longer than the gap counts as the gap.
        let every_minute = schedule("* * * * *", "fire_latest", "jitter = \"1h\"");
        let name = "s".parse().unwrap();
        let jitter = every_minute.0.jitter.0;
        let moments = Moments { schedule: &name, timetable: &every_minute.1, jitter };
        let [one, two] = [60_000, 120_000].map(|due| moments.of(UnixMs(due)).0);
        assert!((60_000..120_000).contains(&one) && (120_000..180_000).contains(&two), "{one} {two}");
        assert_eq!(shown(&every_minute, 0, one - 1), "");
        assert_eq!(shown(&every_minute, 0, one), "f60");
        assert_eq!(shown(&every_minute, 0, two - 1), "f60", "the next one is due, but put off");
        assert_eq!(shown(&every_minute, 0, two), "s60-60x1 f120");
        // The grace counts from the moment as well.
        let skips = schedule("* * * * *", "skip", "jitter = \"1h\"\nmisfire_grace = \"1s\"");
        assert_eq!(shown(&skips, 0, one + 1_000), "f60");
        assert_eq!(shown(&skips, 0, one + 1_001), "s60-60x1");
    }

    #[test]
    fn what_the_store_has_lost_is_skipped_or_fired_again_and_the_rest_goes_by_the_misfire_policy() {
        let reasons = |misfire: &str, more: &str, decided_before: i64, until: i64| {
            let (schedule, timetable) = schedule("* * * * * *", misfire, more);
            let name = "s".parse().unwrap();
            let moments = Moments { schedule: &name, timetable: &timetable, jitter: Duration::ZERO };
            let [first, until, decided_before] = [1, until, decided_before].map(|s| UnixMs(s * 1_000));
            let pending = super::decide(&schedule, &moments, Overdue { first, until, decided_before });
            let word = |d: &TickDecision| match d.verdict {
                Verdict::Fire => format!("f{}", d.due.0 / 1_000),
                Verdict::Skip(reason) => format!("{} {}x{}", reason.as_str(), d.due.0 / 1_000, d.count),
            };
            (pending.decisions.iter().map(word).collect::<Vec<_>>().join(", "), pending.seen)
        };
        let skip = "on_store_rollback = \"skip\"";
        for (misfire, more, decided_before, until, expected) in [
            ("fire_all", skip, 5, 7, "store_rolled_back 5x5, f6, f7"),
            ("fire_latest", skip, 5, 7, "store_rolled_back 5x5, superseded 6x1, f7"),
            ("fire_latest", skip, 5, 5, "store_rolled_back 5x5"),
            ("skip", skip, 1, 2, "store_rolled_back 1x1, f2"),
            ("fire_all", skip, 9, 2, "store_rolled_back 2x2"),
            ("fire_all", skip, 0, 2, "f1, f2"),
            ("fire_all", "", 5, 3, "f1, f2, f3"),
            ("fire_latest", "", 5, 3, "superseded 2x2, f3"),
        ] {
            let found = reasons(misfire, more, decided_before, until);
            assert_eq!(found, (expected.to_owned(), until as usize), "{misfire} {more}");
        }
        // Longer than a piece: the rest is decided with the next one.
        let many = MOST_DUE_TIMES as i64 + 5;
        let expected = format!("store_rolled_back {MOST_DUE_TIMES}x{MOST_DUE_TIMES}");
        for misfire in ["fire_latest", "fire_all", "skip"] {
            assert_eq!(reasons(misfire, skip, many, many), (expected.clone(), MOST_DUE_TIMES));
        }
    }

    #[test]
    fn a_gap_without_end_is_decided_piece_by_piece_and_ends_as_the_policy_says() {
        let seconds = 30_000;
        for (misfire, more, fired) in [
            ("fire_latest", "", 1),
            ("fire_all", "misfire_cap = 1000", 1_000),
            ("skip", "misfire_grace = \"100s\"", 101),
        ] {
            let every_second = schedule("* * * * * *", misfire, more);
            let (mut cursor, mut commits, mut decided, mut fires) = (0, 0, 0, Vec::new());
            while cursor < seconds {
                let first = UnixMs((cursor + 1) * 1_000);
                let pending = decide(&every_second, first, UnixMs(seconds * 1_000));
                assert!(pending.seen <= MOST_DUE_TIMES && pending.decisions.len() <= MOST_DECISIONS);
                for decision in &pending.decisions {
                    assert_eq!(decision.from.0, (cursor + 1) * 1_000, "{misfire}: no gap, no overlap");
                    cursor = decision.due.0 / 1_000;
                    decided += i64::from(decision.count);
                    if decision.verdict == Verdict::Fire {
                        fires.push(cursor);
                    }
                }
                commits += 1;
                assert!(commits < 20, "{misfire}: every piece makes progress");
            }
            assert_eq!(decided, seconds, "{misfire}");
            assert_eq!(fires, (seconds - fired + 1..=seconds).collect::<Vec<_>>(), "{misfire}");
        }
    }
}
