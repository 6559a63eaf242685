//! One Redis. By itself it forgets everything when it dies, as caches do: a test that wants more says `appendonly`.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::cli::{Cli, fetched, program};
use super::daemon::{Daemon, Home};
use super::run_as::RunAs;
use crate::wait::until_so;

/// A replica copies an almost empty Redis in milliseconds, but looks for its master once a second.
const SYNC: Duration = Duration::from_secs(20);

/// Files of an encrypted server.
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";
const CA: &str = "ca.pem";

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Debian's Redis, 7.0.
    Debian,
    /// Redis 6.2, the oldest that is supported.
    Oldest,
    /// Valkey 9.1, which speaks as Redis 7.2 does and can wait for its disk.
    Valkey,
}

/// A Redis of one's own.
#[derive(Debug)]
pub struct Redis {
    password: Option<String>,
    ca: Option<PathBuf>,
    daemon: Daemon,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings, as in `redis.conf`: `("appendonly", "yes")`.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::make(Make::Debian, settings)
    }

    /// The same of another make.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn make(make: Make, settings: &[(&str, &str)]) -> Self {
        Self::launch(make, Home::new(RunAs::myself()), settings, None)
    }

    /// Starts one that takes encrypted connections only. Its certificate is for 127.0.0.1, by the authority of
    /// [`Redis::ca`].
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start_encrypted(settings: &[(&str, &str)]) -> Self {
        let home = Home::new(RunAs::myself());
        let ca = certify(&home);
        Self::launch(Make::Debian, home, settings, Some(ca))
    }

    fn launch(make: Make, home: Home, settings: &[(&str, &str)], ca: Option<PathBuf>) -> Self {
        let (port, data) = (home.port.number().to_string(), home.data().display().to_string());
        let file = |name: &str| home.dir.join(name).display().to_string();
        let (certificate, key, shown_ca) = (file(CERTIFICATE), file(KEY), file(CA));
        let mut own = vec![
            ("bind", "127.0.0.1"),
            ("dir", data.as_str()),
            ("save", "\"\""),
            // It would wait five seconds for further replicas.
            ("repl-diskless-sync-delay", "0"),
        ];
        match &ca {
            None => own.push(("port", &port)),
            Some(_) => own.extend([
                ("port", "0"),
                ("tls-port", port.as_str()),
                ("tls-cert-file", certificate.as_str()),
                ("tls-key-file", key.as_str()),
                ("tls-ca-cert-file", shown_ca.as_str()),
                ("tls-auth-clients", "no"),
            ]),
        }
        // A file, not arguments: Redis and Sentinel write into it who is whose replica.
        let lines = own.iter().chain(settings).map(|(name, value)| format!("{name} {value}\n"));
        let config = home.dir.file("redis.conf", lines.collect::<String>());

        let password = settings.iter().rev().find(|(name, _)| *name == "requirepass");
        let password = password.map(|(_, password)| (*password).to_owned());
        let mut cli = cli(home.port.number(), password.as_deref());
        if ca.is_some() {
            cli = cli.with(&["--tls", "--cacert", &shown_ca]);
        }
        let server = match make {
            Make::Debian => program("redis-server", "redis-server"),
            Make::Oldest => fetched("redis-6.2"),
            Make::Valkey => fetched("valkey-9.1"),
        };
        let daemon = Daemon::start("redis", server, vec![config.into()], home, cli, &["ping"]);
        Self { password, ca, daemon }
    }

    /// The file of the authority that has signed its certificate.
    ///
    /// # Panics
    /// When it is not encrypted.
    #[must_use]
    pub fn ca(&self) -> &Path {
        self.ca.as_deref().expect("an encrypted server has one")
    }

    /// Its address, with its password if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        match &self.ca {
            None => format!("redis://{login}{}", self.addr()),
            Some(ca) => format!("rediss://{login}{}?ca={}", self.addr(), ca.display()),
        }
    }

    /// The password that it was started with.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Asks `redis-cli`: elements of an answer are lines.
    ///
    /// # Panics
    /// When the answer is an error.
    pub fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same where the answer may be an error, or missing.
    ///
    /// # Errors
    /// What it says.
    pub fn try_cli(&self, words: &[&str]) -> Result<String, String> {
        self.ask(words)
    }

    /// Changes a setting; a restart undoes it.
    pub fn config_set(&self, name: &str, value: &str) {
        self.cli(&["config", "set", name, value]);
    }

    /// Removes everything.
    pub fn flush(&self) {
        self.cli(&["flushall"]);
    }

    /// A value of `INFO`: `info("role")`. `None` if it has none, or does not answer.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<String> {
        let info = self.try_cli(&["info"]).ok()?;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    }

    /// Whether it is a master in its own eyes.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.info("role").as_deref() == Some("master")
    }

    /// Becomes a replica of another, also after a restart, and waits until it has all that the other has.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn replica_of(&self, other: &Self) {
        if let Some(password) = &other.password {
            self.config_set("masterauth", password);
        }
        self.cli(&["replicaof", "127.0.0.1", &other.port().to_string()]);
        self.cli(&["config", "rewrite"]);
        self.wait_for_link();
    }

    /// Waits until it follows its master.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_link(&self) {
        until_so(&format!("{} follows its master", self.addr()), SYNC, || {
            self.info("master_link_status").as_deref() == Some("up")
        });
    }
}

impl Deref for Redis {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// The client of the Redis or Sentinel at a port.
pub(crate) fn cli(port: u16, password: Option<&str>) -> Cli {
    // With -e an answer that is an error is a failure.
    let cli =
        Cli::new(program("redis-cli", "redis-tools"), &["-e", "-h", "127.0.0.1", "-p", &port.to_string()]);
    match password {
        None => cli,
        Some(password) => cli.env("REDISCLI_AUTH", password),
    }
}

/// Makes an authority and a certificate by it; answers the authority's file.
fn certify(home: &Home) -> PathBuf {
    let key = || KeyPair::generate().expect("keys can be made");
    let (ca_key, server_key) = (key(), key());
    let mut ca = CertificateParams::default();
    // Another name than the server's, which else would count as signed by itself.
    ca.distinguished_name.push(DnType::CommonName, "authority of the tests");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).expect("good parameters").pem();
    let file = home.dir.file(CA, certificate);
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let signed = server.signed_by(&server_key, &Issuer::new(ca, ca_key)).expect("good parameters");
    home.dir.file(CERTIFICATE, signed.pem());
    home.dir.secret_file(KEY, server_key.serialize_pem());
    file
}
