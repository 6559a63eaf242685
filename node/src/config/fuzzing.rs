//! Settings from texts instead of from files, for the fuzz targets.

use std::path::Path;

use super::load::join;
use super::{ConfigError, Machine, Settings};

pub(crate) fn settings(
    file: &str,
    environment: Vec<(String, String)>,
    machine: &Machine,
) -> Result<Settings, ConfigError> {
    let environment: Vec<_> =
        environment.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
    join(Some((Path::new("beatmesh.toml"), file.to_owned())), &environment, Vec::new(), machine)
}
