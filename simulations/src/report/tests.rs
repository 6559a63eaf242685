//! The page from a tiny history: everything is on it, nothing comes from elsewhere, and no text breaks out.

use beatmesh_mesh::env::UnixMs;

use super::*;
use crate::history::{EPOCH, Event, Record};
use crate::properties::Violation;
use crate::teeth::Bite;
use crate::world::store::guards::Guard;

fn outcome() -> Outcome {
    let names = ["n0-00aa", "n1-00bb"];
    let schedule = || "every-second".parse().unwrap();
    let tick = |due: i64, skipped: Option<&str>, node: &str| Event::TickCommitted {
        schedule: schedule(),
        revision: 1,
        from: EPOCH.plus(std::time::Duration::from_millis(due.unsigned_abs())),
        due: EPOCH.plus(std::time::Duration::from_millis(due.unsigned_abs())),
        count: 1,
        skipped: skipped.map(str::to_owned),
        task: None,
        node: node.to_owned(),
        store_now: EPOCH,
    };
    let ready = |node: &str| Event::NodeReady { node: node.to_owned(), life: 1, generation: 1 };
    let believes =
        |observer: &str, beat: &str| Event::BeatSeen { observer: observer.into(), beat: Some(beat.into()) };
    let began = |number, kind, words: &str, nodes: &[&str]| Event::FaultBegan {
        fault: format!("{words} ({})", nodes.join(", ")),
        number,
        kind,
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
    };
    let due = EPOCH.plus(std::time::Duration::from_secs(3));
    let refused =
        Event::TickRefused { schedule: schedule(), due, reason: "moved", node: names[0].to_owned() };
    let events = [
        (100, ready(names[0])),
        (120, ready(names[1])),
        (200, believes(names[0], names[0])),
        (210, believes(names[1], names[0])),
        (1_004, tick(1_000, None, names[0])),
        (1_500, began(0, "crash", "crash node 0", &names[..1])),
        (1_500, Event::NodeDown { node: names[0].to_owned(), how: "crash" }),
        (3_250, tick(2_000, None, names[1])),
        (3_300, tick(3_000, Some("overlap"), names[1])),
        (3_400, refused),
        (3_500, began(1, "other", "<script>alert(1)</script>", &names[1..])),
        (4_000, began(2, "clock", "a clock for all", &names)),
        (9_000, tick(9_000, Some("paused"), "")),
    ];
    let record = |(at, event)| Record { at: UnixMs(EPOCH.0 + at), event };
    let history: Vec<_> = events.into_iter().map(record).collect();
    let measures = Measures::of(&history, &[UnixMs(EPOCH.0 + 1_500)]);
    let what = "due at <2> was decided twice".to_owned();
    let violation = Violation { property: "T1 every due time", ..Violation::at(due, what) };
    Outcome {
        seed: 7,
        faults: Vec::new(),
        length: std::time::Duration::from_secs(60),
        violations: vec![violation],
        history,
        packets: Vec::new(),
        hash: 1,
        measures,
    }
}

fn chapter() -> Chapter {
    let mut chapter = Chapter { name: "crashes".to_owned(), story: "a & b".to_owned(), ..Chapter::default() };
    chapter.add(outcome());
    chapter
}

#[test]
fn the_page_holds_every_part_and_needs_no_other_file() {
    let bite = Bite { properties: vec!["T1 every due time"], scenario: "crashes", seed: 3, runs: 4 };
    let teeth = [(Guard::CursorCompare, Some(bite)), (Guard::StoreClock, None)];
    let page = page(&[chapter(), chapter()], &teeth, "report --seeds 0..1");
    assert!(page.contains("cursor_compare</th><td>T1 every due time</td>") && page.contains("not proven"));
    for part in
        ["n0-00aa", "class=\"bad\"", "All scenarios together", "seed 7</b>", "--seed 7", "a &amp; b", "p99 "]
    {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["http://", "https://", "src=", "@import", "<script"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_picture_of_a_run_shows_faults_beliefs_and_ticks() {
    let picture = picture("crashes", &outcome());
    for part in [
        ">crash node 0</text>",
        "crash node 0 (n0-00aa) (1.50 s to 9.00 s)",
        ">all</text>",
        "class=\"own c0\"",
        "class=\"other c0\"",
        "class=\"fired\"",
        "class=\"skipped\"",
        "class=\"refused\"",
        "every-second due at 2.00 s: fired at 3.25 s, 1.25 s late",
        ">edits</text>",
        "class=\"broken\"",
        "&lt;script&gt;alert(1)",
        "due at &lt;2&gt; was decided twice",
    ] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    assert!(!picture.contains("<script") && !picture.contains("NaN"), "{picture}");
    assert_eq!(picture.matches(">a clock for all</text>").count(), 1, "once, not on each lane");
}

#[test]
fn the_legend_names_the_rows_of_dots_and_counts_the_schedules_that_share_the_last_one() {
    let rows_of = |schedules: usize| {
        let schedules = (1..=schedules).map(|number| format!("s{number}")).collect();
        rows(&Story { schedules, ..Story::default() })
    };
    assert_eq!(rows_of(2), "rows, from the top: s1, s2");
    assert_eq!(rows_of(3), "rows, from the top: s1, s2, s3");
    assert_eq!(rows_of(4), "rows, from the top: s1, s2, s3 and 1 other");
    assert_eq!(rows_of(1_001), "rows, from the top: s1, s2, s3 and 998 others");
}

#[test]
fn a_run_in_which_nothing_happened_is_drawn_too() {
    let empty = Outcome { history: Vec::new(), violations: Vec::new(), ..outcome() };
    let picture = picture("nothing", &empty);
    assert!(picture.contains("Every promise was kept") && !picture.contains("NaN"), "{picture}");
}
