//! Jitter: when a due time is fired, if not at once.
//!
//! A schedule's due times stay what they are, in the ledger and as the identity of its tasks; only the moment of
//! firing is put off, by a share of `jitter` that follows from the schedule's name and the due time alone. So all
//! nodes agree on it without a word, and a node that takes over fires at the same moment.
//!
//! Invariant: a due time's moment comes before the next due time, whatever the jitter: one that is longer than
//! the gap counts as long as the gap. So moments keep the order of due times, and no due time is superseded by
//! another one only because it was put off.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use sha2::{Digest, Sha256};

use super::timetable::Timetable;
use crate::catalogue::name::ScheduleName;

/// When the due times of one schedule are fired.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    /// Its name.
    pub schedule: &'a ScheduleName,
    /// Its due times.
    pub timetable: &'a Timetable,
    /// The most by which one is put off.
    pub jitter: Duration,
}

impl Moments<'_> {
    /// When this due time is fired: never before it, and before the next one.
    #[must_use]
    pub fn of(&self, due: UnixMs) -> UnixMs {
        if self.jitter.is_zero() {
            return due;
        }
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        let gap = self.timetable.next_after(due).map(|next| next.millis_since(due));
        let most = gap.and_then(|gap| u64::try_from(gap).ok()).unwrap_or(u64::MAX).min(jitter);
        let put_off = (u128::from(share(self.schedule, due)) * u128::from(most)) >> 64;
        UnixMs(due.0.saturating_add(i64::try_from(put_off).unwrap_or(i64::MAX)))
    }
}

/// A number that is equally likely anywhere, of 2^64: nodes of all versions must draw the same one.
fn share(schedule: &ScheduleName, due: UnixMs) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"beatmesh jitter 1\0");
    hash.update(schedule.as_str().as_bytes());
    hash.update([0]);
    hash.update(due.0.to_be_bytes());
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put_off(name: &str, text: &str, jitter_ms: u64, due: i64) -> i64 {
        let (schedule, timetable) = (name.parse().unwrap(), Timetable::parse(text, "Europe/Berlin").unwrap());
        let moments =
            Moments { schedule: &schedule, timetable: &timetable, jitter: Duration::from_millis(jitter_ms) };
        moments.of(UnixMs(due)).0 - due
    }

    #[test]
    fn a_moment_follows_from_name_and_due_time_and_never_changes_between_versions() {
        let hourly = "0 * * * *";
        let nightly = put_off("nightly", hourly, 30_000, 3_600_000);
        assert_eq!(nightly, put_off("nightly", hourly, 30_000, 3_600_000));
        assert_ne!(nightly, put_off("nightly", hourly, 30_000, 7_200_000));
        assert_ne!(nightly, put_off("weekly", hourly, 30_000, 3_600_000));
        assert_eq!(put_off("nightly", hourly, 0, 3_600_000), 0);
        // Nodes of two versions that disagree would fire at two moments; the second one is refused, but late.
        let frozen = [1_i64, 2, 3].map(|hour| put_off("nightly", hourly, 30_000, hour * 3_600_000));
        assert_eq!(frozen, [23_676, 29_633, 18_998]);
    }

    #[test]
    fn moments_are_spread_over_the_whole_jitter() {
        let drawn: Vec<i64> = (0..4_000).map(|nth| put_off("s", "@every 1m", 1_000, nth * 60_000)).collect();
        for tenth in 0..10 {
            let within = drawn.iter().filter(|ms| (tenth * 100..(tenth + 1) * 100).contains(*ms)).count();
            assert!((300..500).contains(&within), "{within} of 4000 in tenth {tenth}");
        }
        // What is due once has no next due time: all of the jitter counts.
        let once: Vec<i64> = (0..50)
            .map(|nth| put_off(&format!("s{nth}"), "@at 2026-12-24T18:00:00Z", 3_600_000, 1_798_135_200_000))
            .collect();
        assert!(once.iter().any(|ms| *ms > 3_000_000) && once.iter().all(|ms| (0..3_600_000).contains(ms)));
    }

    proptest! {
        #[test]
        fn however_long_the_jitter_moments_come_in_the_order_of_due_times(
            text in prop::sample::select(vec!["* * * * * *", "1,2,7,31 * * * * *", "*/30 * * * *", "@every 1.5s"]),
            jitter_ms in prop_oneof![0..2_000_u64, 0..86_400_000_u64],
            // Around the hour that Berlin's clocks repeat.
            after in 1_792_882_800_000..1_792_897_200_000_i64,
        ) {
            let (schedule, timetable) = ("s".parse().unwrap(), Timetable::parse(text, "Europe/Berlin").unwrap());
            let jitter = Duration::from_millis(jitter_ms);
            let moments = Moments { schedule: &schedule, timetable: &timetable, jitter };
            let due = timetable.upcoming(UnixMs(after), 30);
            for pair in due.windows(2) {
                let moment = moments.of(pair[0]);
                prop_assert!(pair[0] <= moment && moment < pair[1], "{pair:?}: {moment:?}");
                prop_assert!(moment.millis_since(pair[0]) <= i64::try_from(jitter_ms).unwrap());
            }
        }
    }
}
