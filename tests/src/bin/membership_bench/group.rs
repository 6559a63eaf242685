//! A group of agents on loopback, of beatmesh or of Serf, that are started, killed, stopped and asked to leave in
//! the same way, and write what they see on one board.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{ChildStdout, Command};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beatmesh_tests::{Event, Events, Node, NodeSpec, Process, Scratch, Signal};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::Value;

use crate::board::{Board, State};

/// All see all after this, or something is wrong.
const FORMED: Duration = Duration::from_secs(60);

/// Who leaves has ended after this: Serf waits for its messages to spread.
const LEAVES: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Beatmesh,
    /// With one of its profiles.
    Serf(Profile),
}

/// How fast and how sure Serf's agents want to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Local,
    Lan,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Lan => "lan",
        }
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

impl ValueEnum for System {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl System {
    /// All that can be measured.
    pub const ALL: [Self; 3] = [Self::Beatmesh, Self::Serf(Profile::Local), Self::Serf(Profile::Lan)];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Beatmesh => "beatmesh",
            Self::Serf(Profile::Local) => "serf-local",
            Self::Serf(Profile::Lan) => "serf-lan",
        }
    }

    /// The version that its program tells, if there is one.
    pub fn version(self) -> Option<String> {
        let mut command = match self {
            Self::Beatmesh => beatmesh_tests::binary::command(),
            Self::Serf(_) => Command::new("serf"),
        };
        let output =
            command.arg(if self == Self::Beatmesh { "--version" } else { "version" }).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map(|line| line.trim_start_matches("Serf ").to_owned())
    }

    /// How an agent is asked to leave. Serf takes SIGTERM for a crash unless told otherwise.
    fn goodbye(self) -> Signal {
        match self {
            Self::Beatmesh => Signal::Terminate,
            Self::Serf(_) => Signal::Interrupt,
        }
    }
}

/// Agents that have found each other.
pub struct Group {
    pub system: System,
    pub board: Board,
    agents: Vec<Agent>,
    /// Declared after the agents, so that it is removed after their end.
    dir: Scratch,
}

enum Agent {
    Beatmesh { node: Box<Node>, follower: tokio::task::JoinHandle<()> },
    Serf { process: Process, reader: Option<JoinHandle<()>>, mesh: SocketAddr, rpc: SocketAddr },
}

impl Group {
    /// So many agents; all see all.
    pub async fn start(system: System, count: usize) -> Result<Self> {
        let mut group = Self { system, board: Board::default(), agents: Vec::new(), dir: Scratch::new() };
        for index in 0..count {
            let agent = match system {
                System::Beatmesh => {
                    let node = NodeSpec::new(&group.dir, &name(index)).start();
                    let follower = follow(&node, index, group.board.clone()).await;
                    Agent::Beatmesh { node: Box::new(node), follower }
                }
                System::Serf(profile) => group.start_serf(profile, index, free_port()?, free_port()?),
            };
            group.agents.push(agent);
            // An agent of Serf that finds nobody to join ends, so the first ones have to be there.
            let is_up = group.board.until(FORMED, |board| board.knows_itself(index)).await;
            ensure!(is_up, "agent {} of {} does not start", index + 1, system.name());
        }
        group.until_whole(count).await?;
        Ok(group)
    }

    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Waits until all hold all for alive.
    async fn until_whole(&self, count: usize) -> Result<()> {
        let is_whole = self.board.until(FORMED, |board| board.is_whole(count)).await;
        ensure!(is_whole, "{} of {count} agents do not see each other: {:?}", self.system.name(), self.board);
        Ok(())
    }

    fn start_serf(&self, profile: Profile, index: usize, mesh: SocketAddr, rpc: SocketAddr) -> Agent {
        let mut command = Command::new("serf");
        command.arg("agent").arg(format!("-node={}", name(index)));
        command.args([
            format!("-profile={}", profile.name()),
            format!("-bind={mesh}"),
            format!("-rpc-addr={rpc}"),
        ]);
        let others = self.agents.iter().enumerate().filter(|(other, _)| *other != index);
        command.args(others.filter_map(|(_, agent)| match agent {
            Agent::Serf { mesh, .. } => Some(format!("-join={mesh}")),
            Agent::Beatmesh { .. } => None,
        }));
        let log = self.dir.join(&format!("{}.log", name(index)));
        let (process, stdout) = Process::start_read(&name(index), command, &log);
        let board = self.board.clone();
        let reader = Some(std::thread::spawn(move || read_serf(stdout, index, &board)));
        Agent::Serf { process, reader, mesh, rpc }
    }

    /// Sends a signal to an agent.
    pub fn signal(&self, index: usize, signal: Signal) {
        match &self.agents[index] {
            Agent::Beatmesh { node, .. } => node.signal(signal),
            Agent::Serf { process, .. } => process.signal(signal),
        }
    }

    /// Asks an agent to leave.
    pub fn ask_to_leave(&self, index: usize) {
        self.signal(index, self.system.goodbye());
    }

    pub fn pid(&self, index: usize) -> i32 {
        match &self.agents[index] {
            Agent::Beatmesh { node, .. } => node.pid(),
            Agent::Serf { process, .. } => process.pid(),
        }
    }

    /// Waits for the end of an agent that was killed or leaves, and starts it again at its addresses.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        let (board, count) = (self.board.clone(), self.len());
        match &mut self.agents[index] {
            Agent::Beatmesh { node, follower } => {
                let _ = node.wait(LEAVES);
                follower.abort();
                let _ = (&mut *follower).await;
                board.forget(index);
                node.restart();
                *follower = follow(node, index, board).await;
            }
            Agent::Serf { process, reader, mesh, rpc } => {
                let _ = process.wait(LEAVES);
                // It ends with the pipe.
                let _ = reader.take().map(JoinHandle::join);
                board.forget(index);
                let (mesh, rpc) = (*mesh, *rpc);
                if let System::Serf(profile) = self.system {
                    self.agents[index] = self.start_serf(profile, index, mesh, rpc);
                }
            }
        }
        self.until_whole(count).await
    }

    /// What a node says that it has sent to others: bytes of UDP payload and datagrams, of all nodes. Serf does
    /// not say.
    pub async fn sent(&self) -> Result<Option<(f64, f64)>> {
        self.counted(["beatmesh_udp_sent_bytes_total ", "beatmesh_udp_sent_datagrams_total "]).await
    }

    /// Probes and suspicions of all nodes since their start. Serf does not say.
    pub async fn probes(&self) -> Result<Option<(f64, f64)>> {
        self.counted(["beatmesh_probes_total ", "beatmesh_suspicions_total "]).await
    }

    /// Two metrics, each summed up over all nodes.
    async fn counted(&self, names: [&str; 2]) -> Result<Option<(f64, f64)>> {
        let mut sums = [0.0; 2];
        for agent in &self.agents {
            let Agent::Beatmesh { node, .. } = agent else { return Ok(None) };
            let text = node.client().get("/metrics").await.ok().text();
            for (sum, name) in sums.iter_mut().zip(names) {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                let value = line.and_then(|line| line.trim().parse::<f64>().ok());
                *sum += value.with_context(|| format!("{name}is not among the metrics"))?;
            }
        }
        Ok(Some(sums.into()))
    }
}

/// The same length for all: names are in every packet.
fn name(index: usize) -> String {
    format!("node-{:04}", index + 1)
}

fn index_of(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse::<usize>().ok()?.checked_sub(1)
}

/// Writes down what a node's stream of events tells, until the node ends.
async fn follow(node: &Node, observer: usize, board: Board) -> tokio::task::JoinHandle<()> {
    let mut events = Events::follow(&node.client()).await;
    tokio::spawn(async move {
        while let Ok(Some(event)) = events.next_or_break().await {
            take(&event, observer, &board);
        }
    })
}

fn take(event: &Event, observer: usize, board: &Board) {
    let tell = |member: &Value| {
        let state = match member["liveness"].as_str() {
            Some("alive" | "suspect") => State::Alive,
            Some("dead") => State::Dead,
            Some("left") => State::Left,
            _ => return,
        };
        if let Some(subject) = member["id"].as_str().and_then(index_of) {
            board.tell(observer, subject, state);
        }
    };
    match event.name.as_str() {
        "snapshot" => event.data["members"].as_array().into_iter().flatten().for_each(tell),
        "member" => tell(&event.data),
        _ => {}
    }
}

/// Writes down what an agent of Serf logs of members. It logs an event before it gathers events for handlers,
/// so this is the earliest that anybody can know.
fn read_serf(stdout: ChildStdout, observer: usize, board: &Board) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Some((_, event)) = line.split_once("serf: EventMember") else { continue };
        let mut words = event.split_whitespace();
        let state = match words.next() {
            Some("Join:") => State::Alive,
            Some("Failed:") => State::Dead,
            Some("Leave:") => State::Left,
            _ => continue,
        };
        if let Some(subject) = words.next().and_then(index_of) {
            board.tell(observer, subject, state);
        }
    }
}

/// A loopback address that is free for TCP and UDP; Serf takes both.
fn free_port() -> Result<SocketAddr> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = tcp.local_addr()?;
        if UdpSocket::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    anyhow::bail!("there is no port that is free for TCP and UDP")
}
