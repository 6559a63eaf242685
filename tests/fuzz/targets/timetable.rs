//! A schedule's text and a time zone, apart by a line break, and before them a moment: due times are whole seconds
//! (but for periods and single moments), strictly later each, and counted as they are walked.
#![no_main]

use beatmesh_fuzz::seeds;
use beatmesh_mesh::env::UnixMs;
use beatmesh_node::beat::timetable::Timetable;
use libfuzzer_sys::fuzz_target;

fn golden() -> Vec<Vec<u8>> {
    let texts = [
        ("* * * * *", "UTC"),
        ("*/2 * * * * *", "Europe/Berlin"),
        ("30 2 * * *", "Europe/Berlin"),
        ("0 2,14 * * MON-FRI", "Australia/Lord_Howe"),
        ("0 0 L * *", "Pacific/Apia"),
        ("0 0 29 2 *", "UTC"),
        ("15 10 * * 5#3", "America/New_York"),
        ("@daily", "Asia/Kathmandu"),
        ("@every 90s", "UTC"),
        ("@every 1.5s", "Europe/Berlin"),
        ("@at 2026-12-24T18:00:00", "Europe/Berlin"),
        ("@at 2026-12-24T18:00:00.5+05:45", "UTC"),
    ];
    let seed = |(cron, zone)| {
        [&1_774_000_000_000_i64.to_be_bytes()[..], format!("{cron}\n{zone}").as_bytes()].concat()
    };
    texts.into_iter().map(seed).collect()
}

fuzz_target!(init: seeds(golden()), |data: &[u8]| {
    let Some((moment, text)) = data.split_first_chunk::<8>() else { return };
    let moment = UnixMs(i64::from_be_bytes(*moment));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (cron, zone) = text.split_once('\n').unwrap_or((text, "UTC"));
    let timetable = match Timetable::parse(cron, zone) {
        Ok(timetable) => timetable,
        Err(error) => return assert!(error.to_string().len() < 2_000),
    };
    let due = timetable.upcoming(moment, 5);
    let mut before = moment;
    for due in &due {
        let is_whole = due.0 % 1_000 == 0 || cron.trim_start().starts_with('@');
        assert!(*due > before && is_whole, "{due:?} after {before:?}");
        before = *due;
    }
    if let Some(last) = due.last() {
        let passed = timetable.passed(moment, *last).expect("they have passed");
        assert_eq!((passed.first, passed.last), (due[0], *last));
        assert_eq!(passed.count as usize, due.len());
    }
});
