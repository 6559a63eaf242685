//! Bodies of requests without a request, for the fuzz targets.

use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A definition from its JSON.
pub(crate) fn definition<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    super::body::parse_json(body).map_err(|error| error.0)
}
