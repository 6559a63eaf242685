//! PostgreSQL as Debian packages it, with all its promises: nothing about durability is switched off.

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cli::Cli;
use super::daemon::{Daemon, Home};
use super::run_as::RunAs;
use super::{PASSWORD, USER};

/// Where Debian keeps its versions, out of everybody's path.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A PostgreSQL of one's own.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings, as in `postgresql.conf`.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let bin = newest();
        let home = Home::new(RunAs::user_for_root("postgres"));
        let sockets = home.dir.join("sockets");
        home.run_as.make_dir(&sockets);
        init(&bin, &home);

        let port = home.port.number().to_string();
        let sockets = sockets.display().to_string();
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", &sockets),
            ("shared_buffers", "16MB"),
            // Files of its own instead of some in /dev/shm that would outlive a kill.
            ("dynamic_shared_memory_type", "mmap"),
        ];
        let mut args: Vec<OsString> = vec!["-D".into(), home.data().into()];
        for (name, value) in own.iter().chain(settings) {
            args.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        // Not the wrapper of Debian, which looks for the system's own servers.
        let cli = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port, "-U", USER];
        let cli = Cli::new(bin.join("psql"), &cli).env("PGPASSWORD", PASSWORD);
        let hello = ["-d", "postgres", "-c", "SELECT 1"];
        Self { daemon: Daemon::start("postgres", bin.join("postgres"), args, home, cli, &hello) }
    }

    /// The address of a database, with the name and the password of the tests.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{database}", self.addr())
    }

    /// Makes an empty database; answers its address.
    ///
    /// # Panics
    /// When it is there already.
    pub fn create_database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url(name)
    }

    /// Asks `psql`: a row is a line, `|` separates columns.
    ///
    /// # Panics
    /// When it complains.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same where it may complain, or not answer.
    ///
    /// # Errors
    /// What it says.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.ask(&["-d", database, "-c", sql])
    }
}

impl Deref for Postgres {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.daemon.kill();
        free_memory(&self.daemon.data_dir());
    }
}

/// The directory with the programs of the newest version.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let numbers = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let bins = numbers.map(|version| (version, Path::new(VERSIONS).join(version.to_string()).join("bin")));
    let newest = bins.filter(|(_, bin)| bin.join("postgres").is_file()).max();
    newest
        .unwrap_or_else(|| panic!("there is no PostgreSQL in {VERSIONS}: `tests/run` installs postgresql"))
        .1
}

fn init(bin: &Path, home: &Home) {
    let password = home.dir.file("password", PASSWORD);
    let mut init = Command::new(bin.join("initdb"));
    init.arg("-D").arg(home.data()).args(["-U", USER, "--auth=scram-sha-256", "--pwfile"]).arg(password);
    // What is made here need not survive a power cut.
    init.args(["--no-sync", "--no-locale", "--encoding=UTF8"]);
    home.prepare(init);
}

/// A killed server leaves a few bytes of System V shared memory, which would be there until the machine restarts.
/// The seventh line of `postmaster.pid` is its key and its id.
fn free_memory(data: &Path) {
    let lines = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let id = lines.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    if let Some(id) = id {
        #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
        // SAFETY: a plain system call; removing takes no buffer. If it has gone already, it fails.
        let _ = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
