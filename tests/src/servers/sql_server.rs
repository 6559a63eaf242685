//! What tests ask of a database server, whichever it is.

use super::daemon::Daemon;
use super::mariadb::MariaDb;
use super::postgres::Postgres;

/// A server of SQL databases.
pub trait SqlServer: Send + Sync {
    /// Makes an empty database; answers its address.
    fn create(&self, database: &str) -> String;

    /// Asks its command line client, which may complain.
    ///
    /// # Errors
    /// What it says.
    fn ask(&self, database: &str, sql: &str) -> Result<String, String>;

    /// The process.
    fn daemon(&mut self) -> &mut Daemon;

    /// Counts sessions that wait for a row, as a number.
    fn waiting(&self) -> &'static str;

    /// Counts sessions whose transaction stands still, as a number.
    fn standing_still(&self) -> &'static str;

    /// A statement that stands still for so many seconds, and one that ends it from elsewhere. What its transaction
    /// has locked is free then.
    fn sleep(&self, seconds: u32) -> (String, &'static str);
}

impl SqlServer for Postgres {
    fn create(&self, database: &str) -> String {
        self.create_database(database)
    }

    fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        self.try_sql(database, sql)
    }

    fn daemon(&mut self) -> &mut Daemon {
        self
    }

    fn waiting(&self) -> &'static str {
        "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    }

    fn standing_still(&self) -> &'static str {
        "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    }

    fn sleep(&self, seconds: u32) -> (String, &'static str) {
        let wake = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
        (format!("SELECT pg_sleep({seconds})"), wake)
    }
}

impl SqlServer for MariaDb {
    fn create(&self, database: &str) -> String {
        self.create_database(database)
    }

    fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        self.try_sql(database, sql)
    }

    fn daemon(&mut self) -> &mut Daemon {
        self
    }

    fn waiting(&self) -> &'static str {
        // Not innodb_trx, which shows an old picture to whoever asks more often than ten times a second.
        "SELECT variable_value FROM information_schema.global_status \
         WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
    }

    fn standing_still(&self) -> &'static str {
        "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist \
         ON id = trx_mysql_thread_id WHERE command = 'Sleep' AND trx_rows_locked > 0"
    }

    fn sleep(&self, seconds: u32) -> (String, &'static str) {
        let wake = "SELECT MIN(id) INTO @id FROM information_schema.processlist \
                    WHERE info LIKE 'SELECT SLEEP(%'; KILL @id";
        (format!("SELECT SLEEP({seconds})"), wake)
    }
}
