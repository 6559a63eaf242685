//! A child process: its output in a file, signals, and an end in any case.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines shown of each log when a test fails.
const TAIL: usize = 40;

/// What can be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Please leave.
    Terminate,
    /// The terminal has gone.
    HangUp,
    /// `kill -9`.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Continue,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where in the log file this process begins: a restarted one goes on in the same file.
    log_begin: u64,
}

impl Process {
    /// Starts a command whose stdout and stderr go to the end of `log`.
    ///
    /// The kernel kills it when the thread that called this ends, so not even a test that is killed
    /// itself leaves anything behind.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: Command, log: &Path) -> Self {
        Self::start_to(name, command, log, |file| {
            file.try_clone().expect("a file can be opened twice").into()
        })
    }

    /// The same, but stdout is the caller's to read. Whoever does not read it stops the process sooner or later.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_read(name: &str, command: Command, log: &Path) -> (Self, ChildStdout) {
        let mut process = Self::start_to(name, command, log, |_| Stdio::piped());
        let stdout = process.child.stdout.take().expect("just asked for");
        (process, stdout)
    }

    fn start_to(name: &str, mut command: Command, log: &Path, stdout: impl FnOnce(&File) -> Stdio) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let file =
            open().unwrap_or_else(|error| panic!("the log {} cannot be written: {error}", log.display()));
        let log_begin = file.metadata().map_or(0, |about| about.len());
        command.stdin(Stdio::null()).stdout(stdout(&file)).stderr(file);
        die_with_this_thread(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), log_begin }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has already been waited for, or does not exist.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name));
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} has not ended within {within:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`, and the corpse is gone when this returns.
    ///
    /// # Panics
    /// When it does not die.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::Kill);
            let status = self.wait(Duration::from_secs(10));
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{}", self.name);
        }
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let begin = usize::try_from(self.log_begin).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[begin..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A stopped process dies of SIGKILL as well.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(TAIL);
            eprintln!("--- the end of the log of {} ({}):", self.name, self.log.display());
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}

/// Sends a signal to any process.
///
/// # Errors
/// What the kernel says.
pub fn send(pid: i32, signal: Signal) -> io::Result<()> {
    assert!(pid > 1, "{pid} is nobody's to kill");
    #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
    // SAFETY: a plain system call.
    let outcome = unsafe { libc::kill(pid, signal.number()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn die_with_this_thread(command: &mut Command) {
    #[expect(unsafe_code, reason = "only code between fork and exec can ask for the death signal")]
    // SAFETY: one system call, no allocation, no lock.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// What a command that ends by itself has said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Errors.
    pub stderr: String,
}

/// Runs a command to its end, which has to come in time; `input` is its stdin.
///
/// # Panics
/// When it cannot be started or does not end.
#[must_use]
pub fn run(command: Command, input: &[u8], within: Duration) -> Said {
    try_run(command, input, within).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The same for a command that may hang, which is killed then.
///
/// # Errors
/// It has not ended in time: with what it said until then.
///
/// # Panics
/// When it cannot be started.
pub fn try_run(mut command: Command, input: &[u8], within: Duration) -> Result<Said, String> {
    let shown = format!("{command:?}");
    let scratch = crate::Scratch::new();
    let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
    let create = |path: &Path| File::create(path).expect("the test's directory can be written");
    let stdin = scratch.file("stdin", input);
    command.stdin(File::open(stdin).expect("just written")).stdout(create(&out)).stderr(create(&err));
    die_with_this_thread(&mut command);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown} cannot be started: {error}"));
    let deadline = Instant::now() + within;
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Ok(Said { code: status.code(), stdout: read(&out), stderr: read(&err) });
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            let (out, err) = (read(&out), read(&err));
            return Err(format!("{shown} has not ended within {within:?}; it said:\n{out}{err}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
