//! What runs on this machine and belongs to a test, found in /proc. Functions of tests carry a mark in
//! their environment that survives `setsid` and double forks.

use std::fs;
use std::time::Duration;

use crate::process::{Signal, send};
use crate::wait::until_so;

/// The variable that marks processes of functions.
pub const MARK: &str = "E2E_MARK";

/// A signal takes effect at once, but for whoever waits for a disk.
const SOON: Duration = Duration::from_secs(10);

/// Fields of `/proc/<pid>/stat`, as proc(5) numbers them.
const STATE: usize = 3;
const PARENT: usize = 4;
const USER_TIME: usize = 14;
const KERNEL_TIME: usize = 15;

/// Ids of living processes whose environment holds `name=value`. Zombies have none and do not count.
#[must_use]
pub fn with_variable(name: &str, value: &str) -> Vec<i32> {
    let wanted = format!("{name}={value}").into_bytes();
    all().filter(|pid| environment(*pid).split(|byte| *byte == 0).any(|entry| entry == wanted)).collect()
}

/// Ids of living processes that have `text` in their command line.
#[must_use]
pub fn with_argument(text: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).expect("process ids are small");
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    all().filter(|pid| *pid != own).filter(has).collect()
}

/// Memory in RAM, in bytes.
#[must_use]
pub fn resident(pid: i32) -> Option<u64> {
    let kib = status(pid, "VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>();
    kib.ok().map(|kib| kib * 1024)
}

/// The most memory in RAM that there ever was, in bytes.
#[must_use]
pub fn most_resident(pid: i32) -> Option<u64> {
    let kib = status(pid, "VmHWM:")?.strip_suffix("kB")?.trim().parse::<u64>();
    kib.ok().map(|kib| kib * 1024)
}

/// Threads that a process has.
#[must_use]
pub fn threads(pid: i32) -> Option<usize> {
    status(pid, "Threads:")?.parse().ok()
}

/// Whether it runs or is stopped. Zombies are dead.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    stat(pid, STATE).is_some_and(|state| state != "Z" && state != "X")
}

/// Whether it is frozen by a signal.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    stat(pid, STATE).is_some_and(|state| state == "T")
}

/// A living process and all that descend from it, parents before children. A child in a session of its own is
/// still a child, so this finds what a signal to the group misses.
#[must_use]
pub fn tree(root: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(above) = tree.get(next).copied() {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    tree.retain(|pid| is_alive(*pid));
    tree
}

/// Freezes a process and all that descend from it; answers whom. Whoever is frozen neither forks nor buries its
/// children, so the ids stay right for as long as it lasts.
///
/// # Panics
/// When they do not stop.
pub fn stop_tree(root: i32) -> Vec<i32> {
    let mut stopped = Vec::new();
    loop {
        let new: Vec<i32> = tree(root).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if new.is_empty() {
            return stopped;
        }
        for pid in &new {
            // It may have ended by itself.
            let _ = send(*pid, Signal::Stop);
        }
        until_so(&format!("{new:?} are frozen"), SOON, || {
            new.iter().all(|pid| is_stopped(*pid) || !is_alive(*pid))
        });
        stopped.extend(new);
    }
}

/// Lets go on what [`stop_tree`] froze.
pub fn continue_tree(root: i32) {
    for pid in tree(root) {
        let _ = send(pid, Signal::Continue);
    }
}

/// `kill -9` of a process and all that descend from it. When this returns they are dead; burying them is up to
/// their parents.
///
/// # Panics
/// When they do not die.
pub fn kill_tree(root: i32) {
    let tree = stop_tree(root);
    // Children first: nobody has the time to notice that somebody is missing.
    for pid in tree.iter().rev() {
        let _ = send(*pid, Signal::Kill);
    }
    until_so(&format!("{tree:?} are dead"), SOON, || !tree.iter().any(|pid| is_alive(*pid)));
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid, PARENT)?.parse().ok()
}

fn status(pid: i32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

/// Time on a core so far, in ticks of the system: user's and kernel's.
#[must_use]
pub fn ticks(pid: i32) -> Option<u64> {
    let field = |number| stat(pid, number)?.parse::<u64>().ok();
    Some(field(USER_TIME)? + field(KERNEL_TIME)?)
}

/// How many ticks a second has.
#[must_use]
pub fn ticks_per_second() -> u64 {
    #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
    // SAFETY: a plain system call.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).expect("Linux always answers this")
}

/// File descriptors that a process has open.
#[must_use]
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn stat(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, which may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(field - STATE).map(str::to_owned)
}

fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("these tests need Linux");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
