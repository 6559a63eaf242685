//! The system calls that neither std nor tokio offers, each behind a safe function: signals to a group and
//! through a pidfd, reaping without blocking, waiting for a pidfd, the subreaper flag.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use libc::{c_int, pid_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What `waitpid` without blocking says about a child.
pub(super) enum Waited {
    /// This child has ended and is reaped now.
    Ended(ExitStatus),
    /// It exists and has not ended.
    Alive,
    /// There is no such child, not even a dead one.
    NoChild,
}

/// Reaps one child if it has ended; never blocks.
pub(super) fn reap(pid: pid_t) -> Waited {
    wait(pid)
}

/// Reaps one ended child that belongs to the process group; never blocks.
pub(super) fn reap_one_of_group(group: pid_t) -> Waited {
    wait(-group)
}

#[expect(unsafe_code, reason = "waitpid has no safe interface for a pid that std did not start")]
fn wait(target: pid_t) -> Waited {
    let mut status: c_int = 0;
    // SAFETY: `status` outlives the call, which writes nothing else.
    match unsafe { libc::waitpid(target, &raw mut status, libc::WNOHANG) } {
        0 => Waited::Alive,
        pid if pid > 0 => Waited::Ended(ExitStatus::from_raw(status)),
        // WNOHANG is never interrupted; what is left is ECHILD.
        _ => Waited::NoChild,
    }
}

/// Whether this process has any child at all, living or dead.
#[expect(unsafe_code, reason = "waitid has no safe interface")]
pub(super) fn has_children() -> bool {
    // SAFETY: a siginfo_t of zeros is valid, and the call writes nothing else. WNOWAIT reaps nobody.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

/// SIGKILL to one process. That it is gone already is no error.
pub(super) fn kill(pid: pid_t) {
    signal(pid, libc::SIGKILL);
}

/// SIGKILL to every member of a process group, atomically against their forks. An empty group is no error.
pub(super) fn kill_group(group: pid_t) {
    signal(-group, libc::SIGKILL);
}

/// Whether the group has a member, a zombie included.
pub(super) fn group_exists(group: pid_t) -> bool {
    signal(-group, 0)
}

#[expect(unsafe_code, reason = "std can signal only a child it holds, never a group")]
fn signal(target: pid_t, number: c_int) -> bool {
    // 0, 1 and -1 would reach this node's own group, init, or every process of the user.
    assert!(target.unsigned_abs() > 1, "no process and no group of ours has the id {target}");
    // SAFETY: kill touches no memory of this process.
    unsafe { libc::kill(target, number) == 0 }
}

/// The process group of a process, or `None` when it is gone.
#[expect(unsafe_code, reason = "getpgid has no safe interface")]
pub(super) fn group_of(pid: pid_t) -> Option<pid_t> {
    // SAFETY: getpgid touches no memory of this process.
    let group = unsafe { libc::getpgid(pid) };
    (group > 0).then_some(group)
}

/// The process group of this process.
pub(super) fn own_group() -> Option<pid_t> {
    // To getpgid, 0 is the caller.
    group_of(0)
}

/// A descriptor of a process that somebody else has started. It means that process for good, also when
/// the pid is recycled.
#[expect(unsafe_code, reason = "std has pidfds for its own children only")]
pub(super) fn open_pidfd(pid: pid_t) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers; on success it returns a new descriptor that nobody else owns, close-on-exec.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = c_int::try_from(fd).map_err(io::Error::other)?;
        if fd == -1 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// SIGKILL to the process behind a pidfd and to nobody else. That it has ended already is no error.
#[expect(unsafe_code, reason = "std has pidfds for its own children only")]
pub(super) fn kill_pidfd(pidfd: BorrowedFd<'_>) {
    // SAFETY: `pidfd` is open for the whole call; a null siginfo means what `kill` would send.
    unsafe {
        let none = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, 0);
    }
}

/// Whether the process behind a pidfd has ended, or does so within this time; blocks the thread meanwhile.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>, within: Duration) -> bool {
    is_readable(pidfd, within)
}

/// Waits until the process behind a pidfd has ended.
#[expect(unsafe_code, reason = "tokio trusts the caller that the descriptor stays open")]
pub(super) async fn ended(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the borrow keeps the descriptor open for as long as this future lives, and with it the AsyncFd.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    loop {
        let mut readiness = watched.readable().await?;
        // The runtime may report readiness that is not there; believing it would kill a living function.
        if is_readable(pidfd, Duration::ZERO) {
            return Ok(());
        }
        readiness.clear_ready();
    }
}

#[expect(unsafe_code, reason = "poll has no safe interface")]
fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let milliseconds = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call; a timeout of 0 never blocks.
    unsafe { libc::poll(&raw mut asked, 1, milliseconds) == 1 }
}

/// From now on, descendants whose parent has died become children of this process instead of init's.
#[expect(unsafe_code, reason = "prctl has no safe interface")]
pub(super) fn become_subreaper() -> io::Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes reads and writes return `WouldBlock` instead of waiting.
#[expect(unsafe_code, reason = "std offers this for sockets only")]
pub(super) fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `fd` is open for the whole call; the operations take integers.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags == -1 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// How many bytes lie in a pipe, ready to be read.
#[expect(unsafe_code, reason = "FIONREAD has no safe interface")]
pub(super) fn bytes_waiting(fd: &impl AsFd) -> io::Result<usize> {
    let mut count: c_int = 0;
    // SAFETY: FIONREAD writes one int, to `count`, which outlives the call.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) } {
        0 => Ok(usize::try_from(count).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}
