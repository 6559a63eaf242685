//! Nodes of the benchmark's own: started, asked, stopped.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::load::Load;
use crate::cli::failure::Failure;
use crate::config::secret;

/// What a node does when it is told nothing.
pub(super) const ALL_ROLES: &str = "server,worker,beat";

/// A node that is not there after this will not come.
const WITHIN: Duration = Duration::from_secs(20);

/// How often a node that starts is asked: the resolution of start-up times.
const LOOK: Duration = Duration::from_millis(2);

/// A few nodes in a temporary directory; gone when dropped.
pub(super) struct Bench {
    dir: PathBuf,
    nodes: Vec<(Child, SocketAddr)>,
    client: reqwest::Client,
}

impl Bench {
    pub(super) fn new() -> Result<Self, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(format!("the benchmark cannot begin: {error}"));
        let mark = secret::fresh();
        let dir = std::env::temp_dir().join(format!(
            "beatmesh-bench-{}-{}",
            std::process::id(),
            &mark.expose_secret()[4..12]
        ));
        std::fs::create_dir_all(&dir).map_err(|error| failed(&error))?;
        secret::create(&dir.join("secret"), &mark).map_err(|error| failed(&error))?;
        let client = reqwest::Client::builder().timeout(WITHIN).build().map_err(|error| failed(&error))?;
        Ok(Self { dir, nodes: Vec::new(), client })
    }

    /// Starts one node for each list of roles, all at once. Answers the milliseconds until all are ready.
    pub(super) async fn start(&mut self, roles: &[&str]) -> Result<f64, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("a node cannot be started: {error}"));
        let addrs = roles.iter().map(|_| free_port()).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let path = |name: &str| self.dir.join(name).display().to_string();
        let began = now();
        for (index, (roles, http)) in roles.iter().zip(addrs).enumerate() {
            let name = format!("bench-{index}");
            let log = std::fs::File::create(self.dir.join(format!("{name}.log"))).map_err(failed)?;
            let node = Command::new(&program)
                .args(["node", "--name", &name, "--http", &http.to_string(), "--mesh", "127.0.0.1:0"])
                .args(["--db", &format!("sqlite://{}", path("mesh.db")), "--data-dir", &path(&name)])
                .args(["--secret-file", &path("secret"), "--roles", roles])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .map_err(failed)?;
            self.nodes.push((node, http));
        }
        for index in 0..self.nodes.len() {
            let url = format!("http://{}/readyz", self.http(index));
            self.until(&format!("bench-{index} is ready"), || async {
                self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
            })
            .await?;
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Waits until every node has all nodes in its ring. Answers the milliseconds since the first node's
    /// generation, which is its start by the wall clock.
    pub(super) async fn all_see_all(&self) -> Result<f64, Failure> {
        let count = self.nodes.len();
        let mut began = u64::MAX;
        for index in 0..count {
            let url = format!("http://{}/v1/mesh", self.http(index));
            self.until(&format!("bench-{index} sees all nodes"), || async {
                self.get(&url).await.is_some_and(|mesh| {
                    mesh["ring"]["members"].as_array().is_some_and(|ring| ring.len() == count)
                })
            })
            .await?;
            let mesh = self.get(&url).await.unwrap_or_default();
            let members = mesh["members"].as_array().cloned().unwrap_or_default();
            began = members.iter().filter_map(|member| member["generation"].as_u64()).fold(began, u64::min);
        }
        Ok(wall_ms().saturating_sub(began) as f64)
    }

    pub(super) fn http(&self, node: usize) -> SocketAddr {
        self.nodes[node].1
    }

    /// Resident memory of a node.
    pub(super) fn memory_mb(&self, node: usize) -> Result<f64, Failure> {
        let status = self.proc(node, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(f64::NAN);
        Ok(kib / 1_024.0)
    }

    /// CPU that a node uses while nobody asks it anything.
    pub(super) async fn cpu_percent(&self, node: usize, over: Duration) -> Result<f64, Failure> {
        let ticks = |stat: &str| -> f64 {
            // After the name in parentheses: state is the first field, utime and stime the 12th and 13th.
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum()
        };
        let before = ticks(&self.proc(node, "stat")?);
        tokio::time::sleep(over).await;
        let after = ticks(&self.proc(node, "stat")?);
        // The kernel counts in hundredths of a second on every machine that Linux runs on today.
        Ok((after - before) / over.as_secs_f64())
    }

    pub(super) async fn deploy_noop(&self) -> Result<(), Failure> {
        let url = format!("http://{}/v1/functions/noop", self.http(0));
        let definition = json!({"runtime": "builtin", "handler": "noop"});
        let put = self.client.put(&url).json(&definition).send().await;
        let put = put.and_then(reqwest::Response::error_for_status);
        put.map_err(|error| {
            Failure::failed(format!("the benchmark's function cannot be deployed: {error}"))
        })?;
        Ok(())
    }

    /// Sends `count` tasks through the queue: how many a second were enqueued, and how many were
    /// enqueued and run.
    pub(super) async fn through_queue(&self, load: &Load, count: u32) -> Result<(f64, f64), Failure> {
        let began = now();
        let enqueued = load.run_count(count).await?;
        if enqueued.errors > 0 {
            return Err(Failure::failed(format!("{} of the tasks were not taken", enqueued.errors)));
        }
        for state in ["scheduled", "ready", "leased", "retry"] {
            let url = format!("http://{}/v1/tasks?limit=1&state={state}", self.http(0));
            self.until("all tasks have run", || async {
                self.get(&url).await.is_some_and(|list| list["tasks"].as_array().is_some_and(Vec::is_empty))
            })
            .await?;
        }
        Ok((enqueued.rate, f64::from(count) / began.elapsed().as_secs_f64()))
    }

    /// Stops all nodes; a node that does not go is killed.
    pub(super) async fn stop(mut self) {
        for (node, _) in &self.nodes {
            if let Some(pid) = node.id().and_then(|pid| i32::try_from(pid).ok()) {
                // SAFETY: a plain system call on a child that has not been waited for.
                #[expect(unsafe_code, reason = "there is no safe wrapper in the standard library")]
                unsafe {
                    libc::kill(pid, libc::SIGTERM);
                }
            }
        }
        for (node, _) in &mut self.nodes {
            let _ = tokio::time::timeout(WITHIN, node.wait()).await;
        }
    }

    async fn get(&self, url: &str) -> Option<Value> {
        self.client.get(url).send().await.ok()?.json().await.ok()
    }

    fn proc(&self, node: usize, file: &str) -> Result<String, Failure> {
        let pid =
            self.nodes[node].0.id().ok_or_else(|| Failure::failed(format!("bench-{node} has ended")))?;
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).map_err(|error| Failure::failed(format!("{path}: {error}")))
    }

    async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        is_so: impl Fn() -> F,
    ) -> Result<(), Failure> {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = tokio::time::timeout(WITHIN, waiting).await;
        waited.map_err(|_| {
            let log = std::fs::read_to_string(self.dir.join("bench-0.log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("nothing").to_owned();
            Failure::failed(format!("gave up waiting until {what}; the first node's last words: {last}"))
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The nodes are killed with it; what stays behind is in the temporary directory only.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn now() -> Instant {
    Instant::now()
}

fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
