//! Where the server is that takes writes, and a connection to it.
//!
//! Asked anew for each connection: after a failover the sentinels, or the nodes of a cluster, name another one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beatmesh_mesh::env::{ByteStream, Env, OnExit};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types::ServerName};
use tokio_util::sync::CancellationToken;

use super::codec::{list, number, text};
use super::error::plain;
use super::tls;
use crate::config::{RedisKind, RedisUrl};

/// A server that has not let us in by then is passed over.
const CONNECT_WITHIN: Duration = Duration::from_millis(1_500);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// It may be there in a moment.
    Now(String),
    /// Waiting does not help: the configuration, or the server's, must change.
    AsItIs(String),
}

/// A connection, and its end.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    /// Cancelled to close it; whoever waits for an answer then gets an error.
    pub(super) closing: CancellationToken,
    /// Whom it leads to, for people.
    pub(super) peer: String,
}

impl Connection {
    /// One command.
    pub(super) async fn ask(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        self.commands.send_packed_command(command).await?.extract_error()
    }
}

/// How connections are made.
pub(super) struct Locator {
    env: Env,
    url: RedisUrl,
    tls: Option<TlsConnector>,
    /// Something that lives in the slot of our keys.
    key: String,
    /// How often a good server was found.
    found: AtomicU64,
}

impl Locator {
    /// # Errors
    /// The file of the certificate authority cannot be used.
    pub(super) fn new(env: Env, url: RedisUrl, key: String) -> Result<Self, String> {
        let tls = if url.tls { Some(tls::connector(url.ca.as_deref())?) } else { None };
        Ok(Self { env, url, tls, key, found: AtomicU64::new(0) })
    }

    /// A connection to the server that takes writes, as far as those who should know tell it.
    pub(super) async fn connect(&self, answer_within: Duration) -> Result<Connection, NoConnection> {
        let server = match &self.url.kind {
            RedisKind::Standalone => self.url.hosts[0].as_str().to_owned(),
            RedisKind::Sentinel { master } => self.ask_each(|host| self.sentinel(host, master)).await?,
            RedisKind::Cluster => self.ask_each(|host| self.cluster(host)).await?,
        };
        let mut login = RedisConnectionInfo::default().set_db(i64::from(self.url.db)).set_skip_set_lib_name();
        if let Some(user) = &self.url.user {
            login = login.set_username(user);
        }
        if let Some(password) = self.url.password() {
            login = login.set_password(password);
        }
        self.dial(&server, login, answer_within).await
    }

    /// How often a good server was found. When this has changed there is one, and a pause need not end first.
    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    /// A connection has turned out well.
    pub(super) fn has_found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the server is to be found by asking a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.url.kind == RedisKind::Cluster
    }

    /// Asks one after the other; the first that knows counts.
    async fn ask_each<'a, F>(&'a self, ask: impl Fn(&'a str) -> F) -> Result<String, NoConnection>
    where
        F: Future<Output = Result<String, NoConnection>>,
    {
        let mut worst = NoConnection::Now("nobody was asked".to_owned());
        for host in &self.url.hosts {
            match ask(host.as_str()).await {
                Ok(server) => return Ok(server),
                Err(error @ NoConnection::AsItIs(_)) => worst = error,
                Err(error) if matches!(worst, NoConnection::Now(_)) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }

    async fn sentinel(&self, host: &str, master: &str) -> Result<String, NoConnection> {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = self.url.sentinel_password() {
            login = login.set_password(password);
        }
        let mut connection = self.dial(host, login, CONNECT_WITHIN).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let answer = connection.ask(&command).await;
        connection.closing.cancel();
        match answer {
            Ok(Value::Nil) => {
                Err(NoConnection::AsItIs(format!("the sentinel {host} knows no master `{master}`")))
            }
            Ok(answer) => address(&answer, host)
                .ok_or_else(|| NoConnection::AsItIs(format!("{host} does not answer like a sentinel"))),
            Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError) => {
                Err(NoConnection::AsItIs(format!("{host} is not a sentinel: {}", plain(&error))))
            }
            Err(error) => Err(NoConnection::Now(format!("the sentinel {host}: {}", plain(&error)))),
        }
    }

    async fn cluster(&self, host: &str) -> Result<String, NoConnection> {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.url.user {
            login = login.set_username(user);
        }
        if let Some(password) = self.url.password() {
            login = login.set_password(password);
        }
        let mut connection = self.dial(host, login, CONNECT_WITHIN).await?;
        let answer = async {
            let slot = connection.ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(&self.key)).await?;
            let slots = connection.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
            Ok((slot, slots))
        };
        let answer: redis::RedisResult<_> = answer.await;
        connection.closing.cancel();
        match answer {
            Ok((slot, slots)) => number(&slot)
                .and_then(|slot| owner(slot, &slots, host))
                .ok_or_else(|| NoConnection::Now(format!("{host} knows no node for the slot of our keys"))),
            Err(error) if plain(&error).contains("cluster support disabled") => {
                Err(NoConnection::AsItIs(format!("{host} is not a node of a cluster")))
            }
            Err(error) => Err(NoConnection::Now(format!("{host}: {}", plain(&error)))),
        }
    }

    /// Connects and logs in.
    async fn dial(
        &self,
        host: &str,
        login: RedisConnectionInfo,
        answer_within: Duration,
    ) -> Result<Connection, NoConnection> {
        let dialling = async {
            let stream = self.stream(host).await?;
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(answer_within));
            let (commands, driver) = MultiplexedConnection::new_with_config(&login, stream, config)
                .await
                .map_err(|error| refused(host, &error))?;
            let closing = CancellationToken::new();
            let (until, ended) = (closing.clone(), closing.clone());
            let driving = async move {
                until.run_until_cancelled(driver).await;
                ended.cancel();
            };
            self.env.spawner.spawn("redis", OnExit::Fine, Box::pin(driving));
            Ok(Connection { commands, closing, peer: host.to_owned() })
        };
        let late = || NoConnection::Now(format!("{host} did not answer within {CONNECT_WITHIN:?}"));
        tokio::time::timeout(CONNECT_WITHIN, dialling).await.unwrap_or_else(|_| Err(late()))
    }

    async fn stream(&self, host: &str) -> Result<Box<dyn ByteStream>, NoConnection> {
        let later = |error: &std::io::Error| NoConnection::Now(format!("{host}: {error}"));
        let addrs = self.env.network.resolve(host).await.map_err(|error| later(&error))?;
        let mut failed = NoConnection::Now(format!("{host}: the name leads nowhere"));
        for addr in addrs {
            match self.env.network.connect(addr).await {
                Ok(stream) => return self.encrypted(host, stream).await,
                Err(error) => failed = later(&error),
            }
        }
        Err(failed)
    }

    async fn encrypted(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<Box<dyn ByteStream>, NoConnection> {
        let Some(tls) = &self.tls else { return Ok(stream) };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| NoConnection::AsItIs(format!("{host}: TLS: {error}")))?;
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            // What they said to each other does not fit; anything else is the line's fault.
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Err(NoConnection::AsItIs(format!("{host}: TLS: {error}")))
            }
            Err(error) => Err(NoConnection::Now(format!("{host}: TLS: {error}"))),
        }
    }
}

/// Why a server does not let us in, or will not talk with us.
pub(super) fn refused(host: &str, error: &redis::RedisError) -> NoConnection {
    let said = format!("{host}: {}", plain(error));
    let code = error.code().unwrap_or_default();
    if code == "NOPERM" {
        return NoConnection::AsItIs(format!("{said}; give the user that permission"));
    }
    if error.kind() == redis::ErrorKind::AuthenticationFailed || matches!(code, "WRONGPASS" | "NOAUTH") {
        return NoConnection::AsItIs(format!("{said}; check user and password"));
    }
    if said.contains("DB index") {
        return NoConnection::AsItIs(said);
    }
    if error.kind() == redis::ErrorKind::Parse {
        return NoConnection::AsItIs(format!("{host} does not answer like a Redis server"));
    }
    NoConnection::Now(said)
}

/// `[host, port]`; a node that does not know its own address means the one it was asked at.
fn address(answer: &Value, asked: &str) -> Option<String> {
    let [host, port, ..] = list(answer)? else { return None };
    let host = text(host).unwrap_or_default();
    let port = u16::try_from(number(port)?).ok()?;
    let host = if host.is_empty() || host == "?" {
        asked.rsplit_once(':')?.0.trim_matches(['[', ']'])
    } else {
        host
    };
    if host.contains(':') { Some(format!("[{host}]:{port}")) } else { Some(format!("{host}:{port}")) }
}

/// The master of a slot, from the answer to `CLUSTER SLOTS`: `[[first, last, master, replica...], ...]`.
fn owner(slot: i64, slots: &Value, asked: &str) -> Option<String> {
    list(slots)?.iter().find_map(|range| {
        let [first, last, master, ..] = list(range)? else { return None };
        (number(first)?..=number(last)?).contains(&slot).then(|| address(master, asked))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
    }

    #[test]
    fn the_owner_of_a_slot_is_found() {
        let node = |host: &str, port| {
            let host = Value::BulkString(host.as_bytes().to_vec());
            Value::Array(vec![host, Value::Int(port), Value::BulkString(b"an id".to_vec())])
        };
        let range = |first, last, master, replica| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let slots = Value::Array(vec![
            range(0, 99, node("10.0.0.1", 7000), node("10.0.0.9", 7000)),
            range(100, 16_383, node("", 7001), node("10.0.0.9", 7001)),
        ]);
        assert_eq!(owner(99, &slots, "a:1").as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(
            owner(100, &slots, "10.0.0.2:1").as_deref(),
            Some("10.0.0.2:7001"),
            "it does not know itself"
        );
        assert_eq!(owner(20_000, &slots, "a:1"), None);
        assert_eq!(address(&strings(&["::1", "7"]), "a:1").as_deref(), Some("[::1]:7"));
        assert_eq!(address(&strings(&["h"]), "a:1"), None);
    }
}
