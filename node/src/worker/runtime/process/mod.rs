//! One process per execution: input on stdin, the answer from stdout, the log on stderr.
//!
//! Invariant: when an execution has ended, by itself, by force or by being dropped, nothing that it
//! started is left running. Four nets, each behind the one before:
//! 1. the program leads a process group, which is killed as a whole (`group.rs`);
//! 2. the group is killed when the future is dropped, too (`group.rs`);
//! 3. what left the group falls to the node, its subreaper, and is swept up (`orphans.rs`);
//! 4. when the node itself is killed, the kernel kills the programs (`launch.rs`), and what those had
//!    started is killed by the node's next life (`former_life.rs`), which knows it by its mark (`mark.rs`).
//!
//! Until that next life, the latter goes on running. A guard that outlives the node could kill it at once,
//! but would be a second process per node, to be kept from Ctrl-C, from the sweep and from `kill -9` itself,
//! to save the second until whatever supervises the node has started it again.
//!
//! Linux 5.3 or later (waiting for a pidfd).

mod former_life;
mod group;
mod launch;
mod mark;
mod orphans;
mod pump;
mod reaper;
mod refusal;
mod spawn;
mod sys;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

pub use self::former_life::FormerLife;
use self::group::Group;
pub use self::mark::Mark;
use self::pump::{Stderr, Stdout, deserted, feed, lost};
use self::reaper::Reaper;
use self::spawn::{Start, Started, Surroundings};
use super::{Ended, Execution, Failure, Functions};

/// How long a killed program may take to die before the answer is given without it: it hangs in the
/// kernel then (a dead network disk), and the reaper thread goes on waiting.
const DEATH_AGONY: Duration = Duration::from_secs(1);

/// What happens to processes that left their group and outlived their execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// They are killed soon after. This process becomes the subreaper of all its descendants, and **every
    /// child that it gets from now on and that this runtime did not start is taken for an orphan and
    /// killed**: only for a process that starts children in no other way, as a worker node does. A process
    /// that has children already, or is process 1 of a container, kills only what an execution has marked.
    Sweep,
    /// They are left alone, as are all other children of this process.
    Leave,
}

/// Runs functions as processes.
///
/// Must be used inside a tokio runtime with IO and time. Dropping it kills whatever still runs.
#[derive(Debug)]
pub struct ProcessRuntime {
    surroundings: Surroundings,
    starts: Option<mpsc::Sender<Start>>,
    reaper: Arc<Reaper>,
    threads: Vec<JoinHandle<()>>,
}

impl ProcessRuntime {
    /// Starts the two threads behind the runtime: one that forks, one that reaps. `node` is this node's
    /// name, which functions read from `BEATMESH_NODE`.
    ///
    /// # Errors
    /// When the system refuses the threads, or, with [`Orphans::Sweep`], the subreaper flag.
    pub fn start(node: &str, orphans: Orphans) -> io::Result<Self> {
        let surroundings = Surroundings::of_this_process(node)?;
        if orphans == Orphans::Sweep {
            sys::become_subreaper()?;
        }
        let (reaper, reaping) = Reaper::start(orphans == Orphans::Sweep)?;
        // From here on, dropping it on an error stops the thread that runs already.
        let mut runtime = Self { surroundings, starts: None, reaper, threads: vec![reaping] };
        let (starts, spawning) =
            spawn::start_thread(runtime.surroundings.parent, Arc::clone(&runtime.reaper))?;
        runtime.starts = Some(starts);
        runtime.threads.push(spawning);
        Ok(runtime)
    }

    /// Marks everything that it starts from here on as started by this life of the node.
    #[must_use]
    pub fn marked(mut self, mark: &Mark) -> Self {
        self.surroundings.mark = Some(mark.value());
        self
    }

    async fn begin(&self, execution: &Execution) -> Result<Started, Failure> {
        let program = self.surroundings.program(execution).map_err(Failure::NotStarted)?;
        let (start, answer) = Start::new(execution, program);
        let gone = || Failure::NotStarted("the node's forking thread has ended; restart the node".to_owned());
        let starts = self.starts.as_ref().ok_or_else(gone)?;
        starts.send(start).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(Failure::NotStarted)
    }
}

impl Drop for ProcessRuntime {
    fn drop(&mut self) {
        self.starts = None;
        // The forking thread first: when it ends, the kernel kills what it has started and is left.
        while let Some(thread) = self.threads.pop() {
            if self.threads.is_empty() {
                self.reaper.stop();
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the process runtime had panicked");
            }
        }
    }
}

#[async_trait]
impl Functions for ProcessRuntime {
    async fn run(&self, mut execution: Execution, output: mpsc::Sender<Bytes>) -> Ended {
        let input = std::mem::take(&mut execution.input);
        let mut deadline = pin!(sleep(execution.timeout));
        let started = tokio::select! {
            biased;
            started = self.begin(&execution) => started,
            failure = deserted(&output) => Err(failure),
            () = &mut deadline => Err(Failure::TimedOut(execution.timeout)),
        };
        let unheard = |failure| Ended { result: Err(failure), stderr_tail: String::new() };
        let Started { group, stdin, stdout, stderr } = match started {
            Ok(started) => started,
            Err(failure) => return unheard(failure),
        };
        let pipes = Stdout::new(stdout, &output, execution.output_limit)
            .and_then(|stdout| Ok((stdout, Stderr::new(stderr)?)));
        let (mut stdout, mut stderr) = match pipes {
            Ok(pipes) => pipes,
            Err(error) => return unheard(lost("its pipes cannot be watched")(error)),
        };

        let by_itself = tokio::select! {
            biased;
            ended = group.leader_ended() => ended.map_err(lost("its end cannot be waited for")),
            failure = deserted(&output) => Err(failure),
            () = &mut deadline => Err(Failure::TimedOut(execution.timeout)),
            failure = pump(stdin, input, &mut stdout, &mut stderr) => Err(failure),
        };
        if let Err(failure) = by_itself {
            end_by_force(group).await;
            return Ended { result: Err(failure), stderr_tail: stderr.into_tail() };
        }
        // The group first: what its last members write from here on is not part of the answer.
        let status = group.end().map_err(lost("its exit code is unknown"));
        let stderr_tail = stderr.into_tail();
        let passed_on = tokio::select! {
            biased;
            passed_on = stdout.pass_on_rest() => passed_on,
            () = &mut deadline => Err(Failure::TimedOut(execution.timeout)),
        };
        Ended { result: status.and_then(verdict).and(passed_on), stderr_tail }
    }
}

/// Moves bytes in all three pipes until something stands in the way; pipes that are closed early do not,
/// so the end of the program is not seen here. The input is dropped as soon as the program has it.
async fn pump(stdin: OwnedFd, input: Bytes, stdout: &mut Stdout<'_>, stderr: &mut Stderr) -> Failure {
    let moved = tokio::try_join!(
        async move { feed(stdin, input).await.map_err(lost("its stdin cannot be written")) },
        stdout.pass_on(),
        async { stderr.listen().await.map_err(lost("its stderr cannot be read")) },
    );
    match moved {
        Ok(_) => std::future::pending().await,
        Err(failure) => failure,
    }
}

/// Kills the group and waits until its leader is gone, within reason.
async fn end_by_force(group: Group) {
    group.kill();
    if let Ok(Ok(())) = timeout(DEATH_AGONY, group.leader_ended()).await {
        // How it ended is no news: it was killed.
        drop(group.end());
    }
}

fn verdict(status: ExitStatus) -> Result<(), Failure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::Exit(code)),
        (None, Some(signal)) => Err(Failure::Signal(signal)),
        (None, None) => Err(Failure::Lost(format!("it ended with the unknown status {status}"))),
    }
}
