//! What a Beat looks after besides firing: that the queue's store has every fence, that pauses end, and that the other
//! nodes know what it has committed.

use std::collections::BTreeSet;
use std::time::Duration;

use beatmesh_mesh::View;
use futures_util::stream::{self, StreamExt};

use super::{ANSWER_WITHIN, Answer, Driver, within};
use crate::beat::plan::{Event, Standing};
use crate::beat::repair::{self, Missing};
use crate::beat::{pauses, told};
use crate::catalogue::entry::Switch;
use crate::catalogue::name::ScheduleName;
use crate::notice::topic;
use crate::queue::StoreError;
use crate::queue::tick::ScheduleState;
use crate::store::{CatalogueStore, EditError};

/// Fences on their way to the store at the same time: after it has lost everything there is one for each
/// schedule.
const REPAIRS_AT_ONCE: usize = 16;

/// How often the Beat looks whether the store still knows all schedules. One that it has lost between two due times
/// must be there again before the next one: a standing that is written anew begins at the present.
pub(super) const SURVEY_EVERY: Duration = Duration::from_secs(10);

/// The second look at what is missing: an edit that is under way has had its second half by then.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A pause that could not be ended is tried again after this.
pub(super) const END_AGAIN: Duration = Duration::from_secs(1);

impl Driver {
    /// Looks whether the store still knows all schedules, also those that are not due for long.
    pub(super) fn survey_after(&mut self, pause: Duration) {
        if self.plan.standing() != Standing::Owner || std::mem::replace(&mut self.surveying, true) {
            return;
        }
        let (queue, answers) = (self.parts.queue.clone(), self.answers.clone());
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            let states = within(queue.schedule_states()).await;
            let _ = answers.send(Answer::Surveyed(states)).await;
        });
    }

    /// Puts right where the queue's store is behind the catalogue. The plan reads again by itself while the two
    /// do not agree.
    pub(super) fn repair(&mut self, states: &[ScheduleState]) {
        let mut missing = repair::missing(&self.parts.catalogue.current(), states);
        let names = missing.iter().map(|missing| (missing.schedule.clone(), missing.revision)).collect();
        let before = std::mem::replace(&mut self.suspected, names);
        missing.retain(|missing| before.contains(&(missing.schedule.clone(), missing.revision)));
        if missing.len() < self.suspected.len() {
            self.survey_after(LOOK_AGAIN);
        }
        if missing.is_empty() || std::mem::replace(&mut self.repairing, true) {
            return;
        }
        let twice: BTreeSet<ScheduleName> = missing.into_iter().map(|missing| missing.schedule).collect();
        let (catalogue, states) = (self.parts.catalogue.clone(), states.to_vec());
        let (queue, answers) = (self.parts.queue.clone(), self.answers.clone());
        self.spawn(async move {
            // When one store holds both, the catalogue may have gone back with the standings: what this node
            // remembers of it must not be written there, for no edit of the store's would be later.
            let mut missing = match catalogue.refresh().await {
                Ok(()) => repair::missing(&catalogue.current(), &states),
                Err(_) => Vec::new(),
            };
            missing.retain(|missing| twice.contains(&missing.schedule));
            if let Some(first) = missing.first() {
                tracing::warn!(schedules = missing.len(), first = %first.schedule, "the queue's store is behind the catalogue: an edit was broken off, or the store has lost what it held; writing what is missing");
            }
            let writing = missing.into_iter().map(|Missing { schedule, revision, after }| {
                let queue = queue.clone();
                async move { within(queue.fence(&schedule, revision, after.as_ref())).await }
            });
            let mut written = stream::iter(writing).buffer_unordered(REPAIRS_AT_ONCE);
            while let Some(fence) = written.next().await {
                if let Err(error) = fence {
                    tracing::warn!(%error, "a schedule's standing cannot be written; trying again later");
                    break;
                }
            }
            drop(written);
            let _ = answers.send(Answer::Repaired).await;
        });
    }

    /// Ends the pauses whose time has come, and notes when the next one's does.
    pub(super) fn end_pauses(&mut self) {
        self.pause_ends = None;
        let (Some(now), Some(delay), false) = (self.store_now(), self.plan.delay(), self.resuming) else {
            return;
        };
        let catalogue = self.parts.catalogue.clone();
        let (over, next) = pauses::ended(&catalogue.current(), now.minus(delay));
        self.pause_ends = next.map(|until| until.plus(delay));
        if over.is_empty() {
            return;
        }
        self.resuming = true;
        let (store, mesh, answers) =
            (self.parts.store.clone(), self.parts.mesh.clone(), self.answers.clone());
        self.spawn(async move {
            let mut all = true;
            for (schedule, revision) in over {
                match end_pause(&*store, &schedule, revision).await {
                    Ok(()) => tracing::info!(%schedule, "its pause has ended"),
                    // Another node was faster, or somebody has paused it anew, resumed or deleted it.
                    Err(EditError::Conflict { .. } | EditError::NotFound { .. }) => {}
                    Err(error) => {
                        tracing::warn!(%schedule, %error, "its pause cannot be ended; trying again");
                        all = false;
                    }
                }
            }
            all &= catalogue.refresh().await.is_ok();
            mesh.spread(topic::CATALOGUE, catalogue.current().revision).await;
            let _ = answers.send(Answer::Resumed { all }).await;
        });
    }

    /// Tells the other nodes what this one has committed, now and then.
    pub(super) fn tell(&mut self) {
        let members = self.parts.mesh.view().members.len();
        if let Some(fact) = self.committed.statement(self.parts.env.clock.now(), members) {
            let mesh = self.parts.mesh.clone();
            self.spawn(async move { mesh.set_facts([fact]).await });
        }
    }

    /// Hands in what the others have told, the dead ones among them.
    pub(super) fn hear(&mut self, view: &View) {
        let others = view.members.iter().filter(|(id, _)| **id != view.me);
        let told: Vec<_> = others.flat_map(|(_, member)| told::read(&member.facts)).collect();
        if !told.is_empty() {
            self.take(Event::OthersCommitted(told));
        }
    }
}

async fn end_pause(
    store: &dyn CatalogueStore,
    schedule: &ScheduleName,
    revision: u64,
) -> Result<(), EditError> {
    let ending = store.switch_schedule(schedule, Switch::EndPause { revision });
    match tokio::time::timeout(ANSWER_WITHIN, ending).await {
        Ok(ended) => ended.map(drop),
        Err(_) => Err(StoreError::Unknown(format!("no answer within {ANSWER_WITHIN:?}")).into()),
    }
}
