//! The store without a host and without a network: for a simulator with a clock of its own. The rules are
//! those of [`StoreState`], and so is what the history tells.

use std::time::Duration;

use beatmesh_node::catalogue::function::Function;
use beatmesh_node::catalogue::name::{FunctionName, ScheduleName};
use beatmesh_node::catalogue::schedule::Schedule;
use beatmesh_node::queue::task::{Attempt, Claimed, Completion, NewTask, TaskId, TaskOutcome};
use beatmesh_node::queue::tick::{ScheduleState, TickCommit, TickOutcome};
use beatmesh_node::queue::{Claimant, StoreError, Swept};
use beatmesh_node::store::EditError;

use super::guards::Guards;
use super::state::StoreState;
use crate::history::History;

/// A store that carries each request out at once, at the time that the caller names.
pub struct DirectStore {
    state: StoreState,
    history: History,
}

impl DirectStore {
    /// An empty store.
    #[must_use]
    pub fn new(guards: Guards, keep: Duration) -> Self {
        let history = History::default();
        Self { state: StoreState::new(history.clone(), guards, keep), history }
    }

    /// What it holds.
    #[must_use]
    pub fn state(&self) -> &StoreState {
        &self.state
    }

    /// What it did.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    fn at(&mut self, now: Duration) -> &mut StoreState {
        self.history.set_time(now);
        self.state.look_at_clock();
        &mut self.state
    }

    /// Deploys a function.
    ///
    /// # Errors
    /// The store refuses it.
    pub fn put_function(
        &mut self,
        now: Duration,
        name: FunctionName,
        definition: Function,
    ) -> Result<(), EditError> {
        self.at(now).put_function(name, definition, None).map(drop)
    }

    /// Puts a schedule in; answers where it stands.
    ///
    /// # Errors
    /// The store refuses it.
    pub fn put_schedule(
        &mut self,
        now: Duration,
        name: ScheduleName,
        definition: Schedule,
    ) -> Result<ScheduleState, EditError> {
        let state = self.at(now);
        state.put_schedule(name.clone(), definition, None)?;
        Ok(state.schedule(&name).cloned().expect("it was put in"))
    }

    /// Where all schedules stand.
    pub fn schedule_states(&mut self, now: Duration) -> Vec<ScheduleState> {
        self.at(now).all_schedules().cloned().collect()
    }

    /// `TaskQueue::commit_tick`.
    ///
    /// # Errors
    /// The commit contradicts itself.
    pub fn commit_tick(&mut self, now: Duration, commit: &TickCommit) -> Result<TickOutcome, StoreError> {
        commit.check()?;
        Ok(self.at(now).commit_tick(commit))
    }

    /// `TaskQueue::enqueue`.
    pub fn enqueue(&mut self, now: Duration, tasks: Vec<NewTask>) -> Vec<TaskId> {
        self.at(now).enqueue(tasks)
    }

    /// `TaskQueue::claim`.
    pub fn claim(&mut self, now: Duration, who: &Claimant, most: u32, lease: Duration) -> Vec<Claimed> {
        self.at(now).claim(who, most, lease)
    }

    /// `TaskQueue::complete`.
    pub fn complete(
        &mut self,
        now: Duration,
        id: TaskId,
        attempt: Attempt,
        outcome: TaskOutcome,
    ) -> Completion {
        self.at(now).complete(id, attempt, outcome, String::new())
    }

    /// `TaskQueue::sweep`.
    pub fn sweep(&mut self, now: Duration, most_lost: u32) -> Swept {
        self.at(now).sweep(most_lost)
    }
}
