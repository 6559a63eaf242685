//! Bodies of requests: limits before memory, and what is wrong with a definition, to the line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::ApiError;
use crate::problem::Problem;

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
pub(super) fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
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
