//! Connections to a simulated Redis, and the sentinel that says where the master is.
#![expect(clippy::disallowed_methods, reason = "these tasks are the servers', and die with their hosts")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::{TcpListener, TcpStream};

use super::hosts::{MASTER, PORT, RedisHosts, SENTINEL_PORT};
use super::resp::{Command, Reply, take_command};
use super::server::wrong_number;
use crate::world::store::line::Way;

/// How often a server looks whether its replica has what a client waits for.
const LOOK: Duration = Duration::from_millis(1);

/// Errors by which a server says that it did nothing.
const REFUSALS: [&str; 8] = [
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MOVED 3999 127.0.0.1:6381",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
];

/// A command on its way from a node.
struct Arrival {
    at: Instant,
    words: Command,
    fate: Fate,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is carried out.
    Done,
    /// It is carried out, and the connection breaks before its answer.
    Botched,
    /// It is answered with an error.
    Refused,
    /// The connection is closed.
    Closed,
    /// It never arrives, and neither does anything behind it.
    Lost,
}

impl RedisHosts {
    /// Serves for ever: the software of one server's host.
    ///
    /// # Errors
    /// turmoil's.
    pub async fn serve(self: Arc<Self>, server: usize) -> turmoil::Result {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        loop {
            let (stream, peer) = listener.accept().await?;
            spawn_local(self.clone().converse(server, stream, peer.ip()));
        }
    }

    /// The sentinel's software.
    ///
    /// # Errors
    /// turmoil's.
    pub async fn serve_sentinel(self: Arc<Self>) -> turmoil::Result {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SENTINEL_PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            spawn_local(self.clone().tell(stream));
        }
    }

    async fn tell(self: Arc<Self>, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            while let Ok(Some(words)) = take_command(&mut buffer) {
                let words: Vec<_> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
                let reply = match words.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
                    [b"ping"] => Reply::Status("PONG".to_owned()),
                    [b"sentinel", b"get-master-addr-by-name", name] if *name == MASTER.as_bytes() => {
                        let addr = turmoil::lookup(self.master());
                        Reply::Array(vec![Reply::text(addr.to_string()), Reply::text(PORT.to_string())])
                    }
                    [b"sentinel", b"get-master-addr-by-name", _] => Reply::Nil,
                    _ => Reply::Error("ERR unknown command, this is a sentinel".to_owned()),
                };
                let mut out = Vec::new();
                reply.write(&mut out);
                if stream.write_all(&out).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, server: usize, stream: TcpStream, peer: IpAddr) {
        let (mut reader, mut writer) = stream.into_split();
        let (arrivals, mut arriving) = mpsc::unbounded_channel();
        let hosts = self.clone();
        let reading = spawn_local(async move {
            let (mut buffer, mut last) = (Vec::new(), Instant::now());
            while reader.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                loop {
                    match take_command(&mut buffer) {
                        Ok(None) => break,
                        Ok(Some(words)) if words.is_empty() => {}
                        Ok(Some(words)) => {
                            let (after, fate) = hosts.fate(peer);
                            // One behind the other, however long each takes.
                            last = last.max(Instant::now() + after);
                            if arrivals.send(Arrival { at: last, words, fate }).is_err() {
                                return;
                            }
                        }
                        // Redis says why before it closes the connection; nobody here listens.
                        Err(_) => return,
                    }
                }
            }
        });
        let mut client = Client { server, number: self.connection(), wrote: u64::MAX, is_silent: false };
        // What is on its way arrives also when its sender has gone.
        while let Some(Arrival { at, words, fate }) = arriving.recv().await {
            sleep_until(at).await;
            let reply = match fate {
                Fate::Closed | Fate::Lost => None,
                Fate::Refused => Some(self.refusal(&words)),
                Fate::Done | Fate::Botched => Some(self.answer(&mut client, &words).await),
            };
            match (fate, reply) {
                (Fate::Closed | Fate::Botched, _) => break,
                (_, Some(reply)) if !client.is_silent && self.comes_back(peer) => {
                    let mut out = Vec::new();
                    reply.write(&mut out);
                    // Whoever asked may be gone.
                    let _ = writer.write_all(&out).await;
                }
                // After a gap no answer would be that of its question.
                _ => client.is_silent = true,
            }
            if fate == Fate::Lost {
                std::future::pending::<()>().await;
            }
        }
        reading.abort();
    }

    fn fate(&self, peer: IpAddr) -> (Duration, Fate) {
        match self.line(peer).map(|line| line.there()) {
            None => (Duration::ZERO, Fate::Done),
            Some(Way::Arrives(after)) => (after, Fate::Done),
            Some(Way::Botched(after)) => (after, Fate::Botched),
            Some(Way::Refused { with_words: true }) => (Duration::ZERO, Fate::Refused),
            Some(Way::Refused { with_words: false }) => (Duration::ZERO, Fate::Closed),
            Some(Way::Silence) => (Duration::ZERO, Fate::Lost),
        }
    }

    fn comes_back(&self, peer: IpAddr) -> bool {
        self.line(peer).is_none_or(|line| line.back().is_some())
    }

    fn refusal(&self, words: &Command) -> Reply {
        if words[0].eq_ignore_ascii_case(b"evalsha") && self.dice(0..4) == 0 {
            return Reply::Error("NOSCRIPT No matching script. Please use EVAL.".to_owned());
        }
        Reply::Error(REFUSALS[self.dice(0..REFUSALS.len())].to_owned())
    }

    /// What is about the connection is answered here, the rest by the server.
    async fn answer(&self, client: &mut Client, words: &Command) -> Reply {
        let name = words[0].to_ascii_lowercase();
        match (name.as_slice(), words.len()) {
            (b"select", 2) if words[1] == b"0" => Reply::ok(),
            (b"select", 2) => Reply::Error("ERR DB index is out of range".to_owned()),
            (b"client", 2..) => Reply::ok(),
            (b"auth", 2..=3) => Reply::Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".to_owned()),
            (b"hello", _) => Reply::Error("NOPROTO unsupported protocol version".to_owned()),
            (b"wait", 3) => self.wait(client, words).await,
            (b"select" | b"client" | b"auth" | b"wait", _) => {
                Reply::Error(wrong_number(&String::from_utf8_lossy(&name)))
            }
            _ => {
                let (reply, wrote) = self.execute(client.server, client.number, words);
                client.wrote = wrote;
                reply
            }
        }
    }

    /// Until enough replicas have what this client has written, or its time is up.
    async fn wait(&self, client: &Client, words: &Command) -> Reply {
        let number =
            |word: &Vec<u8>| std::str::from_utf8(word).ok().and_then(|text| text.parse::<u64>().ok());
        let (Some(wanted), Some(within)) = (number(&words[1]), number(&words[2])) else {
            return Reply::Error("ERR value is not an integer or out of range".to_owned());
        };
        let until =
            Instant::now() + Duration::from_millis(if within == 0 { u64::from(u32::MAX) } else { within });
        if self.acknowledged(client.server, 0).is_none() {
            return Reply::Error("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.".to_owned());
        }
        loop {
            let Some(have) = self.acknowledged(client.server, client.wrote) else {
                return Reply::Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)".to_owned());
            };
            if have >= wanted || Instant::now() >= until {
                return Reply::Int(have.cast_signed());
            }
            sleep(LOOK).await;
        }
    }
}

/// One connection, from the server's side.
struct Client {
    server: usize,
    number: u64,
    /// The last change, anybody's, when its last command was carried out: for that it waits, as in a real server,
    /// whether it has changed anything itself or not.
    wrote: u64,
    /// Its answers do not arrive any more.
    is_silent: bool,
}
