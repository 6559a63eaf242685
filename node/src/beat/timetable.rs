//! When a schedule is due: a text read in a time zone, as a list of instants.
//!
//! | text | due |
//! |---|---|
//! | a cron expression, `@daily` and its kin | by the wall clock of the zone |
//! | `@every 90s` | at the multiples of the period since 1970: each node finds the same ones without any state |
//! | `@at 2026-12-24T18:00:00` | once, by the wall clock of the zone, or as its offset says |
//!
//! Invariants: due times are whole milliseconds (of a cron expression whole seconds) and strictly increase;
//! every node computes the same ones, because the time zones come from the data inside the binary and never
//! from the machine's files (nodes with two binaries may differ; the store's compare-and-set keeps even that
//! from firing twice).
//!
//! Daylight saving, as croner 4 does it and as the oracle in the tests demands:
//! - a *fixed* time (one second, one minute, one hour: `30 2 * * *`) fires once a day: a time that the
//!   clock jumps over fires at the first instant after the jump, a time that comes twice at its first; so does
//!   the single one of `@at`;
//! - everything else (`*/30 * * * *`, and also the list `0 2,14 * * *`) follows the wall clock: what is
//!   jumped over does not happen, what comes twice happens twice.

mod passed;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
pub use passed::Passed;

use crate::units::{Span, UnitError};

/// The due times of one text in one time zone. That of a cron expression costs about 6 KB: share it, see
/// [`Timetables`].
#[derive(Clone)]
pub struct Timetable {
    rule: Rule,
}

/// What a text says.
#[derive(Clone)]
enum Rule {
    Calendar(Box<Calendar>),
    Every { period_ms: i64 },
    Once { due: UnixMs },
}

/// A cron expression, read in a zone.
#[derive(Clone)]
struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

/// Why a cron text and a time zone are not a timetable. Nothing was kept; the payer is who wrote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// The text is not a cron expression.
    #[error(
        "`{cron}` is not a cron expression ({reason}); write five fields (minute hour day month weekday) or six with seconds first, for example `*/5 * * * *`"
    )]
    BadCron {
        /// What was given.
        cron: String,
        /// What the parser says.
        reason: String,
    },
    /// `@every` without a period that makes sense.
    #[error(
        "`{EVERY} {period}` is not a period ({reason}); write one of {LEAST_PERIOD} to {LONGEST_PERIOD}, for example `{EVERY} 90s`"
    )]
    BadPeriod {
        /// What was given.
        period: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `@at` without a moment.
    #[error(
        "`{time}` is not a moment ({reason}); write for example `2026-12-24T18:00:00`, which is read in `timezone`, or `2026-12-24T18:00:00+01:00`"
    )]
    BadTime {
        /// What was given.
        time: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No time zone of that name.
    #[error("`{timezone}` is not an IANA time zone; {hint}")]
    UnknownZone {
        /// What was given.
        timezone: String,
        /// What to write instead.
        hint: String,
    },
    /// The expression is well-formed, but no calendar holds such a date.
    #[error(
        "`{cron}` is never due: no such date comes before the year {LAST_YEAR}; check the day and the month"
    )]
    Never {
        /// What was given.
        cron: String,
    },
}

/// Longer texts are typing errors or attacks; the longest sensible expression has about 200.
const LONGEST_TEXT: usize = 256;

/// What a text begins with that has a period.
const EVERY: &str = "@every";

/// What a text begins with that is due once.
pub(crate) const AT: &str = "@at";

/// As often as a cron expression can be due; each due time costs a commit of the store.
const LEAST_PERIOD: Span = Span(Duration::from_secs(1));

/// Longer ones are typing errors: who counts years means dates.
const LONGEST_PERIOD: Span = Span(Duration::from_secs(366 * 86_400));

/// Where the search for a date that never comes ends; croner's own bound (`YEAR_UPPER_LIMIT`).
const LAST_YEAR: i32 = croner::YEAR_UPPER_LIMIT;

/// How many clock changes one search may have to get over. Needed once for each day that a zone
/// skipped as a whole (Pacific/Apia, 2011-12-30), where croner gives up on a fixed time.
const MOST_JUMPS: usize = 4;

/// From where a timetable must be due at least once: 2000-01-01, the start of a 400-year cycle of the
/// Gregorian calendar. Any fixed date does; "now" would make the verdict depend on when it is asked.
const CYCLE_START: UnixMs = UnixMs(946_684_800_000);

impl Timetable {
    /// Reads a text in an IANA time zone: five fields, or six with seconds first, or `@daily` and its kin, or
    /// `@every` with a period, or `@at` with a moment.
    ///
    /// # Errors
    /// [`TimetableError`] names the text at fault and what to write instead.
    pub fn parse(text: &str, timezone: &str) -> Result<Self, TimetableError> {
        if text.len() > LONGEST_TEXT {
            let reason = format!("it is longer than {LONGEST_TEXT} characters");
            return Err(TimetableError::BadCron { cron: shown(text), reason });
        }
        // Stores keep both texts in one line.
        if text.contains(char::is_control) {
            let reason = "it holds a line break or another control character".to_owned();
            return Err(TimetableError::BadCron { cron: shown(text), reason });
        }
        // Of a period as well, though it is the same everywhere: a zone that is written is meant.
        let zone = find_zone(timezone)?;
        let rule = match (argument(text, EVERY), argument(text, AT)) {
            (Some(period), _) => Rule::Every { period_ms: period_ms(period)? },
            (_, Some(time)) => Rule::Once { due: moment(time, &zone)? },
            _ => Rule::Calendar(Box::new(Calendar::parse(text, zone)?)),
        };
        Ok(Self { rule })
    }

    /// The only due time, of a timetable that has no other.
    #[must_use]
    pub fn only(&self) -> Option<UnixMs> {
        match self.rule {
            Rule::Once { due } => Some(due),
            Rule::Calendar(_) | Rule::Every { .. } => None,
        }
    }

    /// The first due time strictly after `after`; `None` when there is none, or past the calendar's end.
    /// `O(1)` for dense expressions; never more than one walk over the days up to the due time.
    #[must_use]
    pub fn next_after(&self, after: UnixMs) -> Option<UnixMs> {
        match &self.rule {
            Rule::Calendar(calendar) => calendar.next_after(after),
            Rule::Every { period_ms } => {
                let periods = after.0.div_euclid(*period_ms).checked_add(1)?;
                // Where the calendar of the others ends as well.
                let due = periods.checked_mul(*period_ms)?;
                Timestamp::from_millisecond(due).is_ok().then_some(UnixMs(due))
            }
            Rule::Once { due } => Some(*due).filter(|due| *due > after),
        }
    }

    /// The due times strictly after `after`, in order.
    pub fn after(&self, after: UnixMs) -> impl Iterator<Item = UnixMs> + '_ {
        std::iter::successors(self.next_after(after), |due| self.next_after(*due))
    }

    /// The next `n` due times strictly after `after`: the preview that people see.
    #[must_use]
    pub fn upcoming(&self, after: UnixMs, n: usize) -> Vec<UnixMs> {
        self.after(after).take(n).collect()
    }
}

impl Calendar {
    fn parse(text: &str, zone: TimeZone) -> Result<Self, TimetableError> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| TimetableError::BadCron {
            cron: shown(text),
            reason: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        // Judged in UTC: whether a date exists does not depend on the zone.
        let in_utc = Self { cron: cron.clone(), zone: TimeZone::UTC };
        match in_utc.next_after(CYCLE_START) {
            Some(_) => Ok(Self { cron, zone }),
            None => Err(TimetableError::Never { cron: shown(text) }),
        }
    }

    fn next_after(&self, after: UnixMs) -> Option<UnixMs> {
        let mut from = self.at(Timestamp::from_millisecond(after.0).ok()?);
        let mut inclusive = false;
        for _ in 0..=MOST_JUMPS {
            if let Ok(due) = self.cron.find_next_occurrence(&from, inclusive) {
                return Some(UnixMs(due.timestamp().as_second() * 1_000));
            }
            // Either there is none at all, or a jump of the clock was too long for croner: go on
            // from the next jump. A zone without further jumps ends the search.
            from = self.at(self.zone.following(from.timestamp()).next()?.timestamp());
            inclusive = true;
        }
        None
    }

    fn at(&self, time: Timestamp) -> Zoned {
        Zoned::new(time, self.zone.clone())
    }
}

impl fmt::Debug for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Calendar(calendar) => {
                let zone = calendar.zone.iana_name().unwrap_or("UTC");
                write!(f, "Timetable({} in {zone})", calendar.cron.as_str())
            }
            Rule::Every { period_ms } => write!(f, "Timetable({EVERY} {period_ms}ms)"),
            Rule::Once { due } => write!(f, "Timetable({AT} {due:?})"),
        }
    }
}

/// What follows a text's first word, if that is `word`.
fn argument<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let rest = text.trim_start().strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

fn moment(text: &str, zone: &TimeZone) -> Result<UnixMs, TimetableError> {
    let bad = |reason: String| TimetableError::BadTime { time: shown(text), reason };
    if text.contains('[') {
        return Err(bad("the name of a zone has a field of its own, `timezone`".to_owned()));
    }
    // With an offset first: jiff reads a time without one also from a text that has one, and drops it.
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) if !text.contains(['T', 't', ' ']) => return Err(bad("it has no time of day".to_owned())),
        Err(_) => on_the_wall(text.parse().map_err(|error: jiff::Error| bad(error.to_string()))?, zone)
            .map_err(|error| bad(error.to_string()))?,
    };
    Ok(UnixMs(time.as_millisecond()))
}

/// When a zone's clocks show this: for the first time, or, where they jump over it, right after the jump.
fn on_the_wall(wall: DateTime, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall)
        }
        AmbiguousOffset::Gap { before, after } => {
            let shortly_before = after.to_timestamp(wall)?;
            match zone.following(shortly_before).next() {
                Some(jump) => Ok(jump.timestamp()),
                None => before.to_timestamp(wall),
            }
        }
    }
}

fn period_ms(text: &str) -> Result<i64, TimetableError> {
    let bad = |reason: String| TimetableError::BadPeriod { period: shown(text), reason };
    let period: Span = text.parse().map_err(|error: UnitError| bad(error.to_string()))?;
    if period < LEAST_PERIOD {
        return Err(bad("it is too short".to_owned()));
    }
    if period > LONGEST_PERIOD {
        return Err(bad("it is too long".to_owned()));
    }
    if !period.0.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(bad("it is not a whole number of milliseconds".to_owned()));
    }
    Ok(i64::try_from(period.0.as_millis()).expect("a year fits"))
}

fn find_zone(name: &str) -> Result<TimeZone, TimetableError> {
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(name) {
        // jiff also knows the placeholder `Etc/Unknown`, which behaves as UTC; nobody means it.
        if !zone.is_unknown() {
            return Ok(zone);
        }
    }
    // Comparing costs the length of the text for each of 600 zones: half a minute for the longest body.
    let wanted = Some(name.to_ascii_lowercase()).filter(|wanted| wanted.len() <= LONGEST_TEXT);
    let nearest = wanted.and_then(|wanted| nearest_zone(&database, &wanted));
    let hint = match nearest {
        Some(known) => format!("did you mean `{known}`?"),
        None => "write a name such as `UTC` or `Europe/Berlin`".to_owned(),
    };
    Err(TimetableError::UnknownZone { timezone: shown(name), hint })
}

fn nearest_zone(database: &TimeZoneDatabase, wanted: &str) -> Option<String> {
    let nearest = database
        .available()
        .map(|known| (similarity(wanted, &known.as_str().to_ascii_lowercase()), known.as_str().to_owned()))
        .filter(|(score, _)| *score >= SIMILAR)
        .max_by(|(a, left), (b, right)| a.total_cmp(b).then_with(|| right.cmp(left)));
    nearest.map(|(_, known)| known)
}

/// Below this likeness a hint would puzzle more than help. Guess, tried on a dozen typing errors.
const SIMILAR: f64 = 0.75;

/// Likeness of 0 to 1 to the whole name or to its city, since people often leave the continent out.
fn similarity(wanted: &str, known: &str) -> f64 {
    let city = known.rsplit('/').next().unwrap_or(known);
    let spaced = wanted.replace(' ', "_");
    strsim::normalized_damerau_levenshtein(&spaced, known)
        .max(strsim::normalized_damerau_levenshtein(&spaced, city))
}

/// What an error message repeats of a text: enough to find it, not enough to fill a log.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Timetables shared by the schedules that use the same texts: 100,000 schedules rarely have more than
/// a few hundred distinct ones, and each would cost 6 KB of its own.
#[derive(Debug, Default)]
pub struct Timetables {
    known: BTreeMap<(String, String), Arc<Timetable>>,
}

impl Timetables {
    /// The timetable of these texts, parsed at most once while somebody uses it.
    ///
    /// # Errors
    /// As [`Timetable::parse`]; errors are not kept.
    pub fn get(&mut self, text: &str, timezone: &str) -> Result<Arc<Timetable>, TimetableError> {
        let key = (text.to_owned(), timezone.to_owned());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let parsed = Arc::new(Timetable::parse(text, timezone)?);
        self.known.insert(key, parsed.clone());
        Ok(parsed)
    }

    /// Forgets timetables that nobody else holds; call it after the catalogue changed.
    pub fn forget_unused(&mut self) {
        self.known.retain(|_, timetable| Arc::strong_count(timetable) > 1);
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
