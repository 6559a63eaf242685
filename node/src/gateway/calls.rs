//! Synchronous calls.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;

use super::Gateway;
use super::reply::{ApiError, Named, content_type, timeout};
use crate::catalogue::name::FunctionName;
use crate::problem::Problem;
use crate::router::Request;
use crate::worker::answer::Answer;

/// `POST /v1/functions/{name}/call`: the body is the input, the answer is the function's own.
pub(super) async fn call(
    State(gateway): State<Arc<Gateway>>,
    Named(function): Named<FunctionName>,
    headers: HeaderMap,
    input: Body,
) -> Result<Response, ApiError> {
    if headers.contains_key("Idempotency-Key") {
        let detail =
            "Idempotency-Key is for tasks in this version: POST to .../tasks instead, or leave it out";
        return Err(Problem::bad_request(detail).into());
    }
    let input = gateway.bodies.read(&headers, input, usize::MAX).await?;
    let request = Request {
        id: gateway.fresh_id(),
        function,
        key: headers.get("Beatmesh-Key").map(|key| Bytes::copy_from_slice(key.as_bytes())),
        content_type: content_type(&headers),
        timeout: timeout(&headers)?,
        input: input.bytes.clone(),
    };
    let id = request.id;
    let (node, answered) = gateway.calls.call(request).await?;
    let mut response = match answered {
        Ok(Answer::Whole { content_type, body }) => {
            ([(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Ok(Answer::Streamed { content_type, body }) => {
            // A failure in the middle breaks the connection off: the client must not take a part for the whole.
            let chunks = body.map(|chunk| chunk.map_err(|problem| std::io::Error::other(problem.detail)));
            ([(header::CONTENT_TYPE, content_type)], Body::from_stream(chunks)).into_response()
        }
        Err(problem) => ApiError(problem).into_response(),
    };
    let text = |text: String| HeaderValue::try_from(text).expect("ids hold only letters, digits and hyphens");
    response.headers_mut().insert("Beatmesh-Node", text(node.to_string()));
    response.headers_mut().insert("Beatmesh-Task", text(id.to_string()));
    Ok(response)
}
