//! Q1: a task that was acknowledged to a client is not lost, whatever happened since.

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q1 no acknowledged task is lost", check };

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let lost = evidence.history.iter().filter_map(|record| match record.event {
        Event::Acknowledged { task } if evidence.store.task(task).is_none() => {
            Some(Violation::at(record.at, format!("task {task} was acknowledged here and is in no store")))
        }
        _ => None,
    });
    lost.collect()
}
