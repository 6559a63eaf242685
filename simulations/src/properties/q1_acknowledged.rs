//! Q1: a task that was acknowledged to a client is not lost, whatever happened since. What a store had taken
//! and then forgot is lost by the store; an answer may still have been on its way. Where an answer waits until a
//! replica has the task, nothing is an excuse.

use std::time::Duration;

use beatmesh_mesh::env::UnixMs;

use super::{Evidence, Property, Violation};
use crate::history::Event;

/// This file's property.
pub const PROPERTY: Property = Property { name: "Q1 no acknowledged task is lost", check };

/// An answer takes no longer from the store to the client.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let is_forgotten = |task, told: UnixMs| {
        let is_told_in_time = |forgot: &UnixMs| told <= forgot.plus(ON_ITS_WAY);
        !evidence.is_durable && evidence.forgotten.get(&task).is_some_and(is_told_in_time)
    };
    let lost = evidence.history.iter().filter_map(|record| match record.event {
        Event::Acknowledged { task, .. }
            if evidence.store.task(task).is_none() && !is_forgotten(task, record.at) =>
        {
            Some(Violation::at(record.at, format!("task {task} was acknowledged here and is in no store")))
        }
        _ => None,
    });
    lost.collect()
}
