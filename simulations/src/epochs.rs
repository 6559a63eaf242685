//! What a history is worth after the store has forgotten a part of it. Promises about what a store took hold
//! within one epoch of it: what it forgot was never taken.

use std::collections::{BTreeMap, BTreeSet};

use beatmesh_mesh::env::UnixMs;
use beatmesh_node::catalogue::name::ScheduleName;
use beatmesh_node::queue::task::TaskId;

use crate::history::{Event, Record};

/// A history without what a store has forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What happened elsewhere, and what the store still knows.
    pub history: Vec<Record>,
    /// Tasks that it had taken, and when it forgot them.
    pub forgotten: BTreeMap<TaskId, UnixMs>,
    /// Ticks that it had taken.
    pub lost_ticks: Vec<LostTick>,
    /// Revisions of edits that it had taken.
    pub forgotten_edits: BTreeSet<u64>,
    /// How much was lost.
    pub lost: usize,
}

/// A decision that a store has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTick {
    /// The schedule.
    pub schedule: ScheduleName,
    /// Of a run the first due time.
    pub from: UnixMs,
    /// The due time; of a run the last one.
    pub due: UnixMs,
    /// Who had asked for it.
    pub node: String,
    /// When it was taken.
    pub taken: UnixMs,
    /// When it was forgotten.
    pub forgotten: UnixMs,
}

impl Remembered {
    /// Of a whole run.
    #[must_use]
    pub fn of(history: &[Record]) -> Self {
        // With their places in the whole history.
        let mut kept: Vec<(usize, &Record)> = Vec::with_capacity(history.len());
        let (mut forgotten, mut forgotten_edits, mut lost_count) = (BTreeMap::new(), BTreeSet::new(), 0);
        let mut lost_ticks = Vec::new();
        for (place, record) in history.iter().enumerate() {
            let begin = match record.event {
                Event::StoreForgot { number: which } => {
                    let is_its_beginning = |(_, record): &(usize, &Record)| matches!(record.event, Event::FaultBegan { number, .. } if number == which);
                    Some(kept.iter().rposition(is_its_beginning).unwrap_or(kept.len()))
                }
                Event::QueueForgot { known } => Some(kept.partition_point(|(place, _)| *place < known)),
                _ => None,
            };
            if let Some(begin) = begin {
                let after = kept.split_off(begin);
                let (lost, others): (Vec<_>, Vec<_>) =
                    after.into_iter().partition(|(_, record)| is_the_stores(&record.event));
                kept.extend(others);
                lost_count += lost.len();
                forgotten_edits.extend(lost.iter().filter_map(|(_, lost)| match lost.event {
                    Event::Fenced { revision, .. } => Some(revision),
                    _ => None,
                }));
                lost_ticks.extend(lost.iter().filter_map(|(_, lost)| match &lost.event {
                    Event::TickCommitted { schedule, from, due, node, .. } => Some(LostTick {
                        schedule: schedule.clone(),
                        from: *from,
                        due: *due,
                        node: node.clone(),
                        taken: lost.at,
                        forgotten: record.at,
                    }),
                    _ => None,
                }));
                let tasks = lost.into_iter().filter_map(|(_, lost)| match lost.event {
                    Event::Stored { task } => Some((task, record.at)),
                    _ => None,
                });
                forgotten.extend(tasks);
            }
            kept.push((place, record));
        }
        let history = kept.into_iter().map(|(_, record)| record.clone()).collect();
        Self { history, forgotten, lost_ticks, forgotten_edits, lost: lost_count }
    }
}

/// Whether the store is where this happened.
fn is_the_stores(event: &Event) -> bool {
    matches!(
        event,
        Event::Fenced { .. }
            | Event::TickCommitted { .. }
            | Event::TickRefused { .. }
            | Event::Stored { .. }
            | Event::Claimed { .. }
            | Event::Completed { .. }
            | Event::LeaseLost { .. }
            | Event::TakenOut { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_took_after_what_it_still_knows_was_never_taken() {
        let task =
            |number: u8| format!("00000000-0000-0000-0000-00000000000{number}").parse::<TaskId>().unwrap();
        let stored = |number| Event::Stored { task: task(number) };
        let forgot = |known| Event::QueueForgot { known };
        let node = || Event::Paused { node: "n".to_owned() };
        // The second loss reaches back before the first one.
        let events = [stored(1), stored(2), node(), stored(3), forgot(2), stored(4), forgot(1), stored(5)];
        let history: Vec<_> =
            events.into_iter().zip(1..).map(|(event, at)| Record { at: UnixMs(at), event }).collect();
        let remembered = Remembered::of(&history);
        let events: Vec<_> = remembered.history.into_iter().map(|record| record.event).collect();
        assert_eq!(events, [stored(1), node(), forgot(2), forgot(1), stored(5)]);
        let forgotten = [(task(2), UnixMs(7)), (task(3), UnixMs(5)), (task(4), UnixMs(7))];
        assert_eq!(remembered.forgotten, BTreeMap::from(forgotten));
    }

    #[test]
    fn what_a_store_took_between_a_faults_beginning_and_its_forgetting_was_never_taken() {
        let task =
            |number: u8| format!("00000000-0000-0000-0000-00000000000{number}").parse::<TaskId>().unwrap();
        let stored = |number| Event::Stored { task: task(number) };
        let told = |number| Event::Acknowledged { task: task(number), key: String::new(), deadly: false };
        let (fault, nodes) = ("planted".to_owned(), Vec::new());
        let began = Event::FaultBegan { fault, number: 3, kind: "store", nodes };
        let forgot = Event::StoreForgot { number: 3 };
        let events = [stored(1), began.clone(), stored(2), told(2), forgot.clone(), stored(4)];
        let history: Vec<_> =
            events.into_iter().zip(1..).map(|(event, at)| Record { at: UnixMs(at), event }).collect();
        let remembered = Remembered::of(&history);
        let events: Vec<_> = remembered.history.into_iter().map(|record| record.event).collect();
        assert_eq!(events, [stored(1), began, told(2), forgot, stored(4)]);
        assert_eq!(remembered.forgotten, BTreeMap::from([(task(2), UnixMs(5))]));
    }
}
