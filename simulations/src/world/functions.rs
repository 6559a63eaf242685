//! Functions as scripts: they take a while, answer, and leave a trace in the history.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beatmesh_node::worker::runtime::{Ended, Execution, Failure, Functions};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use crate::history::{Event, History};

/// The input of an execution that takes its node down with it.
pub const POISON: &[u8] = b"{\"poison\":true}";

/// The function whose executions end in an error now and then.
pub const FLAKY: &str = "flaky";

/// As [`FLAKY`], for tasks with order keys; one of a key at a time.
pub const ORDERED: &str = "ordered";

/// How often.
const FAILS: f64 = 0.4;

/// Runs every function of one node by the same script. Dropping an execution ends it: then its end is not
/// in the history, only its beginning.
pub struct ScriptedFunctions {
    node: String,
    history: History,
    takes_ms: Range<u64>,
    /// Told when an execution brings the process to its end.
    kill: Arc<dyn Fn() + Send + Sync>,
    dice: Mutex<StdRng>,
}

impl ScriptedFunctions {
    /// For this node. An execution takes some of `takes_ms` milliseconds; `kill` ends the process.
    #[must_use]
    pub fn new(
        node: &str,
        history: History,
        takes_ms: Range<u64>,
        kill: Arc<dyn Fn() + Send + Sync>,
        dice: StdRng,
    ) -> Self {
        Self { node: node.to_owned(), history, takes_ms, kill, dice: Mutex::new(dice) }
    }
}

#[async_trait]
impl Functions for ScriptedFunctions {
    async fn run(&self, execution: Execution, output: mpsc::Sender<Bytes>) -> Ended {
        let (task, attempt, node) = (execution.task, execution.attempt.0, self.node.clone());
        self.history.record(Event::Began { task, attempt, node: node.clone() });
        if execution.input == POISON {
            (self.kill)();
            return std::future::pending().await;
        }
        let fails =
            [FLAKY, ORDERED].contains(&execution.function.as_str()) && self.dice.lock().random_bool(FAILS);
        let takes = self.dice.lock().random_range(self.takes_ms.clone());
        tokio::time::sleep(Duration::from_millis(takes)).await;
        if fails {
            self.history.record(Event::Executed { task, attempt, node });
            return Ended { result: Err(Failure::Exit(1)), stderr_tail: String::new() };
        }
        // An error means that nobody listens any more; the script has no reason to care.
        let _ = output.send(Bytes::from_static(b"done")).await;
        self.history.record(Event::Executed { task, attempt, node });
        Ended { result: Ok(()), stderr_tail: String::new() }
    }
}
