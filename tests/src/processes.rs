//! What runs on this machine and belongs to a test, found in /proc. Functions of tests carry a mark in
//! their environment that survives `setsid` and double forks.

use std::fs;

/// The variable that marks processes of functions.
pub const MARK: &str = "E2E_MARK";

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

fn status(pid: i32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

/// Time on a core so far, in ticks of the system: user's and kernel's.
#[must_use]
pub fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; utime and stime are fields 14 and 15, the state is the third.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
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

fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("these tests need Linux");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
