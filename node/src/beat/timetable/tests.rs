//! Tables: what is refused and how, and the hours that clocks skip or repeat.

use super::*;

fn ms(text: &str) -> UnixMs {
    UnixMs(text.parse::<Timestamp>().expect("a timestamp in a test").as_millisecond())
}

fn upcoming(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let timetable = Timetable::parse(cron, zone).unwrap();
    let shown = |due: UnixMs| Timestamp::from_millisecond(due.0).unwrap().to_string();
    timetable.upcoming(ms(after), n).into_iter().map(shown).collect()
}

#[test]
fn what_is_refused_is_named_with_what_to_do() {
    for (cron, zone, parts) in [
        ("", "UTC", &["``", "five fields"][..]),
        ("* * * *", "UTC", &["`* * * *`", "five fields"]),
        ("0 0 0 1 1 * 2030", "UTC", &["years are disallowed", "six with seconds"]),
        ("61 * * * *", "UTC", &["`61 * * * *`", "61"]),
        ("a * * * *", "UTC", &["`a * * * *`"]),
        ("@never", "UTC", &["`@never`"]),
        ("*/0 * * * *", "UTC", &["`*/0 * * * *`"]),
        ("5-1 * * * *", "UTC", &["`5-1 * * * *`"]),
        (&"1,".repeat(400), "UTC", &["longer than 256"]),
        ("* * * * *", "Europe/Berln", &["`Europe/Berln`", "`Europe/Berlin`"]),
        ("* * * * *", "new york", &["`America/New_York`"]),
        ("* * * * *", "", &["``", "`UTC`"]),
        ("* * * * *", "Etc/Unknown", &["`Etc/Unknown`"]),
        ("* * * * *", "Mars/Olympus_Mons_Crater", &["`Mars/Olympus_Mons_Crater`", "`UTC`"]),
        ("0 0 31 2 *", "UTC", &["`0 0 31 2 *`", "never"]),
        ("0 0 30 2 *", "Europe/Berlin", &["never"]),
        ("0 0 31 4,6,9,11 *", "UTC", &["never"]),
        ("* * * 30 2 +MON", "UTC", &["never"]),
        ("@every", "UTC", &["`@every `", "`@every 90s`"]),
        ("@every 90", "UTC", &["`@every 90`", "number and a unit"]),
        ("@every 999ms", "UTC", &["`@every 999ms`", "too short", "1s to 366d"]),
        ("@every 0s", "UTC", &["`@every 0s`", "too short"]),
        ("@every 367d", "UTC", &["`@every 367d`", "too long", "1s to 366d"]),
        ("@every 99999d", "UTC", &["too large"]),
        ("@every 1.0005s", "UTC", &["`@every 1.0005s`", "milliseconds"]),
        ("@every -5s", "UTC", &["`@every -5s`"]),
        ("@every 5s 6s", "UTC", &["`@every 5s 6s`"]),
        ("@every 5s", "Europe/Berln", &["`Europe/Berlin`"]),
        ("@everyday", "UTC", &["`@everyday`", "five fields"]),
        ("*\t* * * *\n", "UTC", &["control character"]),
        ("@at", "UTC", &["``", "no time of day", "`2026-12-24T18:00:00`"]),
        ("@at 2026-12-24", "UTC", &["`2026-12-24`", "no time of day"]),
        ("@at 18:00", "UTC", &["`18:00`", "no time of day"]),
        ("@at 2026-02-29T18:00", "UTC", &["`2026-02-29T18:00`", "not a moment"]),
        ("@at 2026-12-24T18:00[Europe/Berlin]", "UTC", &["`timezone`"]),
        ("@at tomorrow noon", "UTC", &["`tomorrow noon`", "not a moment"]),
        ("@at 2026-12-24T18:00:00", "Europe/Berln", &["`Europe/Berlin`"]),
    ] {
        let error = Timetable::parse(cron, zone).expect_err(cron).to_string();
        for part in parts {
            assert!(error.contains(part), "{cron} {zone}: {error}");
        }
    }
}

#[test]
fn five_fields_six_fields_nicknames_and_periods_are_read() {
    let after = "2026-01-01T00:00:00Z";
    for (cron, first) in [
        ("*/5 * * * *", "2026-01-01T00:05:00Z"),
        ("*/2 * * * * *", "2026-01-01T00:00:02Z"),
        ("@daily", "2026-01-02T00:00:00Z"),
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        // The fifth Monday of a February: once in 28 years, and still a date that comes.
        ("0 0 29 2 +MON", "2044-02-29T00:00:00Z"),
        ("@every 90s", "2026-01-01T00:01:30Z"),
        ("@every  1 d ", "2026-01-02T00:00:00Z"),
        ("@every 1.5s", "2026-01-01T00:00:01.5Z"),
        ("@every 366d", "2026-02-12T00:00:00Z"),
    ] {
        assert_eq!(upcoming(cron, "utc", after, 1), [first], "{cron}");
    }
}

#[test]
fn a_skipped_time_fires_once_after_the_jump_and_a_repeated_time_fires_once() {
    assert_eq!(
        upcoming("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        "02:30 does not exist on 2026-03-29: 03:00 local is 01:00Z"
    );
    assert_eq!(
        upcoming("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        "02:30 comes twice on 2026-10-25: only the first fires"
    );
}

#[test]
fn a_single_moment_is_due_once_as_the_walls_clock_or_its_offset_says() {
    let before = "2026-01-01T00:00:00Z";
    for (text, zone, due) in [
        ("@at 2026-12-24T18:00:00", "UTC", "2026-12-24T18:00:00Z"),
        ("@at  2026-12-24 18:00 ", "Europe/Berlin", "2026-12-24T17:00:00Z"),
        ("@at 2026-12-24T18:00:00Z", "Europe/Berlin", "2026-12-24T18:00:00Z"),
        ("@at 2026-12-24T18:00:00.25-03:00", "Europe/Berlin", "2026-12-24T21:00:00.25Z"),
        // As a cron expression of a fixed time: right after the jump, and the first of two.
        ("@at 2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("@at 2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00Z"),
        ("@at 2026-10-04T02:10", "Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ] {
        assert_eq!(upcoming(text, zone, before, 3), [due], "{text} {zone}");
        let timetable = Timetable::parse(text, zone).unwrap();
        assert_eq!(timetable.only(), Some(ms(due)));
        assert_eq!(timetable.next_after(UnixMs(ms(due).0 - 1)), Some(ms(due)));
        assert_eq!(timetable.next_after(ms(due)), None, "it is over");
        assert_eq!(timetable.next_after(UnixMs(i64::MIN)), Some(ms(due)));
    }
    for (fixed, at) in [("30 2 29 3 *", "2026-03-29T02:30"), ("30 2 25 10 *", "2026-10-25T02:30")] {
        let once = upcoming(&format!("@at {at}"), "Europe/Berlin", before, 1);
        assert_eq!(once, upcoming(fixed, "Europe/Berlin", before, 1), "{fixed}");
    }
    assert_eq!(Timetable::parse("@every 1d", "UTC").unwrap().only(), None);
}

#[test]
fn intervals_follow_the_clock_through_both_copies_of_an_hour() {
    assert_eq!(
        upcoming("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:59Z", 6),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T02:30:00Z",
        ]
    );
    assert_eq!(
        upcoming("15 * * * *", "Australia/Lord_Howe", "2026-04-04T13:00:00Z", 3),
        ["2026-04-04T13:15:00Z", "2026-04-04T14:15:00Z", "2026-04-04T15:45:00Z"],
        "half an hour is put back: 01:45 to 02:00 are repeated, 02:15 moves by half an hour"
    );
}

#[test]
fn a_day_that_a_zone_left_out_does_not_end_the_timetable() {
    // Samoa went from 2011-12-29 to 2011-12-31.
    assert_eq!(
        upcoming("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3),
        ["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"]
    );
}

#[test]
fn next_after_is_strict_down_to_the_millisecond() {
    let minutely = Timetable::parse("* * * * *", "UTC").unwrap();
    for (after, due) in
        [(-60_000, 0), (-60_001, -60_000), (-1, 0), (0, 60_000), (1, 60_000), (59_999, 60_000)]
    {
        assert_eq!(minutely.next_after(UnixMs(after)), Some(UnixMs(due)), "{after}");
    }
    for beyond in [i64::MIN, i64::MAX] {
        assert_eq!(minutely.next_after(UnixMs(beyond)), None);
    }
    let period = Timetable::parse("@every 1m", "Asia/Kathmandu").unwrap();
    for after in [-60_001, -60_000, -1, 0, 1, 59_999, i64::MAX, i64::MIN] {
        let after = UnixMs(after);
        assert_eq!(period.next_after(after), minutely.next_after(after), "{after:?}");
    }
}

#[test]
fn equal_texts_share_one_timetable_until_nobody_uses_it() {
    let mut timetables = Timetables::default();
    let a = timetables.get("* * * * *", "UTC").unwrap();
    let b = timetables.get("* * * * *", "UTC").unwrap();
    assert!(Arc::ptr_eq(&a, &b));
    timetables.forget_unused();
    assert_eq!(timetables.known.len(), 1);
    drop((a, b));
    timetables.forget_unused();
    assert!(timetables.known.is_empty());
}

#[test]
fn a_zone_as_long_as_a_body_may_be_is_refused_at_once() {
    // Compared with all names of zones, each of these takes more than half a minute.
    for _ in 0..100 {
        let refused = Timetable::parse("* * * * *", &"x".repeat(256 * 1024));
        assert!(matches!(refused, Err(TimetableError::UnknownZone { timezone, .. }) if timezone.len() == 64));
    }
}
