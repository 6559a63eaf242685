//! What the fuzz targets call and nobody else may: exists only in their build (`--cfg fuzzing`)
//! and in that of unit tests, which call each once, so that it does not rot.

use crate::catalogue::function::Function;
use crate::catalogue::schedule::Schedule;
pub use crate::cli::fuzzing::{events, log_line};
use crate::config::{ConfigError, Machine, Settings};
use crate::gateway;
use crate::problem::Problem;

/// Settings from a configuration file and from the environment.
///
/// # Errors
/// As for a node that starts.
pub fn settings(file: &str, environment: Vec<(String, String)>) -> Result<Settings, ConfigError> {
    let machine = Machine { hostname: "fuzz".to_owned(), id: String::new(), cores: 1 };
    crate::config::fuzzing::settings(file, environment, &machine)
}

/// A function as it comes to the API, checked.
///
/// # Errors
/// What the client is told.
pub fn function(body: &[u8]) -> Result<Function, Problem> {
    let function: Function = gateway::fuzzing::definition(body)?;
    function.validate().map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(function)
}

/// A schedule as it comes to the API, checked.
///
/// # Errors
/// What the client is told.
pub fn schedule(body: &[u8]) -> Result<Schedule, Problem> {
    let schedule: Schedule = gateway::fuzzing::definition(body)?;
    schedule.validate().map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_read_as_the_api_reads_them() {
        assert!(function(br#"{"runtime":"builtin","handler":"echo"}"#).is_ok());
        assert_eq!(function(b"{").unwrap_err().status, 400);
        assert!(schedule(br#"{"cron":"* * * * *","function":"f"}"#).is_ok());
        assert_eq!(schedule(br#"{"cron":"never","function":"f"}"#).unwrap_err().status, 422);
    }

    #[test]
    fn settings_come_from_a_file_and_the_environment() {
        let environment = vec![("BEATMESH_NODE__NAME".to_owned(), "n-2".to_owned())];
        let read = settings("[mesh]\nname = \"m\"\n[node]\nname = \"n-1\"\n", environment).unwrap();
        assert_eq!(read.node.name.to_string(), "n-2");
        assert!(settings("[node]\nslots = \"many\"\n", Vec::new()).is_err());
    }

    #[test]
    fn the_command_line_reads_events_and_logs() {
        let read = events(&[b"id: 1\nevent: a\nda", b"ta: x\n\n"]);
        assert_eq!(read, [("1".to_owned(), "a".to_owned(), "x".to_owned())]);
        let (shown, _) = log_line("thread panicked");
        assert!(shown.contains("thread panicked"), "{shown}");
    }
}
