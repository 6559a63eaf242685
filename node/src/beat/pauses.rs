//! Which pauses end by themselves, and when. Pure: a catalogue and a time go in.
//!
//! Every node with the Beat's role ends them, a stand-in later by its delay; the catalogue takes the first, by the
//! revision of the pause. Due times from the pause's end on are owed, also when nobody was there to notice it.

use beatmesh_mesh::env::UnixMs;

use crate::catalogue::entry::Catalogue;
use crate::catalogue::name::ScheduleName;

/// Pauses whose time has come, with their revisions, and when the next one's comes.
#[must_use]
pub fn ended(catalogue: &Catalogue, now: UnixMs) -> (Vec<(ScheduleName, u64)>, Option<UnixMs>) {
    let (mut over, mut next) = (Vec::new(), None);
    for entry in catalogue.schedules.values() {
        match entry.pause_ends() {
            Some(until) if until <= now => over.push((entry.name.clone(), entry.revision)),
            Some(until) => next = Some(next.map_or(until, |next: UnixMs| next.min(until))),
            None => {}
        }
    }
    (over, next)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogue::entry::{ScheduleEntry, Switch};

    fn entry(name: &str, enabled: bool, paused_until: Option<i64>) -> ScheduleEntry {
        let definition = serde_json::from_value(serde_json::json!({"cron": "* * * * *", "function": "f"}));
        ScheduleEntry {
            name: name.parse().unwrap(),
            revision: 7,
            times_revision: 7,
            enabled,
            paused_until: paused_until.map(UnixMs),
            definition: Arc::new(definition.unwrap()),
        }
    }

    #[test]
    fn pauses_end_at_their_time_and_the_others_do_not() {
        let entries = [
            entry("runs", true, None),
            entry("was-paused", true, Some(50)),
            entry("for-good", false, None),
            entry("over", false, Some(100)),
            entry("later", false, Some(300)),
            entry("soon", false, Some(101)),
        ];
        let schedules = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let catalogue = Catalogue { revision: 9, schedules, ..Catalogue::default() };
        let names = |now| {
            let (over, next) = ended(&catalogue, UnixMs(now));
            (over.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), next.map(|next| next.0))
        };
        assert_eq!(names(99), (vec![], Some(100)));
        assert_eq!(names(100), (vec!["over".to_owned()], Some(101)));
        assert_eq!(names(1_000).1, None);
        assert_eq!(ended(&catalogue, UnixMs(100)).0[0].1, 7, "the pause's own revision");
    }

    #[test]
    fn a_switch_that_changes_nothing_is_none() {
        use Switch::{EndPause, Pause, Resume};
        let until = |until: i64| Pause { until: Some(UnixMs(until)) };
        let for_good = Pause { until: None };
        let (runs, paused, limited) =
            (entry("s", true, None), entry("s", false, None), entry("s", false, Some(100)));
        for (before, switch, after) in [
            (&runs, Resume, None),
            (&runs, for_good, Some((false, None))),
            (&runs, until(100), Some((false, Some(100)))),
            (&runs, EndPause { revision: 7 }, None),
            (&paused, for_good, None),
            (&paused, until(100), Some((false, Some(100)))),
            (&paused, Resume, Some((true, None))),
            (&paused, EndPause { revision: 7 }, None),
            (&limited, until(100), None),
            (&limited, until(200), Some((false, Some(200)))),
            (&limited, for_good, Some((false, None))),
            (&limited, Resume, Some((true, None))),
            (&limited, EndPause { revision: 7 }, Some((true, Some(100)))),
        ] {
            let found = before.switched(switch).map(|e| (e.enabled, e.paused_until.map(|until| until.0)));
            assert_eq!(found, after, "{before:?} {switch:?}");
        }
    }
}
