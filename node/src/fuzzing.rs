//! What the fuzz targets call and nobody else may: exists only in their build (`--cfg fuzzing`).

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
