//! Definitions of functions.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::{self, ApiError, Named, expected_revision};
use super::{Gateway, NO_CONTENT};
use crate::catalogue::entry::FunctionEntry;
use crate::catalogue::function::Function;
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;

/// `GET /v1/functions`.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Response {
    let catalogue = gateway.catalogue.current();
    let functions: Vec<_> = catalogue.functions.values().map(shown).collect();
    reply::json(StatusCode::OK, &json!({ "functions": functions }))
}

/// `GET /v1/functions/{name}`.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<FunctionName>,
) -> Result<Response, ApiError> {
    let entry = gateway.catalogue.function(&name, 0).await?.ok_or_else(|| Problem::no_function(&name))?;
    Ok(with_revision(entry.revision, reply::json(StatusCode::OK, &shown(&entry))))
}

/// `PUT /v1/functions/{name}`: creates or replaces; an equal definition changes nothing.
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<FunctionName>,
    headers: HeaderMap,
    definition: Body,
) -> Result<Response, ApiError> {
    let expected = expected_revision(&headers)?;
    let definition: Function = gateway.bodies.definition(&headers, definition).await?;
    definition.validate().map_err(|error| Problem::invalid(error.to_string()))?;
    let (entry, changed) = gateway.store.put_function(&name, &definition, expected).await?;
    if changed {
        gateway.catalogue_changed().await;
    }
    let mut answer = shown(&entry);
    answer["changed"] = changed.into();
    Ok(with_revision(entry.revision, reply::json(StatusCode::OK, &answer)))
}

/// `DELETE /v1/functions/{name}`.
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<FunctionName>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    gateway.store.delete_function(&name, expected_revision(&headers)?).await?;
    gateway.catalogue_changed().await;
    Ok(NO_CONTENT.into_response())
}

fn shown(entry: &FunctionEntry) -> Value {
    json!({ "name": entry.name, "revision": entry.revision, "definition": *entry.definition })
}

/// Adds the `ETag` that `If-Match` takes.
pub(super) fn with_revision(revision: u64, mut response: Response) -> Response {
    let tag = HeaderValue::try_from(format!("\"{revision}\"")).expect("digits and quotes");
    response.headers_mut().insert(header::ETAG, tag);
    response
}
