//! One execution's process group, from fork to the last reaped member.
//!
//! Invariants, which keep every signal and every `waitpid` from hitting a stranger with a recycled pid:
//! - The group is killed before its leader is reaped: the zombie holds the pid, and with it the group id.
//! - A leader is in [`LEADERS`] from before anybody else can see it (the fork happens under [`FORKING`])
//!   until the critical section in which it is reaped.
//! - Children that are no leaders are reaped and killed under [`FORKING`] only.
//!
//! Lock order: `FORKING`, then `LEADERS`. Tasks of the async runtime take only `LEADERS`, for two system
//! calls at most; `FORKING` is held during a fork and belongs to the threads of this runtime.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;

use libc::pid_t;
use parking_lot::Mutex;

use super::reaper::Reaper;
use super::sys::{self, Waited};
use crate::queue::task::TaskId;

/// Held during a fork and during a sweep's verdict, so that no child is half known. Process-wide, because
/// children are.
pub(super) static FORKING: Mutex<()> = Mutex::new(());

/// The leaders that are not reaped yet, and what each works on.
pub(super) static LEADERS: Mutex<BTreeMap<pid_t, TaskId>> = Mutex::new(BTreeMap::new());

/// A running execution's processes. Dropping it kills them all.
#[derive(Debug)]
pub(super) struct Group {
    leader: pid_t,
    pidfd: OwnedFd,
    reaper: Arc<Reaper>,
    reaped: bool,
}

impl Group {
    /// Takes charge of a leader that was registered under `FORKING`.
    pub(super) fn new(leader: pid_t, pidfd: OwnedFd, reaper: Arc<Reaper>) -> Self {
        Self { leader, pidfd, reaper, reaped: false }
    }

    /// Completes when the leader has ended. It is a zombie then, and keeps its pid until [`Group::end`].
    pub(super) async fn leader_ended(&self) -> io::Result<()> {
        sys::ended(self.pidfd.as_fd()).await
    }

    /// SIGKILL to everything in the group.
    pub(super) fn kill(&self) {
        if !self.reaped {
            sys::kill_group(self.leader);
            // A leader may have moved itself to another group of the session.
            sys::kill(self.leader);
        }
    }

    /// Ends the group after its leader has ended: kills what the leader left behind, reaps the leader.
    ///
    /// # Errors
    /// When the leader has not ended yet, or somebody else has reaped it.
    pub(super) fn end(mut self) -> io::Result<ExitStatus> {
        sys::kill_group(self.leader);
        let status = {
            let mut leaders = LEADERS.lock();
            let status = match sys::reap(self.leader) {
                Waited::Ended(status) => Ok(status),
                // Dropping `self` leaves the rest to the reaper.
                Waited::Alive => return Err(io::Error::other("its end was reported before it had ended")),
                Waited::NoChild => Err(io::Error::other("something else in the node took its exit code")),
            };
            leaders.remove(&self.leader);
            status
        };
        self.reaped = true;
        // Signal 0 harms nobody, should the id have a new owner already.
        if sys::group_exists(self.leader) {
            self.reaper.bury_rest(self.leader);
        }
        self.reaper.ask_for_sweep();
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.reaper.bury_leader(self.leader);
            self.reaper.ask_for_sweep();
        }
    }
}
