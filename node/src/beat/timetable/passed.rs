//! How many due times lie in a span, without looking at each.
//!
//! A cron text names seconds and minutes independently of hours and days, so every whole hour that is due
//! at all holds as many due times as every other one, at the same places. One such hour is counted, the
//! others are stepped over. Hours at which the clock changes are not like the others: they are walked.

use beatmesh_mesh::env::UnixMs;
use jiff::Timestamp;

use super::{Calendar, Rule, Timetable};

/// The most searches for a next due time in one count, a few microseconds each. Eleven years of a schedule
/// that is due every second, in a zone without clock changes; three years in one that has them.
const MOST_SEARCHES: usize = 100_000;

const HOUR_MS: i64 = 3_600_000;

/// The due times in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The first one.
    pub first: UnixMs,
    /// The last one; of a span that is too long to be counted, its end.
    pub last: UnixMs,
    /// How many; of a span that is too long to be counted, at least so many.
    pub count: u32,
}

impl Timetable {
    /// The due times in `(after, until]`; `None` when there is none.
    #[must_use]
    pub fn passed(&self, after: UnixMs, until: UnixMs) -> Option<Passed> {
        let first = || self.next_after(after).filter(|due| *due <= until);
        match &self.rule {
            Rule::Calendar(calendar) => calendar.passed(after, until),
            Rule::Every { period_ms } => {
                let (first, last) = (first()?, UnixMs(until.0.div_euclid(*period_ms) * period_ms));
                let count = last.millis_since(first) / period_ms + 1;
                Some(Passed { first, last, count: u32::try_from(count).unwrap_or(u32::MAX) })
            }
            Rule::Once { .. } => first().map(|due| Passed { first: due, last: due, count: 1 }),
        }
    }
}

impl Calendar {
    fn passed(&self, after: UnixMs, until: UnixMs) -> Option<Passed> {
        let next = |after| self.next_after(after).filter(|due| *due <= until);
        let first = next(after)?;
        let mut passed = Passed { first, last: first, count: 0 };
        // Of a whole hour: how many, and how far into it the last one is.
        let mut hourly: Option<(u32, i64)> = None;
        let (mut before, mut due, mut searches) = (after, Some(first), 1);
        while let Some(at) = due {
            if searches >= MOST_SEARCHES {
                return Some(Passed { last: until, ..passed });
            }
            // The hour whose first due time this is, if all of it counts and it is like all others.
            let hour = self.hour_of(at).filter(|start| before < *start && start.0 + HOUR_MS <= until.0);
            let hour = hour.filter(|start| self.is_steady(*start));
            let (count, last) = match (hour, hourly) {
                (None, _) => (1, at),
                (Some(start), Some((count, last))) => (count, UnixMs(start.0 + last)),
                (Some(start), None) => {
                    let end = UnixMs(start.0 + HOUR_MS);
                    let of_hour = std::iter::successors(self.next_after(before), |due| self.next_after(*due));
                    let (count, last) =
                        of_hour.take_while(|due| *due < end).fold((0, at), |(n, _), due| (n + 1, due));
                    searches += count as usize;
                    hourly = Some((count, last.millis_since(start)));
                    (count, last)
                }
            };
            passed.count = passed.count.saturating_add(count);
            passed.last = last;
            (before, due, searches) = (last, next(last), searches + 1);
        }
        Some(passed)
    }

    /// The beginning of the hour on the wall's clock that a time is in.
    fn hour_of(&self, time: UnixMs) -> Option<UnixMs> {
        let wall = self.at(Timestamp::from_millisecond(time.0).ok()?);
        let into = (i64::from(wall.minute()) * 60 + i64::from(wall.second())) * 1_000;
        Some(UnixMs(time.0 - into - i64::from(wall.millisecond())))
    }

    /// Whether the clock does not change in the hour that begins here, nor in the one before it.
    fn is_steady(&self, start: UnixMs) -> bool {
        let Ok(from) = Timestamp::from_millisecond(start.0.saturating_sub(HOUR_MS)) else { return false };
        let change = self.zone.following(from).next();
        change.is_none_or(|change| change.timestamp().as_millisecond() > start.0 + HOUR_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain way.
    fn walked(timetable: &Timetable, after: UnixMs, until: UnixMs) -> Option<Passed> {
        let mut passed: Option<Passed> = None;
        for due in timetable.after(after).take_while(|due| *due <= until) {
            let so_far = passed.map_or((due, 0), |passed| (passed.first, passed.count));
            passed = Some(Passed { first: so_far.0, last: due, count: so_far.1 + 1 });
        }
        passed
    }

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().expect("a timestamp in a test").as_millisecond())
    }

    #[test]
    fn a_count_is_what_a_walk_counts_also_where_clocks_change() {
        // Both changes of Berlin, half an hour at Lord Howe, a whole day at Apia, a zone of quarter hours.
        let spans = [
            ("Europe/Berlin", "2026-03-28T22:10:07.300Z"),
            ("Europe/Berlin", "2026-10-24T22:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T12:20:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T12:20:00Z"),
            ("Pacific/Apia", "2011-12-30T07:59:59.999Z"),
            ("Asia/Kathmandu", "2026-05-05T05:05:05Z"),
            ("UTC", "2026-02-28T20:30:00Z"),
        ];
        let texts = [
            "7,40 */20 * * * *",
            "*/30 * * * *",
            "30 2 * * *",
            "0 0 2 * * *",
            "0 2,14 * * *",
            "15,45 1-3 * * SUN",
            "0 0 L * *",
            "*/13 * 5 * * *",
            "@every 7s",
            "@every 1h",
            "@every 5000.5s",
            "@at 2026-10-25T02:30",
        ];
        for ((zone, from), cron) in spans.into_iter().flat_map(|span| texts.map(|text| (span, text))) {
            let timetable = Timetable::parse(cron, zone).unwrap();
            for (skip, span) in [(0, 0), (0, 59_999), (1, 3_600_000), (500, 7_199_999), (0, 40 * HOUR_MS)] {
                let (after, until) = (UnixMs(at(from).0 + skip), UnixMs(at(from).0 + skip + span));
                let expected = walked(&timetable, after, until);
                assert_eq!(timetable.passed(after, until), expected, "{cron} {zone} {from} {skip} {span}");
            }
        }
    }

    #[test]
    fn a_week_of_seconds_is_counted_and_more_than_can_be_counted_ends_at_its_end() {
        let every_second = Timetable::parse("* * * * * *", "Europe/Berlin").unwrap();
        let after = at("2026-05-01T10:17:00.250Z");
        let all = Timetable::parse("@every 1s", "UTC").unwrap().passed(UnixMs(-1), UnixMs(i64::MAX));
        assert_eq!(
            all,
            Some(Passed { first: UnixMs(0), last: UnixMs(i64::MAX / 1_000 * 1_000), count: u32::MAX })
        );
        let week = every_second.passed(after, UnixMs(after.0 + 7 * 24 * HOUR_MS));
        let (first, last) = (at("2026-05-01T10:17:01Z"), at("2026-05-08T10:17:00Z"));
        assert_eq!(week, Some(Passed { first, last, count: 7 * 24 * 3_600 }));

        let end = at("2026-05-01T10:17:00.250Z");
        let all = Timetable::parse("0 * * * *", "UTC").unwrap().passed(UnixMs(0), end).unwrap();
        assert_eq!((all.first, all.last), (UnixMs(HOUR_MS), end));
        assert!(all.count as usize >= MOST_SEARCHES / 2, "{all:?}");
    }
}
