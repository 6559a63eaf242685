//! Nodes in network namespaces of their own, all on one bridge, and links between them that are cut.
//!
//! Each namespace drops what comes from the addresses in its set `cut`, so a link is cut in one direction at a
//! time. This process sits on the bridge and always reaches everybody.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::process::run;

/// A rule or a link is made in milliseconds.
const SOON: Duration = Duration::from_secs(10);

/// Nodes are numbered from here.
const FIRST: u8 = 1;

/// What this process has on the bridge.
const OWN: u8 = 254;

/// A network that goes with the test.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    spaces: Vec<String>,
    net: u8,
}

impl Network {
    /// So many namespaces that all reach each other.
    ///
    /// # Errors
    /// Why this machine cannot: the test is skipped then, and prints it.
    pub fn new(count: u8) -> Result<Self, String> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        // Names of links have fifteen letters at most.
        let name = format!("bm{process}x{number}");
        let net = u8::try_from((process * 16 + u32::from(number)) % 250).expect("a remainder");
        let mut network = Self { bridge: format!("{name}b"), spaces: Vec::new(), net };
        network.make(&name, count).map(|()| network)
    }

    fn make(&mut self, name: &str, count: u8) -> Result<(), String> {
        let bridge = self.bridge.clone();
        command(&format!("ip link add {bridge} type bridge"))?;
        command(&format!("ip addr add {}/24 dev {bridge}", self.at(OWN)))?;
        command(&format!("ip link set {bridge} up"))?;
        for index in 0..count {
            let (space, link) = (format!("{name}n{index}"), format!("{name}v{index}"));
            command(&format!("ip netns add {space}"))?;
            self.spaces.push(space.clone());
            command(&format!("ip link add {link} type veth peer name eth0 netns {space}"))?;
            command(&format!("ip link set {link} master {bridge} up"))?;
            command(&format!("ip -n {space} addr add {}/24 dev eth0", self.at(FIRST + index)))?;
            command(&format!("ip -n {space} link set eth0 up"))?;
            command(&format!("ip -n {space} link set lo up"))?;
            let nft = format!("ip netns exec {space} nft add");
            command(&format!("{nft} table ip faults"))?;
            command(&format!("{nft} set ip faults cut {{ type ipv4_addr; }}"))?;
            command(&format!("{nft} chain ip faults input {{ type filter hook input priority 0; }}"))?;
            command(&format!("{nft} rule ip faults input ip saddr @cut counter drop"))?;
        }
        Ok(())
    }

    /// How many namespaces there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spaces.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// The name of a namespace.
    #[must_use]
    pub fn space(&self, index: usize) -> &str {
        &self.spaces[index]
    }

    /// The address in a namespace.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn addr(&self, index: usize) -> IpAddr {
        assert!(index < self.spaces.len(), "there is no namespace {index}");
        IpAddr::V4(self.at(FIRST + u8::try_from(index).expect("there are few")))
    }

    /// From now on, nothing that one sends reaches the other.
    ///
    /// # Panics
    /// When the rule is refused.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        let (space, addr) = (self.space(to), self.addr(from));
        let add = format!("ip netns exec {space} nft add element ip faults cut {{ {addr} }}");
        command(&add).expect("a rule that was accepted before");
    }

    /// From now on, neither of the two hears the other.
    pub fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// From now on, nobody of one side hears anybody of the other.
    pub fn split(&self, one: &[usize], other: &[usize]) {
        for left in one {
            for right in other {
                self.cut(*left, *right);
            }
        }
    }

    /// All hear all again.
    ///
    /// # Panics
    /// When a rule is refused.
    pub fn heal(&self) {
        for space in &self.spaces {
            command(&format!("ip netns exec {space} nft flush set ip faults cut"))
                .expect("sets can be emptied");
        }
    }

    /// How many packets were dropped on their way into a namespace so far.
    ///
    /// # Panics
    /// When the rule has gone.
    #[must_use]
    pub fn dropped(&self, index: usize) -> u64 {
        let list = format!("ip netns exec {} nft list chain ip faults input", self.space(index));
        let rule = command(&list).expect("a chain that was made");
        let count = rule.split_once("counter packets ").and_then(|(_, rest)| rest.split(' ').next());
        count.and_then(|count| count.parse().ok()).expect("the rule counts")
    }

    fn at(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 203, self.net, host)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The links and rules of a namespace go with it. What was never made cannot be removed either.
        for space in &self.spaces {
            let _ = command(&format!("ip netns del {space}"));
        }
        let _ = command(&format!("ip link del {}", self.bridge));
    }
}

/// Runs a command whose words have no spaces in them; answers what it says.
fn command(line: &str) -> Result<String, String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let paths = std::env::var("PATH").unwrap_or_default();
    // Of users, /usr/sbin is often not in the path.
    let paths = format!("{paths}:/usr/sbin:/sbin");
    let is_there = paths.split(':').any(|path| std::path::Path::new(path).join(program).is_file());
    if !is_there {
        return Err(format!("there is no `{program}` on this machine"));
    }
    let mut command = Command::new(program);
    command.args(words).env("PATH", paths);
    let said = run(command, b"", SOON);
    match said.code {
        Some(0) => Ok(said.stdout),
        _ => Err(format!("`{line}`: {}", said.stderr.trim())),
    }
}
