//! Requests in, responses out: limits before allocation, problems as RFC 9457 has them.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// A client that sends nothing for so long has gone.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// And one whose body is not complete by then holds memory that others need: 16 MiB at 60 KiB/s.
const BODY_WITHIN: Duration = Duration::from_secs(300);

/// A definition is a page of text at most.
const DEFINITION_LIMIT: usize = 256 * 1024;

/// Memory for the bodies that this node holds at the same time.
pub struct BodyBudget {
    /// One permit for each [`BUDGET_UNIT`] bytes.
    units: Arc<Semaphore>,
    largest: usize,
}

/// A body and the memory that it holds; give it back by dropping it.
pub(super) struct HeldBody {
    pub(super) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// Bodies of the largest size that fit at once. Small ones are thousands; a flood of large ones is told
/// to come back instead of taking the node's memory.
const LARGEST_AT_ONCE: usize = 16;
const BUDGET_UNIT: usize = 1_024;

impl BodyBudget {
    /// For bodies of at most `largest` bytes each.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        let units = (largest.div_ceil(BUDGET_UNIT) * LARGEST_AT_ONCE).clamp(1_024, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), largest }
    }

    /// The whole body, at most `limit` bytes. What is announced as longer is refused without being
    /// kept, and nothing is kept in memory that the budget has not granted.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<HeldBody, ApiError> {
        let reading = tokio::time::timeout(BODY_WITHIN, self.read_all(headers, body, limit));
        reading.await.unwrap_or_else(|_| Err(too_slow(BODY_WITHIN).into()))
    }

    /// A definition as JSON.
    pub(super) async fn definition<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, ApiError> {
        parse_json(&self.read(headers, body, DEFINITION_LIMIT).await?.bytes)
    }

    async fn read_all(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<HeldBody, ApiError> {
        let limit = limit.min(self.largest);
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let mut chunks = body.into_data_stream();
        if announced.is_some_and(|length| length > limit as u64) {
            // A client that asks first has sent nothing yet; the first look into the body would invite it.
            if !headers.contains_key(header::EXPECT) {
                discard(&mut chunks).await;
            }
            return Err(too_large(limit).into());
        }
        let mut whole = BytesMut::new();
        let mut held: Option<OwnedSemaphorePermit> = None;
        loop {
            let next = tokio::time::timeout(BODY_PAUSE, chunks.next()).await;
            match next {
                Ok(None) => return Ok(HeldBody { bytes: whole.freeze(), _held: held }),
                Ok(Some(Ok(chunk))) if whole.len() + chunk.len() <= limit => {
                    let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
                    let needs = (whole.len() + chunk.len()).div_ceil(BUDGET_UNIT).saturating_sub(has);
                    if needs > 0 {
                        let more = self.grant(needs)?;
                        match &mut held {
                            Some(held) => held.merge(more),
                            None => held = Some(more),
                        }
                    }
                    whole.extend_from_slice(&chunk);
                }
                Ok(Some(Ok(_))) => {
                    discard(&mut chunks).await;
                    return Err(too_large(limit).into());
                }
                Ok(Some(Err(error))) => {
                    return Err(Problem::bad_request(format!("the body broke off: {error}")).into());
                }
                Err(_) => return Err(too_slow(BODY_PAUSE).into()),
            }
        }
    }

    fn grant(&self, units: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.units.clone().try_acquire_many_owned(units).map_err(|_| {
            let detail = "the node holds as many request bodies as it has memory for; try again in a moment";
            Problem::new(503, "too_many_bodies", "too many large requests at once", detail)
                .with("retry_after_s", 1)
                .into()
        })
    }
}

fn too_slow(within: Duration) -> Problem {
    let detail = format!("the body, or a further piece of it, did not come within {within:?}");
    Problem::new(408, "body_timeout", "the body did not come", detail)
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the limit is {limit} bytes (limits.input)");
    Problem::new(413, "input_too_large", "the body is too large", detail).with("limit", limit)
}

/// Reads on for a while what will not be used. A client that is still sending when the connection closes
/// sees a broken pipe in place of the answer; most have sent all within these bounds.
async fn discard(chunks: &mut axum::body::BodyDataStream) {
    let mut left = DISCARDED;
    let discarding = async {
        while let Some(Ok(chunk)) = chunks.next().await
            && left > chunk.len()
        {
            left -= chunk.len();
        }
    };
    // Whatever is left unread is the client's loss.
    let _ = tokio::time::timeout(DISCARD_WITHIN, discarding).await;
}

/// Four times the usual limit, as fast as a local network brings it.
const DISCARDED: usize = 64 << 20;
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// A definition from JSON. What is no JSON gives line and column, a wrong value also its field.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader);
    let wrong = match read {
        Ok(definition) => match reader.end() {
            Ok(()) => return Ok(definition),
            Err(trailing) => return Err(no_json(&trailing)),
        },
        Err(wrong) => wrong,
    };
    // A value may be found wrong before the reader comes to where the text is no JSON.
    if let Err(error) = serde_json::from_slice::<serde_json::Value>(bytes) {
        return Err(no_json(&error));
    }
    let (field, error) = (wrong.path().to_string(), wrong.inner());
    let problem = match field.as_str() {
        // It is the whole that is wrong: a field is missing, say.
        "." => Problem::invalid(error.to_string()),
        field => Problem::invalid(format!("`{field}`: {error}")).with("field", field),
    };
    Err(ApiError(problem.with("line", error.line()).with("column", error.column())))
}

fn no_json(error: &serde_json::Error) -> ApiError {
    let problem = Problem::new(400, "invalid_json", "the body is not JSON", error.to_string());
    ApiError(problem.with("line", error.line()).with("column", error.column()))
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(budget: &BodyBudget, size: usize) -> Result<HeldBody, u16> {
        let body = Body::from(vec![7; size]);
        budget.read(&HeaderMap::new(), body, usize::MAX).await.map_err(|error| error.0.status)
    }

    fn refusal(text: &str) -> (u16, String) {
        let error = parse_json::<crate::catalogue::schedule::Schedule>(text.as_bytes()).unwrap_err();
        (error.0.status, error.0.detail)
    }

    #[test]
    fn what_is_no_json_is_400_and_a_wrong_value_is_422_with_its_field() {
        for (text, status, part) in [
            (
                r#"{"cron": "* * * * *", "function": "f", "misfire": "foo"}"#,
                422,
                "`misfire`: unknown variant `foo`, expected one of `fire_latest`, `fire_all`, `skip`",
            ),
            (
                r#"{"cron": "* * * * *", "function": "f", "misfire_grace": "10"}"#,
                422,
                "`misfire_grace`: `10` is not a duration",
            ),
            (r#"{"cron": 5, "function": "f"}"#, 422, "`cron`: invalid type: integer `5`, expected a string"),
            (r#"{"cron": "* * * * *", "funktion": "f"}"#, 422, "unknown field `funktion`, expected one of"),
            (r#"{"cron": "* * * * *"}"#, 422, "missing field `function`"),
            ("5", 422, "expected struct Schedule"),
            (r#"{"cron": 5, "function": "f""#, 400, "EOF"),
            (r#"{"cron": "* * * * *", "function": "f"} more"#, 400, "trailing"),
            ("", 400, "EOF"),
        ] {
            let (found, detail) = refusal(text);
            assert!(found == status && detail.contains(part), "{text}: {found} {detail}");
        }
    }

    #[tokio::test]
    async fn bodies_over_the_limit_and_bodies_over_the_budget_are_refused() {
        let budget = BodyBudget::new(1 << 20);
        assert_eq!(read(&budget, (1 << 20) + 1).await.err(), Some(413));
        let mut held = Vec::new();
        for _ in 0..LARGEST_AT_ONCE {
            held.push(read(&budget, 1 << 20).await.expect("within the budget"));
        }
        assert_eq!(read(&budget, 1).await.err(), Some(503));
        assert_eq!(read(&budget, 0).await.expect("an empty body needs no memory").bytes.len(), 0);
        held.pop();
        assert!(read(&budget, 1 << 20).await.is_ok(), "what is given back can be had again");
    }
}
