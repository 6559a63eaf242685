//! A stopped process: nothing of it is polled, while timers run out, packets pile up, and time passes. When it
//! goes on, everything that would have happened meanwhile is found at once, as after SIGSTOP and SIGCONT.
//!
//! Every task of a node passes [`Gate::through`]: those of its spawners, its start, and quinn's drivers. The
//! one task that does not is chitchat's, which it spawns itself: while its node is stopped it counts heartbeats
//! on, but nothing that it sends or hears passes the sockets.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};

/// One process' gate; clones share it. Open until somebody holds it.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Faults overlap: it opens when the last one ends.
    held_by: BTreeSet<usize>,
    /// Tasks that wanted to run, in that order.
    waiting: Vec<Waker>,
    /// How often one was held up.
    stopped: u64,
}

impl Gate {
    /// Stops everything; `by` tells one fault from another.
    pub fn hold(&self, by: usize) {
        self.0.lock().held_by.insert(by);
    }

    /// Lets everything go on, unless another fault holds it.
    pub fn release(&self, by: usize) {
        let waiting = {
            let mut state = self.0.lock();
            state.held_by.remove(&by);
            if state.held_by.is_empty() { std::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether somebody holds it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.0.lock().held_by.is_empty()
    }

    /// How often a task was held up so far.
    #[must_use]
    pub fn stopped(&self) -> u64 {
        self.0.lock().stopped
    }

    /// The same task, polled only while the gate is open.
    pub fn through<F: Future + Unpin>(&self, task: F) -> Gated<F> {
        Gated { gate: self.clone(), task }
    }

    fn holds_up(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        if state.held_by.is_empty() {
            return false;
        }
        state.stopped += 1;
        state.waiting.push(cx.waker().clone());
        true
    }
}

/// A task behind a gate.
pub struct Gated<F> {
    gate: Gate,
    task: F,
}

impl<F: Future + Unpin> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.gate.holds_up(cx) { Poll::Pending } else { Pin::new(&mut self.task).poll(cx) }
    }
}

/// quinn's tasks and timers: the host's, behind the gate. Its clock is tokio's, hence virtual. A panic in one
/// of its tasks ends the run, because turmoil's runtimes shut down on an unhandled panic.
pub struct GatedRuntime(pub Gate);

impl fmt::Debug for GatedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatedRuntime")
    }
}

impl Runtime for GatedRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        quinn::TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        quinn::TokioRuntime.spawn(Box::pin(self.0.through(future)));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> std::io::Result<Arc<dyn AsyncUdpSocket>> {
        quinn::TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> std::time::Instant {
        quinn::TokioRuntime.now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "a test owns its tasks and its time")]
    async fn what_is_stopped_finds_all_its_time_passed_when_it_goes_on() {
        let gate = Gate::default();
        let began = Instant::now();
        let task = tokio::spawn(gate.through(Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            began.elapsed()
        })));
        tokio::task::yield_now().await;
        gate.hold(1);
        gate.hold(2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        gate.release(1);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!task.is_finished() && gate.stopped() > 0, "two held it, one let go");
        gate.release(2);
        assert_eq!(task.await.unwrap().as_secs(), 10);
    }
}
