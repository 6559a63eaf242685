//! What a former life of this node has left running: that node was killed (`kill -9`), the kernel killed the
//! programs it had started, but not what those had started themselves.
//!
//! A look through `/proc` finds the processes that carry the mark of another life (`mark.rs`); they and their
//! groups are killed, until a look finds none. Not found: a process that has cleared or overwritten its
//! environment (`env -i`, a daemon that writes its title there) and is in no group with one that is found,
//! and one that runs as another user.
//!
//! A look costs 15 to 30 us per process of the node's user (measured with 1,000 and 5,000 of them), beside
//! the opening of the store: 1 to 2 ms of a start on an ordinary machine, nothing at the very first start.
//!
//! Invariant: nobody is hit by mistake. A process is signalled through a pidfd that was opened before its
//! mark was read once more, so a recycled pid is harmless; a group only when it is led by a marked process
//! or by none that lives, and never this node's own.

#![expect(
    clippy::disallowed_methods,
    reason = "part of a seam's implementation: real processes die in real time"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use libc::pid_t;
use tokio::sync::oneshot;

use super::mark::{Mark, variable};
use super::sys;
use crate::catalogue::name::FunctionName;

/// How long the killing goes on. A killed process is gone within milliseconds, unless it has gigabytes to
/// give back or hangs in the kernel (a dead network disk). Guess.
const ENOUGH: Duration = Duration::from_secs(2);

/// How long the node's start waits for it: reading an environment can hang with the process it belongs to.
const PATIENCE: Duration = Duration::from_secs(3);
const _: () = assert!(PATIENCE.as_secs() > ENOUGH.as_secs());

/// Killed and waited for together; bounds the descriptors held. More are found by the next look.
const AT_ONCE: usize = 128;

/// The most that is read of an environment: Linux lets arguments and environment together have three
/// quarters of 8 MiB.
const LARGEST_ENVIRONMENT: u64 = 6 * 1024 * 1024;

/// Room for usual environments, so that one read gets them.
const USUAL_ENVIRONMENT: usize = 32 * 1024;

/// Functions named in the log line.
const NAMED: usize = 8;

/// The end of a former life, under way on a thread of its own.
#[derive(Debug)]
pub struct FormerLife {
    over: Option<oneshot::Receiver<()>>,
}

impl FormerLife {
    /// Begins to look for processes of other lives of this mark's node, and to kill them.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn begin_ending(mark: &Mark) -> io::Result<Self> {
        if mark.first {
            return Ok(Self { over: None });
        }
        let (done, over) = oneshot::channel();
        let mark = mark.clone();
        thread::Builder::new().name("beatmesh-former".into()).spawn(move || {
            Hunt::new(mark).run();
            // Nobody waits any more when the node's start was broken off.
            let _ = done.send(());
        })?;
        Ok(Self { over: Some(over) })
    }

    /// Completes when nothing of a former life runs any more, or when waiting longer makes no sense; then the
    /// log says so. What comes too late still hits only former lives.
    pub async fn ended(self) {
        let Some(over) = self.over else { return };
        if tokio::time::timeout(PATIENCE, over).await.is_err() {
            tracing::warn!("looking for what a former life of this node left behind takes long; not waiting");
        }
    }
}

/// One process of a former life. It may die at any time, but through the pidfd nobody else is meant.
struct Left {
    pid: pid_t,
    pidfd: OwnedFd,
}

struct Hunt {
    mark: Mark,
    own_pid: pid_t,
    own_group: Option<pid_t>,
    give_up: Instant,
    environment: Vec<u8>,
    killed: BTreeSet<pid_t>,
    functions: BTreeSet<FunctionName>,
}

impl Hunt {
    fn new(mark: Mark) -> Self {
        Self {
            mark,
            // Pids fit: the kernel's largest is 4 million.
            own_pid: pid_t::try_from(std::process::id()).unwrap_or_default(),
            own_group: sys::own_group(),
            give_up: Instant::now() + ENOUGH,
            environment: Vec::with_capacity(USUAL_ENVIRONMENT),
            killed: BTreeSet::new(),
            functions: BTreeSet::new(),
        }
    }

    fn run(mut self) {
        let mut left = Vec::new();
        while Instant::now() < self.give_up {
            left = match self.look() {
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for what a former life of this node left behind");
                    return;
                }
            };
            if left.is_empty() {
                break;
            }
            for one in &left {
                self.kill(one);
            }
            left.retain(|one| !self.is_gone(one));
        }
        self.report(&left);
    }

    fn report(&self, left: &[Left]) {
        if !self.killed.is_empty() {
            let functions: Vec<_> = self.functions.iter().take(NAMED).map(FunctionName::as_str).collect();
            tracing::warn!(
                killed = self.killed.len(),
                functions = functions.join(", "),
                "killed processes that a former life of this node had left behind"
            );
        }
        if !left.is_empty() || Instant::now() >= self.give_up {
            let pids: Vec<_> = left.iter().map(|one| one.pid).collect();
            tracing::warn!(?pids, "not all processes that a former life left behind may be gone");
        }
    }

    /// Some processes that carry the mark of another life; none when there are no more.
    fn look(&mut self) -> io::Result<Vec<Left>> {
        let own_user = fs::metadata("/proc/self")?.uid();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<pid_t>().ok()) else {
                continue;
            };
            if pid == self.own_pid || entry.metadata().is_ok_and(|about| about.uid() != own_user) {
                continue;
            }
            // First without a pidfd: nearly all are somebody else's.
            if self.is_left_behind(pid)
                && let Some(found) = self.seize(pid)
            {
                left.push(found);
            }
            if left.len() == AT_ONCE || Instant::now() >= self.give_up {
                break;
            }
        }
        Ok(left)
    }

    /// Reads the mark with the pidfd open: if that process is alive when it is signalled, it was its mark.
    fn seize(&mut self, pid: pid_t) -> Option<Left> {
        let pidfd = sys::open_pidfd(pid).ok()?;
        if !self.is_left_behind(pid) {
            return None;
        }
        let function = variable(&self.environment, "BEATMESH_FUNCTION");
        // The program may have set the variable to anything.
        let function = function.and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        self.functions.extend(function);
        Some(Left { pid, pidfd })
    }

    /// A zombie has no environment any more, and one that cannot be read is not ours.
    fn is_left_behind(&mut self, pid: pid_t) -> bool {
        self.environment.clear();
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(LARGEST_ENVIRONMENT).read_to_end(&mut self.environment));
        read.is_ok() && self.mark.left_behind(&self.environment)
    }

    /// The group first: what it holds besides may have cleared its environment, and the living member keeps
    /// the group's id from being recycled.
    fn kill(&mut self, left: &Left) {
        if let Some(group) = sys::group_of(left.pid)
            && self.is_ours(group)
            && !sys::has_ended(left.pidfd.as_fd(), Duration::ZERO)
        {
            sys::kill_group(group);
        }
        sys::kill_pidfd(left.pidfd.as_fd());
        self.killed.insert(left.pid);
    }

    /// Whether a group with a marked member has nobody else's processes in it. Every program leads a group of
    /// its own and stays in this node's session, so it could have joined a stranger's.
    fn is_ours(&mut self, group: pid_t) -> bool {
        group > 1 && Some(group) != self.own_group && (is_dead(group) || self.is_left_behind(group))
    }

    fn is_gone(&self, left: &Left) -> bool {
        sys::has_ended(left.pidfd.as_fd(), self.give_up.saturating_duration_since(Instant::now()))
    }
}

/// Whether a process is a zombie or not there.
fn is_dead(pid: pid_t) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| matches!(state_in(&stat), Some("Z" | "X")))
}

/// The third field of `/proc/<pid>/stat`. The second, the program's name in brackets, may hold anything.
fn state_in(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().next()
}
