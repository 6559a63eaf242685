//! Where a store is: an SQLite file on this machine, or a database on a PostgreSQL, MySQL or MariaDB server.
//!
//! Checked at the door as far as that goes without asking the server. The password is in nobody's sight: only
//! [`ServerUrl::expose`] gives it away.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

use super::redact::redact;

/// The place of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file on this machine: `sqlite://PATH`.
    Sqlite {
        /// The file; relative to the directory that the node was started in.
        path: PathBuf,
    },
    /// A database on a server: `postgres://USER:PASSWORD@HOST/DATABASE`, or `mysql://`, or `mariadb://`.
    Server(ServerUrl),
}

/// A database on a server, with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The URL as it was given, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl StoreUrl {
    /// The database of a node that is told nothing.
    #[must_use]
    pub fn default_in(data_dir: &Path) -> Self {
        Self::Sqlite { path: data_dir.join("mesh.db") }
    }

    /// The file of an SQLite store.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { path } => Some(path),
            Self::Server(_) => None,
        }
    }
}

/// What an URL may look like.
const EXAMPLES: &str =
    "sqlite://PATH, postgres://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE";

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(format!("`{shown}` is not a store; write {EXAMPLES}"));
        };
        match scheme {
            "sqlite" => sqlite(rest, &shown),
            "postgres" | "postgresql" => server(text, &shown, &POSTGRES),
            "mysql" | "mariadb" => server(text, &shown, &MYSQL),
            "redis" | "rediss" | "redis+sentinel" | "redis+cluster" | "valkey" | "valkeys" => Err(format!(
                "`{shown}` is not an SQL database, and functions, schedules and the list of nodes need one; write \
                 {EXAMPLES}; Redis and Valkey keep tasks and belong to queue.url"
            )),
            _ => Err(format!("`{shown}` names no store that is known; write {EXAMPLES}")),
        }
    }
}

fn sqlite(rest: &str, shown: &str) -> Result<StoreUrl, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return Err(format!("`{shown}` names no file; write sqlite://PATH, for example sqlite://mesh.db"));
    }
    if path.contains(":memory:") {
        return Err(format!(
            "`{shown}` would be a store that no other node sees and no restart survives; name a file"
        ));
    }
    if path.contains('?') {
        return Err(format!("`{shown}`: parameters after `?` are not taken; the node sets what it needs"));
    }
    Ok(StoreUrl::Sqlite { path: path.into() })
}

/// What the URL of a kind of server may hold.
struct Kind {
    /// Parameters after `?`. The node sets all others, because it relies on them.
    parameters: &'static [&'static str],
    /// The one that names a Unix socket in place of a host.
    socket: &'static str,
}

const POSTGRES: Kind = Kind {
    parameters: &[
        "application_name",
        "host",
        "options",
        "ssl-ca",
        "ssl-cert",
        "ssl-key",
        "ssl-mode",
        "ssl-root-cert",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "statement-cache-capacity",
    ],
    socket: "host",
};

const MYSQL: Kind = Kind {
    parameters: &[
        "socket",
        "ssl-ca",
        "ssl-cert",
        "ssl-key",
        "ssl-mode",
        "sslca",
        "sslcert",
        "sslkey",
        "sslmode",
        "statement-cache-capacity",
    ],
    socket: "socket",
};

fn server(text: &str, shown: &str, kind: &Kind) -> Result<StoreUrl, String> {
    let url = Url::parse(text).map_err(|error| {
        format!(
            "`{shown}` is not an URL: {error}; in a password `/` is written %2F, `?` %3F, `#` %23, `@` %40 and \
             `%` %25"
        )
    })?;
    if url.fragment().is_some() {
        return Err(format!("`{shown}` has a `#`; within a password it is written %23"));
    }
    for (name, value) in url.query_pairs() {
        if matches!(&*name, "user" | "password") {
            return Err(format!("`{shown}`: user and password belong before the host, USER:PASSWORD@HOST"));
        }
        if !kind.parameters.contains(&&*name) {
            return Err(format!(
                "`{shown}`: the parameter `{}` is not taken; these are: {}",
                name.escape_debug(),
                kind.parameters.join(", ")
            ));
        }
        if name == kind.socket && !value.starts_with('/') {
            return Err(format!("`{shown}`: `{name}` is the path of a socket; a host stands before the `/`"));
        }
    }
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    if !has_host && !url.query_pairs().any(|(name, _)| name == kind.socket) {
        return Err(format!("`{shown}` names no host; write {}://USER:PASSWORD@HOST/DATABASE", url.scheme()));
    }
    let database = url.path().trim_start_matches('/');
    if database.is_empty() || database.contains('/') {
        return Err(format!(
            "`{shown}` does not name one database; write {}://USER:PASSWORD@HOST/DATABASE",
            url.scheme()
        ));
    }
    Ok(StoreUrl::Server(ServerUrl(text.to_owned())))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite://{}", path.display()),
            Self::Server(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_urls_name_a_file() {
        for (text, path) in [
            ("sqlite://mesh.db", "mesh.db"),
            ("sqlite:mesh.db", "mesh.db"),
            ("sqlite:///var/lib/mesh.db", "/var/lib/mesh.db"),
            ("sqlite://./a b/mesh.db", "./a b/mesh.db"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().sqlite_path(), Some(Path::new(path)), "{text}");
        }
        for text in
            ["", "mesh.db", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite://a?mode=ro", "http://a"]
        {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_taken_as_they_are_written_and_shown_without_their_password() {
        for text in [
            "postgres://user:canary@db.example/mesh",
            "postgresql://user:canary@db.example:5433/mesh?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://user:can%2Fary@[::1]:5432/mesh",
            "postgres://user:canary@localhost/mesh?host=/var/run/postgresql",
            "mysql://user:canary@10.0.0.5:3307/mesh?ssl-mode=VERIFY_CA",
            "mariadb://user:canary@db.example/mesh",
        ] {
            let url: StoreUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let StoreUrl::Server(server) = &url else { panic!("{text}") };
            assert_eq!(server.expose(), text);
            for shown in [url.to_string(), format!("{url:?}"), format!("{server:?}")] {
                assert!(shown.contains("user:***@") && !shown.contains("ary@"), "{shown}");
            }
        }
    }

    #[test]
    fn a_server_that_cannot_be_meant_is_refused_without_showing_the_password() {
        for (text, word) in [
            ("postgres://user:canary@db.example", "one database"),
            ("postgres://user:canary@db.example/", "one database"),
            ("mysql://user:canary@db.example/a/b", "one database"),
            ("mysql:///mesh", "names no host"),
            ("postgres:mesh", "names no host"),
            ("postgres://user:canary@db.example/mesh?charset=latin1", "`charset` is not taken"),
            ("mysql://user:canary@db.example/mesh?timezone=%2B01:00", "`timezone` is not taken"),
            ("postgres://db.example/mesh?user=user&password=canary", "before the host"),
            ("mysql://user:canary@db.example/mesh?socket=db.example", "path of a socket"),
            ("postgres://user:can#canary@db.example/mesh", "db.example"),
            ("postgres://user:can/canary@db.example/mesh", "db.example"),
            ("postgres://user:canary@db.example:port/mesh", "db.example"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert!(error.contains(word) && !error.contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn redis_is_no_database_and_belongs_to_the_queue() {
        for scheme in ["redis", "rediss", "redis+sentinel", "valkey"] {
            let error = format!("{scheme}://user:canary@db.example/0").parse::<StoreUrl>().unwrap_err();
            assert!(error.contains("not an SQL database") && error.contains("queue.url"), "{error}");
            assert!(error.contains("db.example") && !error.contains("canary"), "{error}");
        }
    }
}
