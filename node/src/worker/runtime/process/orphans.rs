//! Processes that left their group (`setsid`, a daemon) and outlived the execution that started them.
//!
//! The node is their subreaper, so they become its children; a child that is no leader, is in no live or
//! dying leader's group and does not carry the task of a live execution belongs to nobody and is killed.
//!
//! A node can have children that it did not start: a shell that put jobs into the background and then became
//! the node (`sleep 9 & exec beatmesh node`), or whatever a container leaves to its process 1. Where that is
//! possible, only what carries the task of an execution is killed; the others are only reaped.

use std::collections::BTreeSet;
use std::{fs, mem};

use libc::pid_t;

use super::group::{FORKING, LEADERS};
use super::mark::variable;
use super::sys::{self, Waited};
use crate::queue::task::TaskId;

/// What a sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Entries of `/proc` that it had to read.
    pub(super) looked_at: u32,
    /// Orphans that were alive.
    pub(super) killed: u32,
}

/// What a look at one child led to.
enum Verdict {
    Spared,
    Killed,
    /// Its environment could not be seen, as in the middle of an exec: to be looked at once more.
    Doubted,
}

/// Whose a process is, by the environment that its program was started with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    LiveExecution,
    EndedExecution,
    /// It names no execution: somebody else's, or started with a cleared environment.
    Unmarked,
    /// It cannot be seen: it is empty while the kernel replaces the program.
    Unseen,
}

/// Kills and reaps the orphans among this process's children, from sweep to sweep.
#[derive(Debug)]
pub(super) struct Sweeper {
    /// This process may have, or be left with, children that no execution started.
    strangers: bool,
    doubted: BTreeSet<pid_t>,
}

impl Sweeper {
    /// Must begin before the first program starts: the children of now are not this runtime's.
    pub(super) fn begin() -> Self {
        let inherited = || {
            // Another runtime of this process may be in the middle of a start.
            let _no_fork = FORKING.lock();
            let leaders: BTreeSet<pid_t> = LEADERS.lock().keys().copied().collect();
            let mut others = children(&mut 0).into_iter().filter(|child| !leaders.contains(child));
            others.any(|child| matches!(origin_of(child), Origin::Unmarked | Origin::Unseen))
        };
        Self { strangers: std::process::id() == 1 || inherited(), doubted: BTreeSet::new() }
    }

    /// Looks at every child once. `dying` are groups that were killed and still unwind.
    pub(super) fn sweep(&mut self, dying: &BTreeSet<pid_t>) -> Swept {
        let mut swept = Swept::default();
        let doubted_before = mem::take(&mut self.doubted);
        if !sys::has_children() {
            return swept;
        }
        let known: BTreeSet<pid_t> = LEADERS.lock().keys().copied().collect();
        for child in children(&mut swept.looked_at) {
            if known.contains(&child) {
                continue;
            }
            match self.judge(child, dying, doubted_before.contains(&child)) {
                Verdict::Spared => {}
                Verdict::Killed => swept.killed += 1,
                Verdict::Doubted => _ = self.doubted.insert(child),
            }
        }
        swept
    }

    /// Whether a child was left in doubt by the last sweep.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// The verdict on one child, under the lock that keeps forks and other verdicts away.
    fn judge(&self, child: pid_t, dying: &BTreeSet<pid_t>, doubted_before: bool) -> Verdict {
        let _no_fork = FORKING.lock();
        if LEADERS.lock().contains_key(&child) {
            return Verdict::Spared;
        }
        // From here on the pid cannot be recycled: it is an unreaped child, and only this lock's holder reaps it.
        let Waited::Alive = sys::reap(child) else { return Verdict::Spared };
        let group = sys::group_of(child);
        if group.is_some_and(|group| dying.contains(&group) || LEADERS.lock().contains_key(&group)) {
            return Verdict::Spared;
        }
        match origin_of(child) {
            // A daemon of an execution that still runs (an agent, a browser) may live until that one ends.
            Origin::LiveExecution => return Verdict::Spared,
            Origin::Unseen if !doubted_before => return Verdict::Doubted,
            Origin::Unseen | Origin::Unmarked if self.strangers => return Verdict::Spared,
            Origin::EndedExecution | Origin::Unmarked | Origin::Unseen => {}
        }
        if group == Some(child) {
            sys::kill_group(child);
        }
        sys::kill(child);
        tracing::warn!(pid = child, "killed a process that had escaped from a function which has ended");
        Verdict::Killed
    }
}

fn origin_of(pid: pid_t) -> Origin {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if environment.is_empty() {
        return Origin::Unseen;
    }
    let task = variable(&environment, "BEATMESH_TASK");
    let task = task.and_then(|task| std::str::from_utf8(task).ok()?.parse::<TaskId>().ok());
    match task {
        None => Origin::Unmarked,
        Some(task) if LEADERS.lock().values().any(|live| *live == task) => Origin::LiveExecution,
        Some(_) => Origin::EndedExecution,
    }
}

/// The pids of this process's children: from the kernel's lists, or where it keeps none (a kernel without
/// `CONFIG_PROC_CHILDREN`), from a look at every process.
fn children(looked_at: &mut u32) -> Vec<pid_t> {
    children_by_thread(looked_at).unwrap_or_else(|| children_by_parent(looked_at))
}

fn children_by_thread(looked_at: &mut u32) -> Option<Vec<pid_t>> {
    let mut children = Vec::new();
    let mut any_list = false;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        *looked_at += 1;
        // A thread that has ended meanwhile has handed its children to another one: the next sweep sees them.
        let Ok(list) = fs::read_to_string(thread.path().join("children")) else { continue };
        any_list = true;
        children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<pid_t>().ok()));
    }
    any_list.then_some(children)
}

fn children_by_parent(looked_at: &mut u32) -> Vec<pid_t> {
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<pid_t>().ok());
    pids.filter(|pid| {
        *looked_at += 1;
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(&own))
    })
    .collect()
}

/// The fourth field of `/proc/<pid>/stat`. The second, the program's name in brackets, may hold anything.
fn parent_in(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_program_name() {
        assert_eq!(parent_in("17 (sh) S 42 17 1 0"), Some("42"));
        assert_eq!(parent_in("17 (a) R 1 (b) S 42 17 1 0"), Some("42"));
        assert_eq!(parent_in("17"), None);
    }
}
