//! Every runtime that a worker node has, behind one [`Functions`].

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::process::ProcessRuntime;
use super::{Ended, Execution, Functions, builtin};
use crate::catalogue::function::RuntimeKind;

/// Runs a function in the runtime that its definition names, on this machine.
#[derive(Debug)]
pub struct LocalFunctions {
    processes: ProcessRuntime,
}

impl LocalFunctions {
    /// Processes run in `processes`, builtins in the caller's task.
    #[must_use]
    pub fn new(processes: ProcessRuntime) -> Self {
        Self { processes }
    }
}

#[async_trait]
impl Functions for LocalFunctions {
    async fn run(&self, execution: Execution, output: mpsc::Sender<Bytes>) -> Ended {
        match execution.definition.runtime {
            RuntimeKind::Process => self.processes.run(execution, output).await,
            RuntimeKind::Builtin => builtin::run(execution, output).await,
        }
    }
}
