//! Functions inside the node: `noop` and `echo`, for trying a mesh and for measuring it.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Ended, Execution, Failure};
use crate::catalogue::function::Builtin;

/// Runs a builtin under the same rules as a process: output limit, timeout, and it stops when nobody
/// listens.
pub(super) async fn run(execution: Execution, output: mpsc::Sender<Bytes>) -> Ended {
    let result = match execution.definition.builtin() {
        Ok(Builtin::Noop) => Ok(()),
        Ok(Builtin::Echo) => echo(execution, &output).await,
        Err(error) => Err(Failure::NotStarted(error.to_string())),
    };
    Ended { result, stderr_tail: String::new() }
}

async fn echo(execution: Execution, output: &mpsc::Sender<Bytes>) -> Result<(), Failure> {
    if execution.input.len() as u64 > execution.output_limit {
        return Err(Failure::OutputTooLarge(execution.output_limit));
    }
    if execution.input.is_empty() {
        return Ok(());
    }
    match timeout(execution.timeout, output.send(execution.input)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Failure::Lost("nobody waits for its output any more".to_owned())),
        Err(_) => Err(Failure::TimedOut(execution.timeout)),
    }
}
