//! Starting the program: its command line, its environment, and the one thread that forks.
//!
//! `PR_SET_PDEATHSIG` is tied to the thread that forked, not to the process: a child forked by a pool
//! thread of the async runtime would be killed when that thread retires. So one thread forks them all
//! and lives as long as the runtime.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{env, io};

use libc::pid_t;
use tokio::sync::{mpsc, oneshot};

use super::super::Execution;
use super::group::{FORKING, Group, LEADERS};
use super::reaper::Reaper;
use super::{refusal, sys};
use crate::catalogue::function::Function;
use crate::queue::task::{Origin, TaskId};

/// Starts that may wait for the forking thread; more make their callers wait. A worker's slots bound them
/// long before.
const WAITING_STARTS: usize = 256;

/// Taken over from the node: without them hardly any program finds its parts.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A program that runs, and the node's ends of its pipes.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// One start for the forking thread.
pub(super) struct Start {
    task: TaskId,
    definition: Arc<Function>,
    command: Command,
    reply: oneshot::Sender<Result<Started, String>>,
}

impl Start {
    pub(super) fn new(
        execution: &Execution,
        command: Command,
    ) -> (Self, oneshot::Receiver<Result<Started, String>>) {
        let (reply, answer) = oneshot::channel();
        let definition = Arc::clone(&execution.definition);
        (Self { task: execution.task, definition, command, reply }, answer)
    }
}

/// What every program is given besides its own.
#[derive(Debug)]
pub(super) struct Surroundings {
    inherited: Vec<(&'static str, OsString)>,
    node: String,
    parent: pid_t,
}

impl Surroundings {
    pub(super) fn of_this_process(node: &str) -> io::Result<Self> {
        Ok(Self {
            inherited: INHERITED
                .into_iter()
                .filter_map(|name| env::var_os(name).map(|value| (name, value)))
                .collect(),
            node: node.to_owned(),
            parent: pid_t::try_from(std::process::id()).map_err(io::Error::other)?,
        })
    }

    /// The command line and environment of one execution. An error is the reason why it cannot start.
    pub(super) fn command(&self, execution: &Execution) -> Result<Command, String> {
        let definition = &execution.definition;
        let (program, arguments) =
            definition.command.split_first().ok_or("`command` is empty; name a program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        command.env_clear();
        command.envs(self.inherited.iter().map(|(name, value)| (name, value)));
        command.envs(&definition.env);
        command.env("BEATMESH_TASK", execution.task.to_string());
        command.env("BEATMESH_ATTEMPT", execution.attempt.0.to_string());
        command.env("BEATMESH_FUNCTION", execution.function.as_str());
        command.env("BEATMESH_NODE", &self.node);
        if !execution.content_type.is_empty() {
            command.env("BEATMESH_CONTENT_TYPE", &execution.content_type);
        }
        match &execution.origin {
            Origin::Call | Origin::Api => {}
            Origin::Schedule { schedule, due } => {
                command.env("BEATMESH_SCHEDULE", schedule.as_str());
                command.env("BEATMESH_DUE", due.0.to_string());
            }
            Origin::Trigger { schedule } => {
                command.env("BEATMESH_SCHEDULE", schedule.as_str());
            }
        }
        if let Some(dir) = &definition.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let parent = self.parent;
        // std itself restores SIGPIPE and the signal mask in the child, before this runs.
        #[expect(unsafe_code, reason = "only code between fork and exec can ask for the death signal")]
        // SAFETY: `prepare_child` makes three async-signal-safe system calls, allocates nothing and takes
        // no lock.
        unsafe {
            command.pre_exec(move || sys::prepare_child(parent));
        }
        Ok(command)
    }
}

/// The forking thread ends when the sender is dropped, and with it every program it has started.
pub(super) fn start_thread(reaper: Arc<Reaper>) -> io::Result<(mpsc::Sender<Start>, JoinHandle<()>)> {
    let (sender, mut starts) = mpsc::channel::<Start>(WAITING_STARTS);
    let thread = thread::Builder::new().name("beatmesh-spawn".into()).spawn(move || {
        while let Some(Start { task, definition, mut command, reply }) = starts.blocking_recv() {
            // Dropped meanwhile: nothing has run yet, so nothing needs to be killed.
            if reply.is_closed() {
                continue;
            }
            let started =
                fork(&mut command, task, &reaper).map_err(|error| refusal::explain(&error, &definition));
            // Closed since: the group in the returned value is dropped, which kills it.
            drop(reply.send(started));
        }
    })?;
    Ok((sender, thread))
}

fn fork(command: &mut Command, task: TaskId, reaper: &Arc<Reaper>) -> io::Result<Started> {
    let (mut child, leader, pidfd) = {
        let _forking = FORKING.lock();
        let mut child = command.spawn()?;
        match watch(&child) {
            Ok((leader, pidfd)) => {
                LEADERS.lock().insert(leader, task);
                (child, leader, pidfd)
            }
            Err(error) => {
                // Without a pidfd its end would go unnoticed. It has just begun and dies at once.
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        }
    };
    let group = Group::new(leader, pidfd, Arc::clone(reaper));
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok(Started { group, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
        }
        _ => Err(io::Error::other("a pipe that was asked for is missing")),
    }
}

fn watch(child: &Child) -> io::Result<(pid_t, OwnedFd)> {
    let leader = pid_t::try_from(child.id()).map_err(io::Error::other)?;
    Ok((leader, sys::pidfd(leader)?))
}
