//! Starts one node as a process of its own, and reads its log.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::place::Place;
use super::ports::Addresses;

/// A line of the log of the node with this index.
pub(super) struct Line {
    pub(super) node: usize,
    pub(super) text: String,
}

/// Settings that `dev` decides; what the environment says of them is kept from the nodes. All other
/// variables (`BEATMESH_LOG__LEVEL`, `BEATMESH_LIMITS__...`) reach them.
const DECIDED_HERE: [&str; 10] = [
    "BEATMESH_CONFIG",
    "BEATMESH_LISTEN__",
    "BEATMESH_SEEDS__",
    "BEATMESH_SECURITY__",
    "BEATMESH_QUEUE__URL",
    "BEATMESH_MESH__NAME",
    "BEATMESH_NODE__NAME",
    "BEATMESH_NODE__DATA_DIR",
    "BEATMESH_NODE__ROLES",
    "BEATMESH_LOG__FORMAT",
];

/// Starts the node; its log goes to `lines`.
pub(super) fn spawn(
    index: usize,
    name: &str,
    addresses: Addresses,
    place: &Place,
    lines: &mpsc::Sender<Line>,
    readers: &mut JoinSet<()>,
) -> io::Result<Child> {
    let mut command = Command::new(program());
    command
        .arg("node")
        .args(["--name", name])
        .args(["--http", &addresses.http.to_string()])
        .args(["--mesh", &addresses.mesh.to_string()])
        .args(["--db", &format!("sqlite://{}", place.path("mesh.db"))])
        .args(["--data-dir", &place.path(name)])
        .args(["--secret-file", &place.path("secret")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that Ctrl-C on the terminal reaches only `dev`, which then stops the
        // nodes one stage after the other.
        .process_group(0)
        .kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if DECIDED_HERE.iter().any(|decided| name.starts_with(decided)) {
            command.env_remove(&variable);
        }
    }
    command.env("BEATMESH_LOG__FORMAT", "json");
    die_with_parent(&mut command);
    let mut child = command.spawn()?;
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(read(index, stdout, lines.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(read(index, stderr, lines.clone()));
    }
    Ok(child)
}

/// This program. When it was built anew while `dev` runs, its path names another file or none; the
/// kernel still has the one that runs.
fn program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// Asks the kernel to end the node when `dev` ends, however it ends.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: both are plain system calls that touch no memory of the process.
        #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
        let (outcome, now_parent) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the request was made; then no signal would ever come.
        if u32::try_from(now_parent).ok() != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: `prepare` runs between fork and exec, and does nothing there but system calls: no
    // allocation, no lock.
    #[expect(unsafe_code, reason = "the only way to run something in the child before it becomes a node")]
    unsafe {
        command.pre_exec(prepare);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// Sends a signal to a process that has not been waited for, so its id is still its own.
pub(super) fn send_signal(child: &Child, signal: i32) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
    // SAFETY: a plain system call. Its only error here is that the process has just ended.
    #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Reads lines until the node closes its end. A full channel makes the node wait in its log: `dev`
/// shows lines faster than nodes write them, unless the terminal is stopped.
async fn read(node: usize, from: impl AsyncRead + Unpin, lines: mpsc::Sender<Line>) {
    let mut from = BufReader::new(from).split(b'\n');
    while let Ok(Some(bytes)) = from.next_segment().await {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if lines.send(Line { node, text }).await.is_err() {
            return;
        }
    }
}
