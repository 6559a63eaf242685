//! What a schedule is: when it is due, what it runs, what happens to due times that were missed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::FunctionName;
use crate::beat::timetable::{AT, Timetable, TimetableError};
use crate::queue::order::OrderKey;
use crate::units::Span;

/// A schedule's definition, as written in a manifest or sent to the API.
///
/// What the types cannot hold is checked by [`Schedule::validate`], at every door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields, or six with seconds first: `*/2 * * * * *` is every two seconds; or `@every 90s`. Either
    /// this or `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The one moment at which it is due, as `2026-12-24T18:00:00`, or with an offset. It fires once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// IANA name; `cron` and `at` are read in this zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What a firing enqueues.
    pub function: FunctionName,
    /// The input of every firing, as JSON; nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// What happens to due times that nobody fired in time.
    #[serde(default)]
    pub misfire: Misfire,
    /// `fire_all`: at most this many missed due times are fired, the latest ones.
    #[serde(default = "default_misfire_cap")]
    pub misfire_cap: u32,
    /// `skip`: a due time fired later than this is skipped.
    #[serde(default = "default_misfire_grace")]
    pub misfire_grace: Span,
    /// What happens when the task of the previous firing has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Each due time is fired so much later at most, by a share of its own: see [`crate::beat::jitter`].
    // Left out when there is none, so that nodes of an earlier version read the definition.
    #[serde(default, skip_serializing_if = "Span::is_zero")]
    pub jitter: Span,
    /// The order key of its tasks: they start one after the other, with others of the function that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<OrderKey>,
    /// What happens to due times whose decision the store has lost.
    #[serde(default, skip_serializing_if = "OnStoreRollback::is_default")]
    pub on_store_rollback: OnStoreRollback,
}

/// What happens to due times that nobody fired in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// The latest missed due time is fired, the ones before it are skipped.
    #[default]
    FireLatest,
    /// All are fired, up to `misfire_cap`.
    FireAll,
    /// Those that are older than `misfire_grace` are skipped.
    Skip,
}

/// What happens when the task of the previous firing has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is enqueued all the same.
    #[default]
    Allow,
    /// It is skipped.
    Skip,
    /// It is enqueued unless one is waiting already.
    QueueOne,
}

/// What happens to due times that had been decided, as nodes remember, before the queue's store went back to an
/// earlier state: a failover lost writes, or a backup was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreRollback {
    /// They are due again, by the misfire policy: what the store has lost with them may never have run.
    #[default]
    Refire,
    /// They are skipped: rather lost than twice.
    Skip,
}

impl OnStoreRollback {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a definition cannot work. Each names the value at fault and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron text or the time zone.
    #[error(transparent)]
    Timetable(#[from] TimetableError),
    /// Neither `cron` nor `at`.
    #[error(
        "`cron` or `at` is missing: write when it is due, for example cron = \"30 2 * * *\", cron = \"@every 90s\" or at = \"2026-12-24T18:00:00\""
    )]
    NoTimes,
    /// Both `cron` and `at`.
    #[error("`cron` and `at` do not go together: write two schedules, or leave one of them out")]
    BothTimes,
    /// The inner form of `at`, at a place where people write.
    #[error("`cron` = \"{0}\": a single moment is written as `at`, without `@at`")]
    AtInCron(String),
    /// No catch-up, or one without bounds.
    #[error("`misfire_cap` = {0} is out of range: 1 to {LARGEST_MISFIRE_CAP}")]
    MisfireCap(u32),
    /// Put off for longer than makes sense.
    #[error("`jitter` = \"{0}\" is too long: at most {LONGEST_JITTER}")]
    Jitter(Span),
}

impl Schedule {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first [`ScheduleError`] found.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        match (&self.cron, &self.at) {
            (None, None) => return Err(ScheduleError::NoTimes),
            (Some(_), Some(_)) => return Err(ScheduleError::BothTimes),
            (Some(cron), None) if cron.trim_start().starts_with(AT) => {
                return Err(ScheduleError::AtInCron(cron.chars().take(64).collect()));
            }
            _ => {}
        }
        self.times().timetable()?;
        if !(1..=LARGEST_MISFIRE_CAP).contains(&self.misfire_cap) {
            return Err(ScheduleError::MisfireCap(self.misfire_cap));
        }
        if self.jitter > LONGEST_JITTER {
            return Err(ScheduleError::Jitter(self.jitter));
        }
        Ok(())
    }

    /// What its due times follow from.
    #[must_use]
    pub fn times(&self) -> Times {
        let cron = match (&self.cron, &self.at) {
            (Some(cron), _) => cron.clone(),
            (None, Some(at)) => format!("{AT} {at}"),
            // Nothing that can be read: refused at every door.
            (None, None) => String::new(),
        };
        Times { cron, timezone: self.timezone.clone() }
    }

    /// Whether `other` is due at the same times, so that the cursor may stay where it is.
    #[must_use]
    pub fn same_times(&self, other: &Self) -> bool {
        self.times() == other.times()
    }
}

/// What due times follow from: two schedules with equal ones are due at the same instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// As of [`Schedule::cron`]; that of a [`Schedule::at`] begins with `@at`.
    pub cron: String,
    /// As of [`Schedule::timezone`].
    pub timezone: String,
}

impl Times {
    /// Reads both.
    ///
    /// # Errors
    /// As [`Timetable::parse`].
    pub fn timetable(&self) -> Result<Timetable, TimetableError> {
        Timetable::parse(&self.cron, &self.timezone)
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_misfire_cap() -> u32 {
    100
}

fn default_misfire_grace() -> Span {
    Span(Duration::from_secs(60))
}

/// The most missed due times that `misfire_cap` may ask for: a catch-up must stay bounded.
pub const LARGEST_MISFIRE_CAP: u32 = 1_000;

/// The longest `jitter`: what is put off for more than a day has another due time.
pub const LONGEST_JITTER: Span = Span(Duration::from_secs(86_400));

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Schedule {
        toml::from_str(&format!("{text}\nfunction = \"f\"")).expect("it is well-formed")
    }

    #[test]
    fn a_schedule_has_a_cron_text_or_a_moment() {
        for (text, cron) in [
            ("cron = \"@every 90s\"", "@every 90s"),
            ("cron = \"* * * * *\"\njitter = \"30s\"\non_store_rollback = \"skip\"", "* * * * *"),
            ("at = \"2026-12-24T18:00:00\"\ntimezone = \"Europe/Berlin\"", "@at 2026-12-24T18:00:00"),
        ] {
            let schedule = read(text);
            assert_eq!(schedule.validate(), Ok(()));
            assert_eq!(schedule.times().cron, cron);
            let again: Schedule = serde_json::from_str(&serde_json::to_string(&schedule).unwrap()).unwrap();
            assert_eq!(again, schedule);
        }
        for (text, part) in [
            ("", "`cron` or `at` is missing"),
            ("cron = \"* * * * *\"\nat = \"2026-12-24T18:00:00\"", "do not go together"),
            ("cron = \"@at 2026-12-24T18:00:00\"", "written as `at`"),
            ("at = \"24.12.2026 18:00\"", "`24.12.2026 18:00` is not a moment"),
            ("at = \"@every 5s\"", "`@every 5s` is not a moment"),
            ("at = \"2026-12-24T18:00:00\"\ntimezone = \"Europe/Berln\"", "`Europe/Berlin`"),
            ("cron = \"* * * * *\"\njitter = \"25h\"", "`jitter` = \"25h\" is too long: at most 1d"),
        ] {
            let error = read(text).validate().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
