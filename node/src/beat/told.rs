//! What nodes tell each other about due times that they have committed, so that whoever becomes the Beat notices a store
//! that has lost them: its own memory may begin after that.
//!
//! One fact of each node, bounded: the latest due time of each of the few schedules that it committed last. A store
//! that loses writes loses the latest ones, so these are the ones to miss. Why not more: docs/decisions/0013.

use std::collections::VecDeque;
use std::time::Duration;

use beatmesh_mesh::env::UnixMs;
use beatmesh_mesh::member::Facts;
use tokio::time::Instant;

use crate::catalogue::name::ScheduleName;
use crate::roles::facts;

/// Schedules in one fact: with the longest names it is about a kilobyte.
const MOST: usize = 8;

/// A fact goes to all linked members, and members believe no more than one change in a second over time, of which load
/// takes one half.
const STATED_EVERY: Duration = Duration::from_secs(2);

/// In larger meshes facts change more rarely, so that their bytes do not grow with the mesh.
const OFTEN_UP_TO: u32 = 64;

/// What this node has committed last.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// The latest one first.
    last: VecDeque<(ScheduleName, UnixMs)>,
    /// Something of it has not been stated.
    is_new: bool,
    stated: Option<Instant>,
}

impl Committed {
    /// Up to here a schedule is decided.
    pub(super) fn note(&mut self, schedule: &ScheduleName, due: UnixMs) {
        self.last.retain(|(known, _)| known != schedule);
        self.last.truncate(MOST - 1);
        self.last.push_front((schedule.clone(), due));
        self.is_new = true;
    }

    /// What to state now, if there is something new and the last statement is long enough ago. The first commit after
    /// a while is stated at once.
    pub(super) fn statement(&mut self, now: Instant, members: usize) -> Option<(&'static str, String)> {
        let members = u32::try_from(members).unwrap_or(u32::MAX).max(OFTEN_UP_TO);
        let pause = STATED_EVERY * members / OFTEN_UP_TO;
        let is_early = self.stated.is_some_and(|stated| now.saturating_duration_since(stated) < pause);
        if !self.is_new || is_early {
            return None;
        }
        (self.is_new, self.stated) = (false, Some(now));
        let words: Vec<_> = self.last.iter().map(|(schedule, due)| format!("{schedule}={}", due.0)).collect();
        Some((facts::COMMITTED, words.join(",")))
    }
}

/// What a member has stated. Of what this version cannot read nothing is believed, and no more than it may say.
pub(super) fn read(facts: &Facts) -> Vec<(ScheduleName, UnixMs)> {
    let text = facts.get(facts::COMMITTED).unwrap_or_default();
    let one = |word: &str| {
        let (schedule, due) = word.split_once('=')?;
        Some((schedule.parse().ok()?, UnixMs(due.parse().ok()?)))
    };
    text.split(',').take(MOST).filter_map(one).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        let mut facts = Facts::default();
        facts.entries.insert(facts::COMMITTED.to_owned(), text.to_owned());
        facts
    }

    #[test]
    fn the_latest_of_the_last_few_is_stated_now_and_then() {
        let (mut committed, mut now) = (Committed::default(), Instant::now());
        assert_eq!(committed.statement(now, 3), None, "nothing yet");
        for number in 0..12 {
            committed.note(&format!("s{number}").parse().unwrap(), UnixMs(number));
        }
        committed.note(&"s9".parse().unwrap(), UnixMs(99));
        let (_, text) = committed.statement(now, 3).expect("at once");
        assert_eq!(text, "s9=99,s11=11,s10=10,s8=8,s7=7,s6=6,s5=5,s4=4");
        assert_eq!(read(&facts(&text)).len(), MOST);
        committed.note(&"s1".parse().unwrap(), UnixMs(100));
        assert_eq!(committed.statement(now, 3), None, "not so soon");
        now += STATED_EVERY;
        assert_eq!(committed.statement(now, 640), None, "nor that soon among many");
        let (_, text) = committed.statement(now, 64).expect("after a while");
        assert!(text.starts_with("s1=100,s9=99,"), "{text}");
        now += STATED_EVERY;
        assert_eq!(committed.statement(now, 3), None, "nothing new");
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let read = |text: &str| read(&facts(text));
        let one = vec![("a".parse().unwrap(), UnixMs(-5))];
        assert_eq!(read("a=-5"), one);
        assert_eq!(read("=1,a=-5,b=x,c,../d=1,,"), one);
        assert!(read("").is_empty() && super::read(&Facts::default()).is_empty());
        let many: Vec<_> = (0..100).map(|number| format!("a{number}=1")).collect();
        assert_eq!(read(&many.join(",")).len(), MOST);
    }
}
