//! A server process: where it keeps its data, where it listens, and how it is hurt.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::cli::Cli;
use super::port::Port;
use super::run_as::RunAs;
use crate::process::{Process, Signal};
use crate::{Scratch, processes};

/// From the start of the process to its first answer. A database that recovers on a busy machine takes seconds.
const ANSWERS: Duration = Duration::from_secs(60);

/// Between two questions: a client is a process, and starting those is what makes a machine busy.
const PAUSE: Duration = Duration::from_millis(50);

/// A home for a server that is about to start: a directory with `data` in it, and a port.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: Scratch,
    pub(crate) port: Port,
    pub(crate) run_as: RunAs,
}

impl Home {
    pub(crate) fn new(run_as: RunAs) -> Self {
        let home = Self { dir: Scratch::new(), port: Port::free(), run_as };
        run_as.make_dir(&home.data());
        home
    }

    /// The data directory. It belongs to whom the server runs as.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What the server writes to its output, in all its lives.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Runs a command as the user of the server, which has to go well.
    ///
    /// # Panics
    /// When it does not. The message holds what it said.
    pub(crate) fn prepare(&self, mut command: Command) {
        let shown = format!("{command:?}");
        self.run_as.apply(&mut command);
        command.current_dir(self.dir.path());
        let said = crate::process::run(command, b"", ANSWERS);
        assert_eq!(said.code, Some(0), "{shown} has failed:\n{}{}", said.stdout, said.stderr);
    }
}

/// A running server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    cli: Cli,
    /// What it is asked to see whether it is there.
    hello: Vec<String>,
    process: Process,
    home: Home,
}

impl Daemon {
    /// Starts it and waits until it answers `hello`.
    ///
    /// # Panics
    /// When it ends or does not answer in time. The end of its log is printed.
    pub(crate) fn start(
        name: &str,
        program: PathBuf,
        args: Vec<OsString>,
        home: Home,
        cli: Cli,
        hello: &[&str],
    ) -> Self {
        let name = format!("{name}-{}", home.port.number());
        let hello = hello.iter().map(|word| (*word).to_owned()).collect();
        let process = process(&name, &program, &args, &home);
        let mut daemon = Self { name, program, args, cli, hello, process, home };
        daemon.wait_for_answer();
        daemon
    }

    fn wait_for_answer(&mut self) {
        let deadline = Instant::now() + ANSWERS;
        let log = self.home.log().display().to_string();
        let hello: Vec<&str> = self.hello.iter().map(String::as_str).collect();
        loop {
            if let Some(status) = self.process.ended() {
                panic!("{} has ended instead of answering: {status}; its log: {log}", self.name);
            }
            match self.cli.ask(&hello) {
                Ok(_) => return,
                Err(problem) => assert!(
                    Instant::now() < deadline,
                    "{} has not answered within {ANSWERS:?}: {problem}; its log: {log}",
                    self.name
                ),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Where it listens. It keeps this over restarts.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.home.port.addr()
    }

    /// The port of [`Daemon::addr`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.home.port.number()
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.data()
    }

    /// The id of its first process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The ids of all its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        processes::tree(self.pid())
    }

    /// Whether it can answer: it is neither dead nor frozen.
    #[must_use]
    pub fn is_running(&self) -> bool {
        processes::is_alive(self.pid()) && !processes::is_stopped(self.pid())
    }

    /// What this life of it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// `kill -9` of all its processes, as if the machine had lost its power but not its disk's cache.
    pub fn kill(&mut self) {
        if self.process.ended().is_none() {
            processes::kill_tree(self.pid());
        }
        // Buried as well, else its id would still be there.
        self.process.kill();
    }

    /// Sends a signal. `Stop`, `Continue` and `Kill` reach all its processes; others reach the first, which
    /// knows what to do with them.
    pub fn signal(&self, signal: Signal) {
        match signal {
            Signal::Stop => drop(processes::stop_tree(self.pid())),
            Signal::Continue => processes::continue_tree(self.pid()),
            Signal::Kill => processes::kill_tree(self.pid()),
            other => self.process.signal(other),
        }
    }

    /// Asks it to stop in its own way and waits until it has.
    ///
    /// # Panics
    /// When it goes on running.
    pub fn stop(&mut self) {
        // PostgreSQL waits for its clients after `Terminate`, but not after this; to the others it is the same.
        self.signal(Signal::Interrupt);
        self.process.wait(ANSWERS);
    }

    /// Starts it again at the same port with the same data, without waiting until it answers.
    ///
    /// # Panics
    /// When it still runs.
    pub fn start_later(&mut self) {
        assert!(self.process.ended().is_some(), "{} still runs", self.name);
        self.process = process(&self.name, &self.program, &self.args, &self.home);
    }

    /// Starts it again at the same port with the same data, and waits until it answers.
    ///
    /// # Panics
    /// When it still runs, ends, or does not answer in time.
    pub fn start_again(&mut self) {
        self.start_later();
        self.wait_for_answer();
    }

    /// Asks its command line client.
    ///
    /// # Errors
    /// What the client complains about.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<String, String> {
        self.cli.ask(words).map_err(|problem| format!("{}, asked {words:?}: {problem}", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process dies when it is dropped, but its children would not.
        if self.process.ended().is_none() {
            processes::kill_tree(self.pid());
        }
    }
}

fn process(name: &str, program: &Path, args: &[OsString], home: &Home) -> Process {
    let mut command = Command::new(program);
    command.args(args).current_dir(home.dir.path());
    home.run_as.apply(&mut command);
    Process::start(name, command, &home.log())
}
