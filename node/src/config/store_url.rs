//! Where a store is. SQLite is the one kind of this version; the others are recognised, so that their
//! users learn that they come later instead of reading about a malformed URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::redact::redact;

/// The place of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file on this machine: `sqlite://PATH`.
    Sqlite {
        /// The file; relative to the directory that the node was started in.
        path: PathBuf,
    },
}

impl StoreUrl {
    /// The database of a node that is told nothing.
    #[must_use]
    pub fn default_in(data_dir: &Path) -> Self {
        Self::Sqlite { path: data_dir.join("mesh.db") }
    }

    /// The file of an SQLite store.
    #[must_use]
    pub fn sqlite_path(&self) -> &Path {
        let Self::Sqlite { path } = self;
        path
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(format!(
                "`{shown}` is not a store; write sqlite://PATH, for example sqlite://mesh.db"
            ));
        };
        let later = match scheme {
            "sqlite" => return sqlite(rest, &shown),
            "postgres" | "postgresql" => "PostgreSQL comes",
            "mysql" | "mariadb" => "MySQL and MariaDB come",
            "redis" | "rediss" | "redis+sentinel" | "redis+cluster" | "valkey" | "valkeys" => {
                "Redis and Valkey come"
            }
            _ => {
                return Err(format!(
                    "`{shown}` names no store that is known; write sqlite://PATH, for example sqlite://mesh.db"
                ));
            }
        };
        Err(format!("`{shown}`: {later} in a later version; this one takes sqlite://PATH"))
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

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Sqlite { path } = self;
        write!(f, "sqlite://{}", path.display())
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
            assert_eq!(text.parse::<StoreUrl>().unwrap().sqlite_path(), Path::new(path), "{text}");
        }
        for text in
            ["", "mesh.db", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite://a?mode=ro", "http://a"]
        {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn stores_of_later_versions_say_so_and_hide_the_password() {
        for (scheme, come) in [
            ("postgres", "PostgreSQL comes"),
            ("mysql", "MariaDB come"),
            ("redis", "Valkey come"),
            ("rediss", "Valkey come"),
            ("redis+sentinel", "Valkey come"),
        ] {
            let error = format!("{scheme}://user:canary@db.example/x").parse::<StoreUrl>().unwrap_err();
            assert!(error.contains(&format!("{come} in a later version")), "{error}");
            assert!(error.contains("db.example") && !error.contains("canary"), "{error}");
        }
    }
}
