//! Who may come in.
//!
//! With API keys every request of the API needs one. Without them the node listens on loopback only (the
//! configuration sees to that), and requests that a web page of another origin makes in somebody's
//! browser are refused: the browser would carry them to loopback gladly.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Gateway;
use super::reply::ApiError;
use crate::config::ApiKeys;
use crate::problem::Problem;

pub(super) async fn check(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let refused = match &gateway.api_keys {
        Some(keys) => without_key(keys, request.headers()),
        None => from_another_origin(request.headers()),
    };
    match refused {
        Some(problem) => ApiError(problem).into_response(),
        None => next.run(request).await,
    }
}

fn without_key(keys: &ApiKeys, headers: &HeaderMap) -> Option<Problem> {
    let given =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let detail = match given {
        None => "send `Authorization: Bearer KEY` with a key of security.api_keys_file",
        Some(key) if keys.verify(key.trim()).is_none() => "the key is not one of security.api_keys_file",
        Some(_) => return None,
    };
    Some(Problem::new(401, "unauthorized", "an API key is needed", detail))
}

fn from_another_origin(headers: &HeaderMap) -> Option<Problem> {
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_same = origin.strip_prefix("http://").is_some_and(|authority| authority == host);
    // A page may also have pointed its own name at loopback: then origin and host agree, on that name.
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')));
    (!is_same || !is_loopback).then(|| {
        let detail = format!("a page of {origin} may not use a node without API keys");
        Problem::new(403, "foreign_origin", "the request comes from another web page", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_wrong_key_and_no_key_are_refused() {
        let file = std::env::temp_dir().join(format!("beatmesh-guard-{}", std::process::id()));
        std::fs::write(&file, "ci:0123456789abcdef\n").unwrap();
        let keys = ApiKeys::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(without_key(&keys, &headers(&[("authorization", "Bearer 0123456789abcdef")])).is_none());
        for pairs in [
            &[][..],
            &[("authorization", "Bearer 0123456789abcdeg")],
            &[("authorization", "0123456789abcdef")],
        ] {
            assert_eq!(without_key(&keys, &headers(pairs)).unwrap().status, 401);
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let from = |pairs| from_another_origin(&headers(pairs)).map(|problem| problem.status);
        assert_eq!(from(&[("host", "localhost:8080")]), None);
        assert_eq!(from(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")]), None);
        assert_eq!(from(&[("host", "localhost:8080"), ("origin", "https://evil.example")]), Some(403));
        assert_eq!(from(&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")]), Some(403));
        assert_eq!(
            from(&[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")]),
            Some(403)
        );
        assert_eq!(from(&[("host", "localhost:8080"), ("origin", "null")]), Some(403));
    }
}
