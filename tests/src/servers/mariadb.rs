//! MariaDB as Debian packages it. It stands for MySQL, which Debian does not have.

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;

use super::cli::{Cli, program};
use super::daemon::{Daemon, Home};
use super::run_as::RunAs;
use super::{PASSWORD, USER};

/// The package of the server.
const PACKAGE: &str = "mariadb-server";

/// The size of its log, for the making as well as for the running: 96 MB by itself, which takes a while to write.
const LOG_SIZE: &str = "--innodb-log-file-size=8M";

/// A MariaDB of one's own.
#[derive(Debug)]
pub struct MariaDb {
    daemon: Daemon,
}

impl MariaDb {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings, as in `my.cnf`.
    ///
    /// # Panics
    /// When it does not start. Its log is printed.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let home = Home::new(RunAs::user_for_root("mysql"));
        home.run_as.make_dir(&scratch(&home));
        init(&home);

        let port = home.port.number().to_string();
        let in_data = |name: &str| home.data().join(name).display().to_string();
        let user = format!("'{USER}'@'%'");
        let users = format!(
            "CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO {user} WITH GRANT OPTION;\n"
        );
        // Done at every start before anybody is let in.
        let users = home.dir.file("users.sql", users).display().to_string();
        let own = [
            ("bind-address", "127.0.0.1".to_owned()),
            ("port", port.clone()),
            ("datadir", home.data().display().to_string()),
            ("tmpdir", scratch(&home).display().to_string()),
            // Within the data, because that is the user's.
            ("socket", in_data("socket")),
            ("pid-file", in_data("pid")),
            ("init-file", users),
            ("innodb-buffer-pool-size", "32M".to_owned()),
            ("aria-pagecache-buffer-size", "8M".to_owned()),
            ("key-buffer-size", "1M".to_owned()),
        ];
        let mut args: Vec<OsString> = vec!["--no-defaults".into(), "--skip-name-resolve".into()];
        args.push(LOG_SIZE.into());
        args.extend(own.iter().map(|(name, value)| format!("--{name}={value}").into()));
        args.extend(settings.iter().map(|(name, value)| format!("--{name}={value}").into()));

        let cli = ["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-NB", "-P", &port, "-u", USER];
        let cli = Cli::new(program("mariadb", "mariadb-client"), &cli).env("MYSQL_PWD", PASSWORD);
        let server = program("mariadbd", PACKAGE);
        Self { daemon: Daemon::start("mariadb", server, args, home, cli, &["-e", "SELECT 1"]) }
    }

    /// The address of a database, with the name and the password of the tests.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@{}/{database}", self.addr())
    }

    /// Makes an empty database; answers its address.
    ///
    /// # Panics
    /// When it is there already.
    pub fn create_database(&self, name: &str) -> String {
        self.sql("mysql", &format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4"));
        self.url(name)
    }

    /// Asks `mariadb`: a row is a line, tabulators separate columns.
    ///
    /// # Panics
    /// When it complains.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same where it may complain, or not answer.
    ///
    /// # Errors
    /// What it says.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.ask(&["-e", sql, database])
    }
}

impl Deref for MariaDb {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for MariaDb {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// Where it keeps temporary tables. One that starts removes what it finds there, so they must not share /tmp.
fn scratch(home: &Home) -> PathBuf {
    home.dir.join("tmp")
}

fn init(home: &Home) {
    let mut install = Command::new(program("mariadb-install-db", PACKAGE));
    install.arg("--no-defaults").arg(format!("--datadir={}", home.data().display()));
    install.arg(format!("--tmpdir={}", scratch(home).display()));
    install.args([
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        LOG_SIZE,
    ]);
    // What is made here need not survive a power cut.
    install.args(["--innodb-flush-method=nosync", "--sync-frm=0", "--aria-checkpoint-interval=0"]);
    home.prepare(install);
}
