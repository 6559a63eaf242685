//! Where the parts of a node meet.

use crate::config::Settings;

/// Why a node did not start, or had to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Runs a node in the foreground until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn run(settings: Settings) -> Result<(), StartError> {
    Err(StartError(format!("node {} is not assembled", settings.node.name)))
}
