//! One Redis server: its keys, the scripts that it knows, its role, its clock.

use std::time::Duration;

use super::commands;
use super::data::Data;
use super::guarded;
use super::lua::{FULL, READ_ONLY, Terms, Vm, Write, digest, without_keys};
use super::resp::{Command, Reply};
use crate::history::EPOCH;
use crate::world::store::guards::Guards;

/// The version that it says it is.
const VERSION: &str = "7.0.15";

/// One server.
pub struct Server {
    /// What it holds.
    pub data: Data,
    vm: Vm,
    guards: Guards,
    /// Whether it is one that only follows.
    pub is_replica: bool,
    /// How many follow it.
    pub replicas: u32,
    /// Whether nothing may grow any more.
    pub is_full: bool,
    clock: Clock,
}

/// What became of one command.
pub struct Done {
    /// Its answer.
    pub reply: Reply,
    /// What it changed, in order.
    pub writes: Vec<Write>,
    /// The script that it ran.
    pub script: Option<Called>,
}

/// A script that was run.
pub struct Called {
    /// Its digest.
    pub digest: String,
    /// What it was called with.
    pub args: Vec<Vec<u8>>,
}

/// A server's clock: right but for a skew and what faults do to it.
#[derive(Clone, Default)]
struct Clock {
    skew_ms: i64,
    /// True time when it was last looked at.
    looked: Duration,
    /// By the number of the fault: milliseconds, and how many commands came meanwhile.
    off: std::collections::BTreeMap<usize, (i64, u64)>,
}

impl Server {
    /// An empty one.
    #[must_use]
    pub fn new(guards: Guards) -> Self {
        let clock = Clock::default();
        let (data, vm) = (Data::default(), Vm::new());
        Self { data, vm, guards, is_replica: false, replicas: 0, is_full: false, clock }
    }

    /// Its process starts anew: it knows no scripts.
    pub fn restart(&mut self) {
        self.vm.forget();
    }

    /// Its clock is wrong by so much from the start.
    pub fn set_skew(&mut self, skew_ms: i64) {
        self.clock.skew_ms = skew_ms;
    }

    /// From here on its clock is wrong by so much more.
    pub fn misset(&mut self, fault: usize, off_ms: i64) {
        self.clock.off.insert(fault, (off_ms, 0));
    }

    /// It is set right; answers how many commands came while it was wrong.
    pub fn set_right(&mut self, fault: usize) -> u64 {
        self.clock.off.remove(&fault).map_or(0, |(_, commands)| commands)
    }

    /// Carries one command out, at this true time.
    pub fn execute(&mut self, now: Duration, words: &Command) -> Done {
        let terms =
            Terms { now_us: self.clock.look(now), is_replica: self.is_replica, is_full: self.is_full };
        let name = words[0].to_ascii_lowercase();
        match name.as_slice() {
            b"eval" | b"evalsha" if words.len() >= 3 => self.script(&name == b"eval", words, terms),
            _ => {
                let mut writes = Vec::new();
                let reply = self.plain(&name, words, terms, &mut writes).unwrap_or_else(Reply::Error);
                Done { reply, writes, script: None }
            }
        }
    }

    /// Does again what another server has done.
    pub fn follow(&mut self, writes: &[Write]) {
        for Write { words, .. } in writes {
            let name = words[0].to_ascii_lowercase();
            if name == b"flushall" {
                self.data = Data::default();
            } else if let Some(spec) = commands::find(&name) {
                let done = spec.run(&mut self.data, words);
                debug_assert!(done.is_ok(), "what one server did another one can do");
            }
        }
    }

    fn script(&mut self, by_text: bool, words: &Command, terms: Terms) -> Done {
        let refused =
            |text: &str| Done { reply: Reply::Error(text.to_owned()), writes: Vec::new(), script: None };
        let number: Option<i64> = std::str::from_utf8(&words[2]).ok().and_then(|text| text.parse().ok());
        let rest = &words[3..];
        let keys = match number {
            None => return refused("ERR value is not an integer or out of range"),
            Some(number) if number < 0 => return refused("ERR Number of keys can't be negative"),
            Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
        };
        if keys > rest.len() {
            return refused("ERR Number of keys can't be greater than number of args");
        }
        let which = String::from_utf8_lossy(&words[1]);
        let digest = if by_text { digest(&which) } else { which.to_ascii_lowercase() };
        if !self.vm.knows(&digest) {
            if !by_text {
                return refused("NOSCRIPT No matching script. Please use EVAL.");
            }
            if let Err(error) = self.vm.learn(&digest, &guarded::text(&which, self.guards)) {
                return refused(&error);
            }
        }
        let (keys, args) = rest.split_at(keys);
        let (reply, writes) = self.vm.run(&digest, &mut self.data, terms, keys, args);
        Done { reply, writes, script: Some(Called { digest, args: args.to_vec() }) }
    }

    fn plain(
        &mut self,
        name: &[u8],
        words: &Command,
        terms: Terms,
        writes: &mut Vec<Write>,
    ) -> Result<Reply, String> {
        if let Some(reply) = without_keys(words, terms) {
            return Ok(reply);
        }
        match (name, words.len()) {
            (b"role", 1) => return Ok(self.role()),
            (b"info", _) => return Ok(Reply::text(self.info())),
            (b"dbsize", 1) => return Ok(Reply::count(self.data.len())),
            (b"script", 2..) => return self.scripts(words),
            (b"eval", _) => return Err(wrong_number("eval")),
            (b"evalsha", _) => return Err(wrong_number("evalsha")),
            (b"flushall" | b"flushdb", 1..=2) if self.is_replica => return Err(READ_ONLY.to_owned()),
            (b"flushall" | b"flushdb", 1..=2) => {
                self.data = Data::default();
                writes.push(Write {
                    words: vec![b"flushall".to_vec()],
                    reply: Reply::ok(),
                    before: Vec::new(),
                });
                return Ok(Reply::ok());
            }
            _ => {}
        }
        let spec = commands::find(name).ok_or_else(|| unknown(words))?;
        if !spec.takes(words.len()) {
            return Err(wrong_number(spec.name));
        }
        if self.is_full && spec.effect == commands::Effect::Grows {
            return Err(FULL.to_owned());
        }
        if self.is_replica && spec.writes() {
            return Err(READ_ONLY.to_owned());
        }
        let reply = spec.run(&mut self.data, words)?;
        if spec.writes() {
            writes.push(Write { words: words.clone(), reply: reply.clone(), before: Vec::new() });
        }
        Ok(reply)
    }

    fn scripts(&mut self, words: &Command) -> Result<Reply, String> {
        match (words[1].to_ascii_lowercase().as_slice(), &words[2..]) {
            (b"load", [text]) => {
                let text = String::from_utf8_lossy(text);
                let digest = digest(&text);
                self.vm.learn(&digest, &guarded::text(&text, self.guards))?;
                Ok(Reply::text(digest))
            }
            (b"exists", digests) if !digests.is_empty() => {
                let known =
                    |digest: &Vec<u8>| self.vm.knows(&String::from_utf8_lossy(digest).to_ascii_lowercase());
                Ok(Reply::Array(digests.iter().map(|digest| Reply::Int(known(digest).into())).collect()))
            }
            (b"flush", _) => {
                self.vm.forget();
                Ok(Reply::ok())
            }
            _ => Err(format!(
                "ERR unknown subcommand '{}'. Try SCRIPT HELP.",
                String::from_utf8_lossy(&words[1])
            )),
        }
    }

    fn role(&self) -> Reply {
        if self.is_replica {
            let words = ["slave", "0.0.0.0"].map(Reply::text).into_iter();
            return Reply::Array(
                words.chain([Reply::Int(6379), Reply::text("connected"), Reply::Int(0)]).collect(),
            );
        }
        Reply::Array(vec![Reply::text("master"), Reply::Int(0), Reply::Array(Vec::new())])
    }

    fn info(&self) -> String {
        let role = if self.is_replica { "slave" } else { "master" };
        format!(
            "# Server\r\nredis_version:{VERSION}\r\n\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\n\r\n# Replication\r\nrole:{role}\r\nconnected_slaves:{}\r\n",
            self.replicas
        )
    }
}

impl Clock {
    fn look(&mut self, now: Duration) -> i64 {
        // Two hosts within one step of turmoil may run in any order; nothing else makes it step back.
        self.looked = self.looked.max(now);
        self.off.values_mut().for_each(|(_, commands)| *commands += 1);
        let off_ms: i64 = self.off.values().map(|(off_ms, _)| off_ms).sum();
        let micros = i64::try_from(self.looked.as_micros()).expect("no run is so long");
        (EPOCH.0 + self.skew_ms + off_ms) * 1_000 + micros
    }
}

fn unknown(words: &Command) -> String {
    let shown = |word: &Vec<u8>| format!("'{}' ", String::from_utf8_lossy(&word[..word.len().min(128)]));
    let args: String = words[1..].iter().map(shown).collect();
    format!("ERR unknown command '{}', with args beginning with: {args}", String::from_utf8_lossy(&words[0]))
}

/// How Redis says that a command has too few words, or too many.
pub(super) fn wrong_number(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}
