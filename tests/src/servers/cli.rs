//! Command line clients of servers: what is needed to reach one, and what it answers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::try_run;

/// Servers answer in milliseconds, or they do not: dead, frozen, cut off.
const ANSWER: Duration = Duration::from_secs(10);

/// A command line client with the arguments that lead to one server.
#[derive(Clone, Debug)]
pub(crate) struct Cli {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Cli {
    pub(crate) fn new(program: PathBuf, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { program, args, env: Vec::new() }
    }

    /// With further arguments of this kind.
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With a variable: passwords do not belong on command lines.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Asks with further arguments; the answer comes without its last newline.
    ///
    /// # Errors
    /// What it complains about, or that it has not answered.
    pub(crate) fn ask(&self, further: &[&str]) -> Result<String, String> {
        self.ask_within(further, ANSWER)
    }

    /// The same for a question that takes long.
    ///
    /// # Errors
    /// What it complains about, or that it has not answered.
    pub(crate) fn ask_within(&self, further: &[&str], within: Duration) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(further).envs(self.env.iter().map(|(name, value)| (name, value)));
        let said = try_run(command, b"", within)?;
        match said.code {
            Some(0) => Ok(said.stdout.strip_suffix('\n').unwrap_or(&said.stdout).to_owned()),
            _ => Err(format!("{}{}", said.stdout, said.stderr).trim().to_owned()),
        }
    }
}

/// A server that comes from elsewhere than Debian: `tests/get-servers` puts it beside what Cargo builds.
///
/// # Panics
/// When it is not there. The message says how to get it.
pub(crate) fn fetched(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it lies");
    let found = own.ancestors().map(|dir| dir.join("servers").join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no servers/{name} beside this build: run `tests/get-servers target/servers`")
    })
}

/// Where a program lies.
///
/// # Panics
/// When it is not on this machine. The message names its Debian package.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    // Of users, /usr/sbin is often not in the path.
    let dirs = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let found = dirs.split(':').map(|dir| PathBuf::from(dir).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no `{name}` on this machine: `tests/run` installs {package}"))
}
