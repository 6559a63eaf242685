//! One node: a process of the binary, with ports that the system chose and that it keeps over restarts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, Said, Signal};
use crate::wait::{until, until_so};
use crate::{Client, Scratch, binary};

/// From the start of the process until it is ready; a busy machine gets a multiple of what it takes.
const READY: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    name: String,
    dir: PathBuf,
    http: SocketAddr,
    mesh: SocketAddr,
    flags: Vec<(&'static str, String)>,
    settings: Vec<(String, String)>,
    space: Option<String>,
    key: Option<String>,
}

impl NodeSpec {
    /// A node of this name with a data directory of its own under `dir`, an SQLite file that all nodes
    /// of `dir` share, and a secret in the same place.
    ///
    /// # Panics
    /// When `dir` cannot be written.
    #[must_use]
    pub fn new(dir: &Scratch, name: &str) -> Self {
        let secret = dir.join("secret");
        if !secret.exists() {
            let mut new = binary::command();
            new.args(["secret", "new", "--out"]).arg(&secret);
            let said = crate::process::run(new, b"", READY);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let flags = vec![
            ("--db", format!("sqlite://{}", dir.join("mesh.db").display())),
            ("--data-dir", dir.join(name).display().to_string()),
            ("--secret-file", secret.display().to_string()),
        ];
        let dir = dir.path().to_owned();
        let (name, settings) = (name.to_owned(), Vec::new());
        Self { name, dir, http: any, mesh: any, flags, settings, space: None, key: None }
    }

    /// With another value of a flag, or a further one.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, value: impl ToString) -> Self {
        if flag != "--seed" {
            self.flags.retain(|(known, _)| *known != flag);
        }
        self.flags.push((flag, value.to_string()));
        self
    }

    /// Without a flag that [`NodeSpec::new`] gives.
    #[must_use]
    pub fn without(mut self, flag: &str) -> Self {
        self.flags.retain(|(known, _)| *known != flag);
        self
    }

    /// With a setting in the environment: `section.key`.
    #[must_use]
    pub fn set(mut self, setting: &str, value: impl ToString) -> Self {
        let variable = format!("BEATMESH_{}", setting.to_uppercase().replace('.', "__"));
        self.settings.push((variable, value.to_string()));
        self
    }

    /// At this HTTP address.
    #[must_use]
    pub fn http(mut self, addr: SocketAddr) -> Self {
        self.http = addr;
        self
    }

    /// At this mesh address.
    #[must_use]
    pub fn mesh(mut self, addr: SocketAddr) -> Self {
        self.mesh = addr;
        self
    }

    /// In this network namespace.
    #[must_use]
    pub fn space(mut self, space: &str) -> Self {
        self.space = Some(space.to_owned());
        self
    }

    /// With an API key, which its clients show: else it takes HTTP on loopback only.
    ///
    /// # Panics
    /// When the directory of the test cannot be written.
    #[must_use]
    pub fn key(mut self, dir: &Scratch, key: &str) -> Self {
        let file = dir.secret_file("api-keys", format!("tests:{key}\n"));
        self.key = Some(key.to_owned());
        self.set("security.api_keys_file", file.display())
    }

    /// The command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = match &self.space {
            None => binary::command(),
            Some(space) => {
                // It becomes the node and keeps its process id.
                let mut enter = Command::new("ip");
                enter.args(["netns", "exec", space]).arg(binary::path());
                binary::without_settings(enter)
            }
        };
        command.arg("node").args(["--name", &self.name]);
        command.args(["--http", &self.http.to_string(), "--mesh", &self.mesh.to_string()]);
        for (flag, value) in &self.flags {
            command.args([flag, value.as_str()]);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("BEATMESH_LOG__FORMAT", "json");
        command.current_dir(&self.dir);
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or takes too long.
    #[must_use]
    pub fn start(self) -> Node {
        let process = Process::start(&self.name, self.command(), &self.log());
        let mut node = Node { spec: self, process };
        node.wait_ready();
        node
    }

    /// Starts it where it must not start: answers what it says and how it ends.
    ///
    /// # Panics
    /// When it goes on running.
    #[must_use]
    pub fn fail(&self) -> Said {
        let mut command = self.command();
        // As people see it: the line of the error without the log's JSON around it.
        command.env("BEATMESH_LOG__FORMAT", "text");
        crate::process::run(command, b"", Duration::from_secs(20))
    }
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    process: Process,
}

impl Node {
    fn wait_ready(&mut self) {
        let mut found = None;
        until_so(&format!("{} is ready", self.spec.name), READY, || {
            if let Some(status) = self.process.ended() {
                panic!("{} has ended instead of getting ready: {status}", self.spec.name);
            }
            found = self.events("node is ready").pop();
            found.is_some()
        });
        let ready = found.expect("just found");
        let addr = |key: &str| ready[key].as_str().and_then(|text| text.parse().ok()).expect("an address");
        // A restarted node must be found where it was.
        (self.spec.http, self.spec.mesh) = (addr("http"), addr("mesh"));
    }

    /// Its name, which is its id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where it takes HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.spec.http
    }

    /// Where other nodes find it.
    #[must_use]
    pub fn mesh_addr(&self) -> SocketAddr {
        self.spec.mesh
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let dir = self.spec.flags.iter().find(|(flag, _)| *flag == "--data-dir");
        Path::new(&dir.expect("every node has one").1).to_owned()
    }

    /// A client of it, with fresh connections.
    #[must_use]
    pub fn client(&self) -> Client {
        match &self.spec.key {
            None => Client::new(self.spec.http),
            Some(key) => Client::with_key(self.spec.http, key),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        self.process.wait(within)
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Starts it again at the same addresses, without waiting until it is ready.
    ///
    /// # Panics
    /// When it still runs.
    pub fn restart_later(&mut self) {
        assert!(self.process.ended().is_some(), "{} still runs", self.spec.name);
        self.process = Process::start(&self.spec.name, self.spec.command(), &self.spec.log());
    }

    /// Starts it again at the same addresses and waits until it is ready.
    pub fn restart(&mut self) {
        self.restart_later();
        self.wait_ready();
    }

    /// Asks it to leave and waits until it has; answers how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::Terminate);
        self.wait(Duration::from_secs(15))
    }

    /// What this life of it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Log lines with this message.
    #[must_use]
    pub fn events(&self, message: &str) -> Vec<Value> {
        let log = self.process.log();
        // The last line may be half written.
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message))).collect()
    }

    /// `GET /v1/mesh`; null while it does not answer.
    pub async fn view(&self) -> Value {
        let request = self.client().request(reqwest::Method::GET, "/v1/mesh");
        match crate::http::send(request.timeout(Duration::from_secs(2))).await {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        }
    }

    /// Asserts that nothing bad has happened to it: it runs, answers, and has not panicked.
    ///
    /// # Panics
    /// When it is not well.
    pub async fn assert_well(&mut self) {
        assert_eq!(self.ended(), None, "{} has ended", self.spec.name);
        self.client().get("/livez").await.ok();
        self.assert_no_panic();
    }

    /// Asserts that it has not panicked, alive or dead.
    ///
    /// # Panics
    /// When it has.
    pub fn assert_no_panic(&self) {
        assert!(!self.log().contains("panicked"), "{} has panicked", self.spec.name);
    }

    /// Waits until functions have no process left on this machine.
    pub async fn until_gone(side: &crate::SideFile) {
        let within = Duration::from_secs(5);
        until("all processes of the function are gone", within, async || side.processes(), Vec::is_empty)
            .await;
    }
}
