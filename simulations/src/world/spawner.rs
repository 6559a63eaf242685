//! Tasks on the host's own runtime: they die with the host.
#![expect(clippy::disallowed_methods, reason = "this file implements the spawner seam")]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beatmesh_mesh::env::{OnExit, Spawner, Task};
use futures_util::FutureExt;

use super::Failures;
use super::gate::Gate;

/// Spawns for one life of one node. A panic, or the end of a task that the node cannot do without,
/// fails the run.
pub struct SimSpawner {
    node: String,
    failures: Failures,
    gate: Gate,
    /// The node stops: its tasks end now.
    stopping: Arc<AtomicBool>,
}

impl SimSpawner {
    /// For one process of this node.
    #[must_use]
    pub fn new(node: &str, failures: Failures, gate: Gate) -> Self {
        Self { node: node.to_owned(), failures, gate, stopping: Arc::default() }
    }

    /// From here on tasks may end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Spawner for SimSpawner {
    fn spawn(&self, name: &'static str, on_exit: OnExit, task: Task) {
        let (node, failures) = (self.node.clone(), self.failures.clone());
        let stopping = self.stopping.clone();
        let task = self.gate.through(AssertUnwindSafe(task).catch_unwind());
        tokio::spawn(async move {
            match task.await {
                Err(panic) => {
                    failures.add(format!("node {node}: task `{name}` panicked: {}", panic_text(&*panic)));
                }
                Ok(()) if on_exit == OnExit::StopNode && !stopping.load(Ordering::Relaxed) => {
                    failures.add(format!("node {node}: task `{name}` ended, and the node cannot do without"));
                }
                Ok(()) => {}
            }
        });
    }
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_an_end_that_must_not_be_fail_the_run_with_their_text() {
        let failures = Failures::default();
        let spawner = SimSpawner::new("n", failures.clone(), Gate::default());
        let mut sim = turmoil::Builder::new().build();
        sim.client("n", async move {
            spawner.spawn("fine", OnExit::Fine, Box::pin(async {}));
            spawner.spawn("needed", OnExit::StopNode, Box::pin(async {}));
            spawner.spawn("broken", OnExit::Fine, Box::pin(async { panic!("planted") }));
            tokio::task::yield_now().await;
            Ok(())
        });
        sim.run().unwrap();
        let failures = failures.all();
        assert_eq!(failures.len(), 2, "{failures:?}");
        assert!(failures[0].contains("`needed` ended") && failures[1].contains("`broken` panicked: planted"));
    }
}
