//! Where a Redis is: one server, a master that sentinels know, or a cluster.
//!
//! `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`,
//! `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],.../MASTER[/DB][?sentinel_password=...]`,
//! `redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],...`; `rediss` in place of `redis` for TLS, with
//! `?ca=FILE` for a certificate authority that the machine does not know.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use super::redact::redact;
use super::words::HostPort;

/// What a Redis listens on when nothing is said.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// How the server that takes writes is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// It is the one named.
    Standalone,
    /// The sentinels named know where it is.
    Sentinel {
        /// What they call it.
        master: String,
    },
    /// It is the node of the cluster that holds our keys; those named know where that is.
    Cluster,
}

/// Where a Redis is, and how to be let in.
#[derive(Clone)]
pub struct RedisUrl {
    /// How the server is found.
    pub kind: RedisKind,
    /// Servers, sentinels, or nodes of the cluster; at least one.
    pub hosts: Vec<HostPort>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM file with the authorities to trust, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// The user, when it is not Redis's default one.
    pub user: Option<String>,
    /// The number of the database; 0 in a cluster.
    pub db: u32,
    password: Option<SecretString>,
    sentinel_password: Option<SecretString>,
}

impl RedisUrl {
    /// For logging in to the server that takes writes.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(ExposeSecret::expose_secret)
    }

    /// For logging in to sentinels.
    #[must_use]
    pub fn sentinel_password(&self) -> Option<&str> {
        self.sentinel_password.as_ref().map(ExposeSecret::expose_secret)
    }

    /// Whether a text is meant as one of these, well-formed or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let scheme = text.split(':').next().unwrap_or_default();
        matches!(scheme.split('+').next(), Some("redis" | "rediss" | "valkey" | "valkeys"))
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        let wrong = |reason: &str| {
            format!(
                "`{shown}`: {reason}; write redis://:PASSWORD@HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/MASTER or redis+cluster://HOST:PORT,HOST:PORT"
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it is not a URL"))?;
        let (base, way) = scheme.split_once('+').map_or((scheme, None), |(base, way)| (base, Some(way)));
        let tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(wrong("it names no Redis")),
        };
        // Behind the last `@`: a password that was not escaped may hold an `@` and a `?`.
        let (info, place) = rest.rsplit_once('@').map_or((None, rest), |(info, place)| (Some(info), place));
        let (place, query) =
            place.split_once('?').map_or((place, None), |(place, query)| (place, Some(query)));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, password) = match info {
            None => (None, None),
            Some(info) => {
                let (user, password) = info
                    .split_once(':')
                    .ok_or_else(|| wrong("a password stands behind a colon, also when there is no user"))?;
                (Some(unescaped(user)).filter(|user| !user.is_empty()), Some(unescaped(password)))
            }
        };
        let port = if way == Some("sentinel") { SENTINEL_PORT } else { PORT };
        let hosts: Vec<HostPort> = hosts
            .split(',')
            .map(|host| with_port(host, port))
            .collect::<Result<_, _>>()
            .map_err(|e| wrong(&e))?;
        let (kind, db) = match way {
            None if hosts.len() > 1 => return Err(wrong("several hosts are a Sentinel's or a cluster's")),
            None => (RedisKind::Standalone, path),
            Some("sentinel") => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("it does not say what the sentinels call the master"));
                }
                (RedisKind::Sentinel { master: unescaped(master) }, db)
            }
            Some("cluster") if path.is_empty() => (RedisKind::Cluster, ""),
            Some("cluster") => return Err(wrong("a cluster has no numbered databases")),
            Some(_) => return Err(wrong("behind the `+` stands sentinel or cluster")),
        };
        let db =
            if db.is_empty() { 0 } else { db.parse().map_err(|_| wrong("the database is not a number"))? };
        let mut url = Self {
            kind,
            hosts,
            tls,
            ca: None,
            user,
            db,
            password: password.map(Into::into),
            sentinel_password: None,
        };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, &url.kind) {
                ("ca", _) if tls => url.ca = Some(unescaped(value).into()),
                ("ca", _) => return Err(wrong("`ca` belongs to rediss")),
                ("sentinel_password", RedisKind::Sentinel { .. }) => {
                    url.sentinel_password = Some(unescaped(value).into());
                }
                _ => return Err(wrong("behind the `?` stand ca and, with sentinels, sentinel_password")),
            }
        }
        Ok(url)
    }
}

/// A host without a port gets the usual one.
fn with_port(host: &str, port: u16) -> Result<HostPort, String> {
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) && !host.ends_with(']');
    let text = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    text.parse()
}

/// `%XX` as the byte it means.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// For people: never with a password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "s" } else { "" };
        let way = match self.kind {
            RedisKind::Standalone => "",
            RedisKind::Sentinel { .. } => "+sentinel",
            RedisKind::Cluster => "+cluster",
        };
        write!(f, "redis{tls}{way}://")?;
        if self.user.is_some() || self.password.is_some() {
            write!(f, "{}:***@", self.user.as_deref().unwrap_or_default())?;
        }
        let hosts: Vec<_> = self.hosts.iter().map(HostPort::as_str).collect();
        f.write_str(&hosts.join(","))?;
        if let RedisKind::Sentinel { master } = &self.kind {
            write!(f, "/{master}")?;
        }
        if self.db > 0 { write!(f, "/{}", self.db) } else { Ok(()) }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        let secrets =
            |url: &Self| (url.password().map(str::to_owned), url.sentinel_password().map(str::to_owned));
        let plain = |url: &Self| {
            (url.kind.clone(), url.hosts.clone(), url.tls, url.ca.clone(), url.user.clone(), url.db)
        };
        plain(self) == plain(other) && secrets(self) == secrets(other)
    }
}

impl Eq for RedisUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_kind_is_understood() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3"),
            ("rediss://:p%40ss@[::1]:7000", "rediss://:***@[::1]:7000"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("valkey://me:secret@db.example", "redis://me:***@db.example:6379"),
            ("redis+sentinel://a,b:27000,c/main", "redis+sentinel://a:26379,b:27000,c:26379/main"),
            ("redis+sentinel://:x@a/main/2?sentinel_password=y", "redis+sentinel://:***@a:26379/main/2"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
        ] {
            assert_eq!(parsed(text).to_string(), shown, "{text}");
            assert_eq!(format!("{:?}", parsed(text)), shown, "nor in a debug print");
        }
        let url = parsed("rediss+sentinel://u:p%3Aq?@a/main?sentinel_password=s%20t&ca=/etc/ca.pem");
        assert_eq!((url.user.as_deref(), url.password()), (Some("u"), Some("p:q?")));
        assert_eq!(url.sentinel_password(), Some("s t"));
        assert_eq!(url.ca, Some("/etc/ca.pem".into()));
        assert_eq!(url.kind, RedisKind::Sentinel { master: "main".to_owned() });
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "redis:canary@host",
            "redis://canary@host",
            "redis://:canary@",
            "redis://:canary@a,b",
            "redis://:canary@a/x",
            "redis://:canary@a?ca=x",
            "redis+sentinel://:canary@a",
            "redis+cluster://:canary@a/1",
            "redis+ring://:canary@a",
            "redis://a?password=canary",
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text);
            assert!(!error.contains("canary"), "{text} -> {error}");
            assert!(error.contains("write redis://"), "{error}");
        }
    }
}
