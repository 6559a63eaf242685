//! The queue of a mesh in a Redis, used as a library: no node runs, so a fault is all that happens.

use std::time::{Duration, Instant};

use beatmesh_node::config::{Durability, RedisUrl};
use beatmesh_node::queue::redis::{RedisOpenError, RedisQueue, RedisSettings};
use beatmesh_node::queue::task::{Claimed, Completion, NewTask, TaskId, TaskOutcome, TaskRecord, TaskState};
use beatmesh_node::queue::{Claimant, StoreError, TaskQueue};
use beatmesh_node::store::sql::scratch::here;
use bytes::Bytes;

use crate::wait::{until, until_some};

/// The mesh whose queue it is.
pub const MESH: &str = "m";

/// The id of the database that the queue belongs to.
pub const STORE: &str = "a-database";

/// What all keys begin with.
pub const PREFIX: &str = "{beatmesh:m}:";

/// Longer than any test: nothing is forgotten, and no lease lapses.
pub const LONG: Duration = Duration::from_secs(3_600);

/// By then a queue must have found its server again: the pauses between its attempts, a question that has to time
/// out, and a busy machine.
pub const BACK: Duration = Duration::from_secs(20);

/// How the tests' mesh uses a Redis.
///
/// # Panics
/// When the URL is none.
#[must_use]
pub fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: url.parse::<RedisUrl>().unwrap_or_else(|error| panic!("{error}")),
        mesh: MESH.to_owned(),
        store_id: STORE.to_owned(),
        durability: Durability::Fast,
        replicas: 1,
        keep_tasks: LONG,
        max_kept_tasks: u32::MAX,
        keep_ticks: LONG,
    }
}

/// The same, acknowledging only what so many replicas have.
#[must_use]
pub fn replicated(url: &str, replicas: u32) -> RedisSettings {
    RedisSettings { durability: Durability::Replicated, replicas, ..settings(url) }
}

/// The queue of the tests' mesh.
pub struct TestQueue(pub RedisQueue);

impl TestQueue {
    /// Opens it, which must work.
    ///
    /// # Panics
    /// When it is refused, or the server is not found in time.
    pub async fn open(settings: RedisSettings) -> Self {
        Self(Self::try_open(settings).await.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Opens it where that may be refused.
    ///
    /// # Errors
    /// Why.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn try_open(settings: RedisSettings) -> Result<RedisQueue, RedisOpenError> {
        let env = here();
        let opening = RedisQueue::open(&env, settings);
        tokio::time::timeout(BACK, opening).await.expect("a queue opens, or says why it does not")
    }

    /// Enqueues the task of a number: always the same task.
    ///
    /// # Errors
    /// What the queue says.
    pub async fn enqueue(&self, number: u32) -> Result<(), StoreError> {
        let others = self.0.enqueue(vec![task(number)]).await?;
        assert_eq!(others, [], "the same id is the same task");
        Ok(())
    }

    /// Enqueues until it is acknowledged; answers how long that took.
    ///
    /// # Panics
    /// When it is refused, or never acknowledged.
    pub async fn until_enqueued(&self, number: u32) -> Duration {
        let begin = Instant::now();
        until_some("tasks are taken again", BACK, async || match self.enqueue(number).await {
            Ok(()) => Some(()),
            Err(StoreError::Refused(reason)) => panic!("repeating does not help, it says: {reason}"),
            Err(_) => None,
        })
        .await;
        begin.elapsed()
    }

    /// Takes whatever there is.
    ///
    /// # Errors
    /// What the queue says.
    pub async fn claim(&self) -> Result<Vec<Claimed>, StoreError> {
        self.0.claim(&Claimant::new("worker"), 100, LONG).await
    }

    /// Completes a task.
    ///
    /// # Errors
    /// What the queue says.
    pub async fn complete(&self, claimed: &Claimed) -> Result<Completion, StoreError> {
        let outcome = TaskOutcome::Done { output: claimed.input.clone(), content_type: String::new() };
        self.0.complete(claimed.id, claimed.attempt, outcome, String::new()).await
    }

    /// Runs all tasks to their ends, through whatever goes wrong meanwhile, until so many are done; answers their
    /// numbers.
    ///
    /// # Panics
    /// When they do not end, or one comes twice.
    pub async fn work_off(&self, count: usize) -> Vec<u32> {
        let mut done = Vec::new();
        until(
            "all tasks have ended",
            BACK,
            async || {
                for claimed in self.claim().await.unwrap_or_default() {
                    until_some("an end is recorded", BACK, async || self.complete(&claimed).await.ok()).await;
                    done.push(number(claimed.id));
                }
                done.len()
            },
            |ended| *ended >= count,
        )
        .await;
        done.sort_unstable();
        done
    }

    /// What is kept of the task of a number.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn record(&self, number: u32) -> Option<TaskRecord> {
        self.0.task(id(number)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where the task of a number stands; `None` when there is none.
    pub async fn state(&self, number: u32) -> Option<TaskState> {
        Some(self.record(number).await?.state)
    }
}

/// The task of a number.
///
/// # Panics
/// Never: the names are good.
#[must_use]
pub fn task(number: u32) -> NewTask {
    let input = Bytes::from(number.to_string());
    NewTask { input, ..NewTask::new(id(number), "f".parse().expect("a name")) }
}

/// The id of the task of a number.
///
/// # Panics
/// Never: it is one.
#[must_use]
pub fn id(number: u32) -> TaskId {
    format!("00000000-0000-7000-8000-{number:012}").parse().expect("an id")
}

/// The number of a task that [`task`] has made.
///
/// # Panics
/// When it is of somebody else.
#[must_use]
pub fn number(id: TaskId) -> u32 {
    id.to_string()[24..].parse().expect("a number")
}

/// Asserts that a change was refused or left open, and that what is said fits and shows no password.
///
/// # Panics
/// When it was acknowledged, or the words do not fit.
#[track_caller]
pub fn assert_not_taken<T: std::fmt::Debug>(answer: Result<T, StoreError>, words: &str) -> StoreError {
    let error = answer.expect_err("it must not be acknowledged");
    assert!(!matches!(error, StoreError::Refused(_)), "it passes: {error}");
    let said = error.to_string();
    assert!(said.contains(words), "`{words}` is not in: {said}");
    assert!(!said.contains(crate::servers::PASSWORD), "a password: {said}");
    error
}
