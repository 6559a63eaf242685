//! The seam behind which a function runs: a process in production, a scripted actor in simulation.

mod builtin;
pub mod local;
pub mod process;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::catalogue::function::Function;
use crate::catalogue::name::FunctionName;
use crate::queue::task::{Attempt, Origin, TaskId};

/// One execution of a function.
#[derive(Clone, Debug)]
pub struct Execution {
    /// The call's or task's id; a function may use it as its idempotency key.
    pub task: TaskId,
    /// 1 for a call and for the first attempt of a task.
    pub attempt: Attempt,
    /// The function's name, for its environment and for messages.
    pub function: FunctionName,
    /// How it is run. Validated.
    pub definition: Arc<Function>,
    /// Handed to the function as it is.
    pub input: Bytes,
    /// The input's media type; may be empty.
    pub content_type: String,
    /// Who asked.
    pub origin: Origin,
    /// Time left for this execution: the function's timeout, or less when the caller wants so.
    pub timeout: Duration,
    /// More output than this ends the execution.
    pub output_limit: u64,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The answer is complete, or why there is none.
    pub result: Result<(), Failure>,
    /// The last [`STDERR_TAIL`] bytes that it wrote to stderr, invalid UTF-8 replaced.
    pub stderr_tail: String,
}

/// How much of stderr is kept.
pub const STDERR_TAIL: usize = 4 * 1024;

/// Why a function did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The program could not be started; nothing ran.
    #[error("it could not be started: {0}")]
    NotStarted(String),
    /// The program ended with this exit code, not 0.
    #[error("it exited with code {0}")]
    Exit(i32),
    /// A signal ended the program.
    #[error("signal {0} ended it")]
    Signal(i32),
    /// It ran past its time and was killed.
    #[error("it ran longer than {0:?} and was killed")]
    TimedOut(Duration),
    /// It wrote more than the limit and was killed.
    #[error("its output is larger than {0} bytes; it was killed")]
    OutputTooLarge(u64),
    /// The node lost sight of it: an error of the operating system while it ran.
    #[error("the node lost sight of it: {0}")]
    Lost(String),
}

/// Runs functions.
#[async_trait]
pub trait Functions: Send + Sync + 'static {
    /// Runs one execution to its end. Output goes to `output` in order and as it comes; a closed
    /// `output` means that nobody listens any more and the execution is to be stopped.
    ///
    /// When this future is dropped, everything that the execution started is killed.
    async fn run(&self, execution: Execution, output: mpsc::Sender<Bytes>) -> Ended;
}
