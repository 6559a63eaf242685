//! A mesh that strangers try their luck on, and what it must be afterwards: as it was before, but for what it
//! counts and the one line that it logs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::side_file::builtin;
use crate::wait::until;
use crate::{Scratch, TestMesh, database, http, processes};

/// A secret of its own, so that strangers can have the same.
const SECRET: &str = "0c8f1b1e4c5f6a7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f";

/// By so much the memory of a node may have grown at any moment after a stranger was not let in: nothing is kept
/// of it. Measured: less than 1 MiB.
const LITTLE: u64 = 8 << 20;

/// Connections of clients and threads for blocking work come and go with what this process asks.
const FILES: usize = 10;
const THREADS: usize = 6;

/// What is over is forgotten by then: a silent peer after 2 s, a stream after 5 s.
const CALM: Duration = Duration::from_secs(15);

/// A call while strangers do their worst. Measured: a few milliseconds.
const CALL: Duration = Duration::from_secs(2);

/// Two nodes.
#[derive(Debug)]
pub struct Target {
    /// `node-1` is the one that strangers dial.
    pub mesh: TestMesh,
    /// The id of its store.
    pub store: String,
    keys: Vec<String>,
    before: Vec<Costs>,
    most_memory: u64,
}

#[derive(Debug)]
struct Costs {
    resident: u64,
    files: usize,
    threads: usize,
}

fn costs(pid: i32) -> Costs {
    Costs {
        resident: processes::resident(pid).expect("it runs"),
        files: processes::open_files(pid),
        threads: processes::threads(pid).expect("it runs"),
    }
}

impl Target {
    /// A fresh mesh that has answered calls over its links.
    pub async fn start() -> Self {
        Self::started(|dir| {
            let spec = |name| crate::NodeSpec::new(dir, name).start();
            vec![spec("node-1"), spec("node-2")]
        })
        .await
    }

    /// The same with nodes that the caller starts, whose secret is the one in the directory.
    pub async fn started(start: impl FnOnce(&Scratch) -> Vec<crate::Node>) -> Self {
        let dir = Scratch::new();
        dir.secret_file("secret", SECRET);
        let mesh = TestMesh { nodes: start(&dir), dir };
        mesh.until_formed().await;
        mesh.client(0).deploy("echo", &builtin("echo")).await;
        let mut keys = Vec::new();
        for index in 0..mesh.nodes.len() {
            keys.push(mesh.key_of(index).await);
        }
        let store = database::ask(&mesh.dir, "SELECT value FROM beatmesh WHERE name = 'store_id'");
        let mut target = Self { mesh, store, keys, before: Vec::new(), most_memory: LITTLE };
        target.call_everybody(true).await;
        target.before = target.mesh.nodes.iter().map(|node| costs(node.pid())).collect();
        target
    }

    /// For an attack that may take so much memory, in bytes.
    #[must_use]
    pub fn most_memory(mut self, bytes: u64) -> Self {
        self.most_memory = bytes;
        self
    }

    /// What its nodes have in common and strangers must not have.
    #[must_use]
    pub fn secret(&self) -> Vec<u8> {
        let digits = SECRET.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("digits"));
        digits.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal")).collect()
    }

    /// Each node calls each.
    async fn call_everybody(&self, is_calm: bool) -> Duration {
        let mut longest = Duration::ZERO;
        for index in 0..self.mesh.nodes.len() {
            for (owner, key) in self.keys.iter().enumerate() {
                let request = self.mesh.client(index).request(Method::POST, "/v1/functions/echo/call");
                let (request, asked) = (request.header("Beatmesh-Key", key).body("hello"), Instant::now());
                let answer = http::send(request).await.expect("the node answers").ok();
                assert_eq!(answer.text(), "hello");
                // Under attack the key's node may count as too slow for a moment; another one answers then.
                assert!(!is_calm || answer.node() == self.mesh.nodes[owner].name(), "{answer:?}");
                longest = longest.max(asked.elapsed());
            }
        }
        longest
    }

    /// Calls go on as long as the attack does, and none of them waits long.
    ///
    /// # Panics
    /// When one does.
    pub async fn under<T>(&self, attack: impl Future<Output = T>) -> T {
        let (mut attack, mut rounds, mut longest) = (std::pin::pin!(attack), 0, Duration::ZERO);
        let begun = Instant::now();
        loop {
            tokio::select! {
                done = &mut attack => {
                    let took = begun.elapsed().as_millis();
                    println!("{rounds} rounds of calls in {took} ms of attack, the longest call {longest:?}");
                    assert!(longest < CALL, "a call took {longest:?}");
                    return done;
                }
                took = self.call_everybody(false) => (rounds, longest) = (rounds + 1, longest.max(took)),
            }
        }
    }

    /// What the node with this index has refused so far, by topic; nothing that is zero.
    pub async fn refusals(&self, index: usize) -> BTreeMap<String, u64> {
        let metrics = self.mesh.client(index).get("/metrics").await.ok().text();
        let lines = metrics.lines().filter_map(|line| line.strip_prefix("beatmesh_refusals_total{topic=\""));
        let counts = lines.filter_map(|line| line.split_once("\"} "));
        let counts = counts.map(|(topic, count)| (topic.to_owned(), count.parse().expect("a number")));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The reasons in the log lines about refused peers.
    #[must_use]
    pub fn told(&self, index: usize) -> Vec<String> {
        let told = self.mesh.nodes[index].events("refused a peer");
        told.iter().map(|line| line["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Asserts that `node-1` has refused just this often, and told of each topic once, and that the mesh is
    /// unharmed.
    ///
    /// # Panics
    /// When it is not so.
    pub async fn assert_refused(&mut self, refused: &[(&str, u64)]) {
        let refused: BTreeMap<String, u64> =
            refused.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
        let counted = async || self.refusals(0).await;
        until("all refusals are counted", CALM, counted, |counts| counts == &refused).await;
        let told = self.told(0);
        assert_eq!(told.len(), refused.len(), "one line for each topic: {told:#?}");
        self.assert_unharmed().await;
    }

    /// Asserts that the mesh has its members and no others, works, and has paid no more than it may.
    ///
    /// # Panics
    /// When it is not so.
    pub async fn assert_unharmed(&mut self) {
        let names: Vec<String> = self.mesh.nodes.iter().map(|node| node.name().to_owned()).collect();
        for (node, before) in self.mesh.nodes.iter().zip(&self.before) {
            let members = async || {
                let view = node.view().await;
                let members = view["members"].as_array().cloned().unwrap_or_default();
                let inside = members
                    .into_iter()
                    .filter(|member| member["liveness"] == "alive" || member["liveness"] == "suspect");
                inside.filter_map(|member| member["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
            };
            until("the members are the nodes", CALM, members, |members| *members == names).await;
            let pid = node.pid();
            let is_calm =
                |now: &Costs| now.files <= before.files + FILES && now.threads <= before.threads + THREADS;
            let now = until("files and threads are given back", CALM, async || costs(pid), is_calm).await;
            let most = processes::most_resident(pid).expect("it runs").saturating_sub(before.resident);
            let kib = |bytes: u64| bytes >> 10;
            println!(
                "{}: memory {} KiB, at most {} KiB more, now {} KiB; files {} -> {}, threads {} -> {}",
                node.name(),
                kib(before.resident),
                kib(most),
                kib(now.resident),
                before.files,
                now.files,
                before.threads,
                now.threads
            );
            assert!(most <= self.most_memory, "{} took {} KiB more", node.name(), kib(most));
        }
        self.mesh.until_formed().await;
        self.call_everybody(true).await;
        self.mesh.assert_well().await;
    }
}
