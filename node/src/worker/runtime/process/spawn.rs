//! Starting the program: its command line, its environment, and the one thread that forks.
//!
//! `PR_SET_PDEATHSIG` is tied to the thread that forked, not to the process: a child forked by a pool
//! thread of the async runtime would be killed when that thread retires. So one thread forks them all
//! and lives as long as the runtime.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{env, io};

use libc::pid_t;
use tokio::sync::{mpsc, oneshot};

use super::super::Execution;
use super::group::{FORKING, Group, LEADERS};
use super::launch::{Launched, Launcher, Program};
use super::reaper::Reaper;
use super::{mark, refusal};
use crate::catalogue::function::Function;
use crate::queue::task::{Origin, TaskId};

/// Starts that may wait for the forking thread; more make their callers wait. A worker's slots bound them
/// long before.
const WAITING_STARTS: usize = 256;

/// Taken over from the node: without them hardly any program finds its parts.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// Searched when neither the node nor the function has a `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

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
    program: Program,
    reply: oneshot::Sender<Result<Started, String>>,
}

impl Start {
    pub(super) fn new(
        execution: &Execution,
        program: Program,
    ) -> (Self, oneshot::Receiver<Result<Started, String>>) {
        let (reply, answer) = oneshot::channel();
        let definition = Arc::clone(&execution.definition);
        (Self { task: execution.task, definition, program, reply }, answer)
    }
}

/// What every program is given besides its own.
#[derive(Debug)]
pub(super) struct Surroundings {
    inherited: Vec<(&'static str, OsString)>,
    node: String,
    /// The value of [`mark::VARIABLE`].
    pub(super) mark: Option<String>,
    /// The node's own pid, which a child compares with its parent.
    pub(super) parent: pid_t,
}

impl Surroundings {
    pub(super) fn of_this_process(node: &str) -> io::Result<Self> {
        Ok(Self {
            inherited: INHERITED
                .into_iter()
                .filter_map(|name| env::var_os(name).map(|value| (name, value)))
                .collect(),
            node: node.to_owned(),
            mark: None,
            parent: pid_t::try_from(std::process::id()).map_err(io::Error::other)?,
        })
    }

    /// The command line and environment of one execution. An error is the reason why it cannot start.
    pub(super) fn program(&self, execution: &Execution) -> Result<Program, String> {
        let definition = &execution.definition;
        let name = definition.command.first().ok_or("`command` is empty; name a program")?;
        let variables = self.variables(execution);
        Ok(Program {
            paths: candidates(name, variables.get(OsStr::new("PATH")).map(OsString::as_os_str))?,
            arguments: definition.command.iter().map(c_text).collect::<Result<_, _>>()?,
            environment: variables
                .into_iter()
                .map(|(mut line, value)| {
                    line.push("=");
                    line.push(value);
                    c_text(line)
                })
                .collect::<Result<_, _>>()?,
            dir: definition.dir.as_ref().map(c_text).transpose()?,
        })
    }

    /// The whole environment: the few that are inherited, the definition's, then the node's own, each able
    /// to replace those before it.
    fn variables(&self, execution: &Execution) -> BTreeMap<OsString, OsString> {
        let mut variables = BTreeMap::new();
        variables.extend(self.inherited.iter().map(|(name, value)| (OsString::from(name), value.clone())));
        variables.extend(execution.definition.env.iter().map(|(name, value)| (name.into(), value.into())));
        let mut set = |name: &str, value: &str| _ = variables.insert(name.into(), value.into());
        set("BEATMESH_TASK", &execution.task.to_string());
        set("BEATMESH_ATTEMPT", &execution.attempt.0.to_string());
        set("BEATMESH_FUNCTION", execution.function.as_str());
        set("BEATMESH_NODE", &self.node);
        if let Some(mark) = &self.mark {
            set(mark::VARIABLE, mark);
        }
        if !execution.content_type.is_empty() {
            set("BEATMESH_CONTENT_TYPE", &execution.content_type);
        }
        match &execution.origin {
            Origin::Call | Origin::Api => {}
            Origin::Schedule { schedule, due } => {
                set("BEATMESH_SCHEDULE", schedule.as_str());
                set("BEATMESH_DUE", &due.0.to_string());
            }
            Origin::Trigger { schedule } => set("BEATMESH_SCHEDULE", schedule.as_str()),
        }
        variables
    }
}

/// Where to look for a program: in the function's own search path, unless its name is a path already.
fn candidates(name: &str, path: Option<&OsStr>) -> Result<Vec<CString>, String> {
    if name.contains('/') {
        return Ok(vec![c_text(name)?]);
    }
    env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))).map(|dir| c_text(dir.join(name))).collect()
}

fn c_text(text: impl AsRef<OsStr>) -> Result<CString, String> {
    CString::new(text.as_ref().as_bytes()).map_err(|error| {
        let shown = text.as_ref().display().to_string().escape_default().take(64).collect::<String>();
        format!("`{shown}`: byte {} is NUL, which no program can receive", error.nul_position())
    })
}

/// The forking thread ends when the sender is dropped, and with it every program it has started.
#[expect(clippy::disallowed_methods, reason = "part of a seam's implementation: one thread forks them all")]
pub(super) fn start_thread(
    parent: pid_t,
    reaper: Arc<Reaper>,
) -> io::Result<(mpsc::Sender<Start>, JoinHandle<()>)> {
    let (sender, mut starts) = mpsc::channel::<Start>(WAITING_STARTS);
    let thread = thread::Builder::new().name("beatmesh-spawn".into()).spawn(move || {
        let mut launcher = Launcher::for_this_thread(parent);
        while let Some(Start { task, definition, program, reply }) = starts.blocking_recv() {
            // Dropped meanwhile: nothing has run yet, so nothing needs to be killed.
            if reply.is_closed() {
                continue;
            }
            let started = start(&mut launcher, &program, task, &reaper)
                .map_err(|error| refusal::explain(&error, &definition));
            // Closed since: the group in the returned value is dropped, which kills it.
            drop(reply.send(started));
        }
    })?;
    Ok((sender, thread))
}

fn start(
    launcher: &mut Launcher,
    program: &Program,
    task: TaskId,
    reaper: &Arc<Reaper>,
) -> io::Result<Started> {
    let _forking = FORKING.lock();
    let Launched { pid, pidfd, stdin, stdout, stderr } = launcher.launch(program)?;
    LEADERS.lock().insert(pid, task);
    Ok(Started { group: Group::new(pid, pidfd, Arc::clone(reaper)), stdin, stdout, stderr })
}
