//! Requests in, responses out: problems as RFC 9457 has them. Bodies are read in [`super::body`].

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::queue::StoreError;
use crate::store::EditError;
use crate::units::Span;

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        let detail = error.to_string();
        Self(match error {
            EditError::Store(error) => error.into(),
            EditError::Conflict { current } => {
                Problem::new(412, "revision_conflict", "somebody else edited it", detail)
                    .with("revision", current)
            }
            EditError::NotFound { .. } => Problem::new(404, "not_found", "no such name", detail),
            EditError::InUse { by } => {
                Problem::new(409, "in_use", "a schedule runs it", detail).with("schedule", by)
            }
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(mut problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.more.remove("retry_after_s").and_then(|seconds| seconds.as_u64());
        let body = serde_json::to_vec(&problem).expect("a problem holds only texts, numbers and JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A response without a body.
pub(super) struct Nothing(pub(super) StatusCode);

impl IntoResponse for Nothing {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// JSON with a line end, so that it reads well in a terminal.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut body =
        serde_json::to_vec(value).expect("what the API answers holds only texts, numbers and JSON");
    body.push(b'\n');
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A name in the path, checked at the door: it is in here or the request is refused.
pub(super) struct Named<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    T: FromStr + Send,
    T::Err: std::fmt::Display,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|error| Problem::bad_request(error.to_string()))?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::bad_request(error.to_string()).into())
    }
}

/// The query's parameters; unknown ones are refused, so that a typing error does not pass for a default.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let query = read
            .map_err(|error| Problem::bad_request(format!("the query cannot be read: {}", source(&error))))?;
        Ok(Self(query.0))
    }
}

/// The innermost reason: the outer ones only say that something is wrong.
fn source(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A number that a client chose; outside of `range` its request is refused.
pub(super) fn in_range<N: PartialOrd + std::fmt::Display>(
    name: &str,
    number: N,
    range: RangeInclusive<N>,
) -> Result<N, ApiError> {
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    Err(Problem::bad_request(format!("{name} {number} is out of range: {least} to {most}")).into())
}

/// A header that must parse, if it is there.
pub(super) fn parsed_header<T: FromStr>(headers: &HeaderMap, name: &str) -> Result<Option<T>, ApiError>
where
    T::Err: std::fmt::Display,
{
    let Some(value) = headers.get(name) else { return Ok(None) };
    let bad = |reason: String| ApiError(Problem::bad_request(format!("header {name}: {reason}")));
    let text = value.to_str().map_err(|_| bad("it holds characters that are not ASCII".to_owned()))?;
    text.parse().map(Some).map_err(|error: T::Err| bad(error.to_string()))
}

/// `Beatmesh-Timeout`.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    match parsed_header::<Span>(headers, "Beatmesh-Timeout")? {
        Some(Span(Duration::ZERO)) => {
            Err(Problem::bad_request("header Beatmesh-Timeout: it must be greater than zero").into())
        }
        span => Ok(span.map(|span| span.0)),
    }
}

/// The revision in `If-Match`; `If-None-Match: *` asks that there be none.
pub(super) fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*") {
        return Ok(Some(0));
    }
    let Some(value) = headers.get(header::IF_MATCH).filter(|value| *value != "*") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    let revision = text
        .parse()
        .map_err(|_| Problem::bad_request(format!("header If-Match: `{text}` is not a revision")))?;
    Ok(Some(revision))
}

/// The body's media type; empty when there is none.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .chars()
        .take(256)
        .collect()
}

/// RFC 3339 with milliseconds, in UTC.
pub(super) fn time(at: beatmesh_mesh::env::UnixMs) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |time| format!("{time:.3}"))
}
