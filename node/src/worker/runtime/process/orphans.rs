//! Processes that left their group (`setsid`, a daemon) and outlived the execution that started them.
//!
//! The node is their subreaper, so they become its children; a child that is no leader, is in no live
//! leader's group and does not carry the task of a live execution belongs to nobody and is killed.

use std::collections::BTreeSet;
use std::{fs, mem};

use libc::pid_t;

use super::group::{FORKING, LEADERS};
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

/// Kills and reaps the orphans among this process's children. `doubted` is kept from sweep to sweep.
///
/// Every child that this runtime did not start counts as one: see [`super::Orphans::Sweep`].
pub(super) fn sweep(doubted: &mut BTreeSet<pid_t>) -> Swept {
    let mut swept = Swept::default();
    let doubted_before = mem::take(doubted);
    if !sys::has_children() {
        return swept;
    }
    let known: BTreeSet<pid_t> = LEADERS.lock().keys().copied().collect();
    for child in children(&mut swept.looked_at) {
        if known.contains(&child) {
            continue;
        }
        match judge(child, doubted_before.contains(&child)) {
            Verdict::Spared => {}
            Verdict::Killed => swept.killed += 1,
            Verdict::Doubted => _ = doubted.insert(child),
        }
    }
    swept
}

/// The verdict on one child, under the lock that keeps forks and other verdicts away.
fn judge(child: pid_t, doubted_before: bool) -> Verdict {
    let _no_fork = FORKING.lock();
    if LEADERS.lock().contains_key(&child) {
        return Verdict::Spared;
    }
    // From here on the pid cannot be recycled: it is an unreaped child, and only this lock's holder reaps it.
    let Waited::Alive = sys::reap(child) else { return Verdict::Spared };
    let group = sys::group_of(child);
    if group.is_some_and(|group| LEADERS.lock().contains_key(&group)) {
        return Verdict::Spared;
    }
    match works_for_live_execution(child) {
        Some(true) => return Verdict::Spared,
        None if !doubted_before => return Verdict::Doubted,
        Some(false) | None => {}
    }
    if group == Some(child) {
        sys::kill_group(child);
    }
    sys::kill(child);
    tracing::warn!(pid = child, "killed a process that had escaped from a function which has ended");
    Verdict::Killed
}

/// A daemon of an execution that still runs (an agent, a browser) may live until that execution ends.
/// `None` when its environment cannot be seen: it is empty while the kernel replaces the program.
fn works_for_live_execution(pid: pid_t) -> Option<bool> {
    if LEADERS.lock().is_empty() {
        return Some(false);
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).ok().filter(|bytes| !bytes.is_empty())?;
    let task = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"BEATMESH_TASK="))
        .and_then(|task| std::str::from_utf8(task).ok()?.parse::<TaskId>().ok());
    Some(task.is_some_and(|task| LEADERS.lock().values().any(|live| *live == task)))
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
