//! Sentinels that watch a Redis and its replicas, and make one of these the master when it dies.

use std::net::SocketAddr;
use std::time::Duration;

use super::cli::program;
use super::daemon::{Daemon, Home};
use super::redis::{Redis, cli};
use super::run_as::RunAs;
use crate::wait::{until_so, until_some_so};

/// The name of the watched master.
pub const MASTER: &str = "mymaster";

/// Silence of this length is a death, to one Sentinel. The least that a frozen-for-a-moment master survives on a
/// busy machine. Guess.
const DOWN_AFTER_MS: u32 = 700;

/// A failover that got stuck is tried again after twice this time.
const FAILOVER_TIMEOUT_MS: u32 = 3_000;

/// What Sentinels do at fixed times, in milliseconds, done more often: they tell of themselves every two seconds and
/// look for replicas every ten, and an old master that comes back obeys after eight. One that was frozen does nothing
/// for thirty seconds. `SENTINEL DEBUG` is of Redis 7.0; a Sentinel that starts again has the long times again.
const FASTER: [&str; 6] = ["publish-period", "500", "info-period", "1000", "tilt-period", "3000"];

/// Until they have told each other of themselves, also with the long times.
const ACQUAINTED: Duration = Duration::from_secs(20);

/// Sentinels with one master.
#[derive(Debug)]
pub struct Sentinels {
    /// The Sentinels, to be hurt.
    pub each: Vec<Daemon>,
}

impl Sentinels {
    /// Starts so many, of which `quorum` have to agree that the master is dead, and waits until they know each other
    /// and the replicas. Those have to be there before.
    ///
    /// # Panics
    /// When they do not start, or do not find each other.
    #[must_use]
    pub fn start(count: usize, master: &Redis, quorum: usize) -> Self {
        let sentinels = Self { each: (0..count).map(|_| start(master, quorum)).collect() };
        let replicas = master.info("connected_slaves").expect("the master is there");
        for one in &sentinels.each {
            until_so(&format!("the Sentinel {} knows everybody", one.addr()), ACQUAINTED, || {
                let about = about_master(one);
                let others = (count - 1).to_string();
                about("num-other-sentinels") == Some(others)
                    && about("num-slaves").as_ref() == Some(&replicas)
                    && one.ask(&["sentinel", "ckquorum", MASTER]).is_ok()
            });
        }
        sentinels
    }

    /// Their addresses and the name of the master, which is [`MASTER`] for those who ask for the right one.
    #[must_use]
    pub fn url(&self, master: &str) -> String {
        let addrs: Vec<String> = self.each.iter().map(|one| one.addr().to_string()).collect();
        format!("redis+sentinel://{}/{master}", addrs.join(","))
    }

    /// Who is the master, in the eyes of the first Sentinel that answers.
    ///
    /// # Panics
    /// When none answers.
    #[must_use]
    pub fn master(&self) -> SocketAddr {
        let mut running = self.each.iter().filter(|one| one.is_running());
        running.find_map(master_of).expect("a Sentinel runs")
    }

    /// Waits until all running Sentinels agree on another master than this one; answers whom.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_another(&self, than: SocketAddr, within: Duration) -> SocketAddr {
        until_some_so(&format!("another Redis than {than} is the master"), within, || {
            let mut seen = self.each.iter().filter(|one| one.is_running()).map(master_of);
            let first = seen.next()??;
            (first != than && seen.all(|other| other == Some(first))).then_some(first)
        })
    }
}

fn start(master: &Redis, quorum: usize) -> Daemon {
    let home = Home::new(RunAs::myself());
    let port = home.port.number();
    let (dir, master_port) = (home.data().display().to_string(), master.port());
    let mut config = format!(
        "bind 127.0.0.1\nport {port}\ndir {dir}\n\
         sentinel monitor {MASTER} 127.0.0.1 {master_port} {quorum}\n\
         sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}\n"
    );
    if let Some(password) = master.password() {
        config.push_str(&format!("sentinel auth-pass {MASTER} {password}\n"));
    }
    // It writes into this file what it has learned.
    let config = home.dir.file("sentinel.conf", config);
    let server = program("redis-sentinel", "redis-sentinel");
    let sentinel = Daemon::start("sentinel", server, vec![config.into()], home, cli(port, None), &["ping"]);
    let faster: Vec<&str> = ["sentinel", "debug"].into_iter().chain(FASTER).collect();
    sentinel.ask(&faster).unwrap_or_else(|problem| panic!("{problem}"));
    sentinel
}

/// What a Sentinel says of the master: names and values take turns.
fn about_master(sentinel: &Daemon) -> impl Fn(&str) -> Option<String> {
    let said = sentinel.ask(&["sentinel", "master", MASTER]).unwrap_or_default();
    move |name| {
        let mut lines = said.lines();
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            if key == name {
                return Some(value.to_owned());
            }
        }
        None
    }
}

fn master_of(sentinel: &Daemon) -> Option<SocketAddr> {
    let said = sentinel.ask(&["sentinel", "get-master-addr-by-name", MASTER]).ok()?;
    said.replace('\n', ":").parse().ok()
}
