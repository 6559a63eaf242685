//! Due times against an independent oracle: walk through real time minute by minute, read the wall
//! clock, and ask the fields one by one. It shares neither the search nor the parser with croner.

use proptest::prelude::*;

use super::*;

/// A minute and hour and their neighbours as plain sets; the cron text is made from these.
#[derive(Clone, Debug)]
struct Fields {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Any,
    One(i8),
    Every(i8),
    List(Vec<i8>),
}

impl Field {
    fn holds(&self, value: i8, first: i8) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => value == *one,
            Self::Every(step) => (value - first) % step == 0,
            Self::List(list) => list.contains(&value),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Any => "*".into(),
            Self::One(one) => one.to_string(),
            Self::Every(step) => format!("*/{step}"),
            Self::List(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        }
    }
}

impl Fields {
    fn text(&self) -> String {
        let fields = [&self.minutes, &self.hours, &self.days, &self.months, &self.weekdays];
        fields.map(Field::text).join(" ")
    }

    fn date(&self, date: jiff::civil::Date) -> bool {
        let day = self.days.holds(date.day(), 1);
        let weekday = self.weekdays.holds(date.weekday().to_sunday_zero_offset(), 0);
        // Cron's old rule: when both days are restricted, either is enough.
        let days = match (&self.days, &self.weekdays) {
            (Field::Any, _) => weekday,
            (_, Field::Any) => day,
            _ => day || weekday,
        };
        days && self.months.holds(date.month(), 1)
    }

    fn fixed(&self) -> Option<(i8, i8)> {
        match (&self.hours, &self.minutes) {
            (Field::One(hour), Field::One(minute)) => Some((*hour, *minute)),
            _ => None,
        }
    }

    /// All due times in `(from, until]`, both whole minutes.
    fn due(&self, zone: &TimeZone, from: i64, until: i64) -> Vec<i64> {
        let mut due = Vec::new();
        let mut before = local(zone, from);
        for second in (from + 60..=until).step_by(60) {
            let wall = local(zone, second);
            let jumped = wall.duration_since(before).as_secs() - 60;
            let hit = match self.fixed() {
                None => {
                    self.date(wall.date())
                        && self.hours.holds(wall.hour(), 0)
                        && self.minutes.holds(wall.minute(), 0)
                }
                Some((hour, minute)) => {
                    let wanted = wall.date().at(hour, minute, 0, 0);
                    let here = wall == wanted || (jumped > 0 && before < wanted && wanted < wall);
                    // Put back by at most three hours within the last three: then it has been here.
                    let again = || (1..=180).any(|ago| local(zone, second - ago * 60) == wall);
                    here && self.date(wall.date()) && !again()
                }
            };
            if hit {
                due.push(second);
            }
            before = wall;
        }
        due
    }
}

fn local(zone: &TimeZone, second: i64) -> jiff::civil::DateTime {
    zone.to_datetime(Timestamp::from_second(second).unwrap())
}

/// Whole hours, half hours, three quarters, a half-hour summer time, a jump at midnight, none at all,
/// and a zone whose summer time pauses for Ramadan.
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Pacific/Chatham",
];

fn check(fields: &Fields, zone_name: &str, from: i64, until: i64) {
    let text = fields.text();
    let Ok(timetable) = Timetable::parse(&text, zone_name) else {
        return;
    };
    let zone = TimeZoneDatabase::bundled().get(zone_name).unwrap();
    let expected = fields.due(&zone, from, until);
    let found: Vec<i64> = timetable
        .after(UnixMs(from * 1_000))
        .map(|due| due.0 / 1_000)
        .take_while(|due| *due <= until)
        .collect();
    let differ = expected.iter().zip(&found).find(|(a, b)| a != b);
    assert_eq!(expected, found, "`{text}` in {zone_name}, first difference {differ:?}");
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "`{text}` in {zone_name} is not increasing");
}

/// 2024-01-01T00:00:00Z.
const START: i64 = 1_704_067_200;
const DAY: i64 = 86_400;

#[test]
fn two_years_minute_by_minute_agree_with_the_oracle() {
    use Field::{Any, Every, List, One};
    let fields = |minutes, hours, days, months, weekdays| Fields { minutes, hours, days, months, weekdays };
    let family = [
        fields(One(30), One(2), Any, Any, Any),
        fields(One(0), One(0), Any, Any, Any),
        fields(Every(30), Any, Any, Any, Any),
        fields(One(15), List(vec![1, 2, 3]), Any, Any, Any),
        fields(One(45), One(2), One(29), One(2), Any),
        fields(One(30), One(1), One(31), Any, One(0)),
    ];
    // One walk per zone would do; the pairs are spread so that each expression meets each kind of zone.
    for (nth, fields) in family.iter().enumerate() {
        for zone in [ZONES[1], ZONES[5], ZONES[(nth + 6) % ZONES.len()]] {
            for change in clock_changes(zone, START, START + 731 * DAY) {
                check(fields, zone, change - 2 * DAY, change + 2 * DAY);
            }
        }
    }
    check(&family[0], "Europe/Berlin", START, START + 731 * DAY);
    check(&family[2], "Australia/Lord_Howe", START, START + 731 * DAY);
    check(&family[4], "Asia/Kolkata", START, START + 731 * DAY);
}

/// The whole minutes at which a zone's clock changes, found by looking at its offset.
fn clock_changes(zone: &str, from: i64, until: i64) -> Vec<i64> {
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let offset = |second: i64| zone.to_offset(Timestamp::from_second(second).unwrap());
    (from..until).step_by(1_800).filter(|second| offset(*second) != offset(second - 1_800)).collect()
}

fn field(low: i8, high: i8) -> impl Strategy<Value = Field> {
    prop_oneof![
        3 => Just(Field::Any),
        3 => (low..=high).prop_map(Field::One),
        1 => (2..=(high / 2).max(2)).prop_map(Field::Every),
        1 => prop::collection::btree_set(low..=high, 2..4).prop_map(|set| Field::List(set.into_iter().collect())),
    ]
}

prop_compose! {
    fn any_fields()(
        minutes in field(0, 59),
        hours in prop_oneof![field(0, 4), field(0, 23)],
        days in field(1, 31),
        months in field(1, 12),
        weekdays in field(0, 6),
    ) -> Fields {
        Fields { minutes, hours, days, months, weekdays }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any expression, around a clock change of any of the zones.
    #[test]
    fn any_expression_agrees_with_the_oracle_around_clock_changes(
        fields in any_fields(),
        zone in prop::sample::select(ZONES.to_vec()),
        pick in any::<prop::sample::Index>(),
    ) {
        let changes = clock_changes(zone, START, START + 366 * DAY);
        let around = if changes.is_empty() { START + DAY } else { changes[pick.index(changes.len())] };
        check(&fields, zone, around - DAY, around + DAY);
    }

    #[test]
    fn a_due_time_is_found_again_from_just_before_it(
        fields in any_fields(),
        zone in prop::sample::select(ZONES.to_vec()),
        seconds in 0..60_i8,
        after in START * 1_000..(START + 731 * DAY) * 1_000,
    ) {
        let text = format!("{seconds} {}", fields.text());
        if let Ok(timetable) = Timetable::parse(&text, zone) {
            let mut before = UnixMs(after);
            for due in timetable.after(UnixMs(after)).take(20) {
                prop_assert!(due > before);
                prop_assert_eq!(timetable.next_after(UnixMs(due.0 - 1)), Some(due));
                prop_assert_eq!(timetable.next_after(before), Some(due));
                before = due;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Milliseconds are walked one by one, around any moment and around 1970.
    #[test]
    fn a_period_is_due_at_its_multiples_and_nowhere_else(
        period in prop_oneof![Just(1_000_i64), 1_000..5_000_i64, 1_000..90_000_i64],
        from in prop_oneof![-20_000..20_000_i64, (START - 86_400) * 1_000..(START + 86_400) * 1_000],
        zone in prop::sample::select(ZONES.to_vec()),
    ) {
        let text = format!("@every {period}ms");
        let timetable = Timetable::parse(&text, zone).unwrap();
        let until = from + 3 * period;
        let walked: Vec<i64> = (from + 1..=until).filter(|ms| ms % period == 0).collect();
        let found: Vec<i64> =
            timetable.after(UnixMs(from)).map(|due| due.0).take_while(|due| *due <= until).collect();
        prop_assert_eq!(&found, &walked);
        prop_assert_eq!(found.len(), 3);
    }

    /// What is as often due as a cron expression is due at the same instants.
    #[test]
    fn a_period_that_divides_a_minute_is_due_as_the_cron_expression_is(
        seconds in prop::sample::select(vec![1_i64, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]),
        after in START * 1_000..(START + 731 * DAY) * 1_000,
    ) {
        let every = Timetable::parse(&format!("@every {seconds}s"), "UTC").unwrap();
        let cron = Timetable::parse(&format!("*/{seconds} * * * * *"), "UTC").unwrap();
        prop_assert_eq!(every.upcoming(UnixMs(after), 40), cron.upcoming(UnixMs(after), 40));
    }
}

/// Not a test: `cargo test -p beatmesh-node --release -- --ignored --nocapture timetable_costs`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a real clock")]
fn timetable_costs() {
    for (cron, steps) in [
        ("* * * * * *", 10_000_u32),
        ("*/2 * * * * *", 10_000),
        ("*/5 * * * *", 10_000),
        ("30 2 * * *", 10_000),
        ("0 0 29 2 *", 100),
    ] {
        for zone in ["UTC", "Europe/Berlin"] {
            let timetable = Timetable::parse(cron, zone).unwrap();
            let begun = std::time::Instant::now();
            let last = timetable.after(UnixMs(START * 1_000)).nth(steps as usize - 1);
            println!("{cron:16} {zone:14} {:?} per step, last {last:?}", begun.elapsed() / steps);
        }
    }
    let begun = std::time::Instant::now();
    assert!(Timetable::parse("0 0 31 2 *", "UTC").is_err());
    println!("a date that never comes is refused after {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    assert!(Timetable::parse("*/2 * * * * *", "Europe/Berlin").is_ok());
    println!("parsing takes {:?}", begun.elapsed());
}
