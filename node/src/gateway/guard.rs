//! Who may come in.
//!
//! With API keys every request of the API needs one. Without them the node listens on loopback only (the
//! configuration sees to that), and requests that a web page of another origin makes in somebody's
//! browser are refused: the browser would carry them to loopback gladly.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Gateway;
use super::reply::ApiError;
use crate::problem::Problem;

/// Keys by their holders' names.
pub struct ApiKeys(pub BTreeMap<String, SecretString>);

impl ApiKeys {
    /// The name of the holder of `key`. Takes the same time whichever byte is wrong.
    fn holder(&self, key: &str) -> Option<&str> {
        let mut holder = None;
        for (name, known) in &self.0 {
            if bool::from(known.expose_secret().as_bytes().ct_eq(key.as_bytes())) {
                holder = Some(name.as_str());
            }
        }
        holder
    }
}

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
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let detail = match given {
        None => "send `Authorization: Bearer KEY` with a key of security.api_keys_file",
        Some(key) if keys.holder(key.trim()).is_none() => "the key is not one of security.api_keys_file",
        Some(_) => return None,
    };
    Some(Problem::new(401, "unauthorized", "an API key is needed", detail))
}

fn from_another_origin(headers: &HeaderMap) -> Option<Problem> {
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_same = origin.strip_prefix("http://").is_some_and(|authority| authority == host);
    // A page may also have pointed its own name at loopback: then origin and host agree, on that name.
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    (!is_same || !is_loopback).then(|| {
        let detail = format!("a page of {origin} may not use a node without API keys");
        Problem::new(403, "foreign_origin", "the request comes from another web page", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wrong_key_and_no_key_are_refused() {
        let keys = ApiKeys([("ci".to_owned(), SecretString::from("0123456789abcdef"))].into());
        assert!(without_key(&keys, &headers(&[("authorization", "Bearer 0123456789abcdef")])).is_none());
        for pairs in [&[][..], &[("authorization", "Bearer 0123456789abcdeg")], &[("authorization", "0123456789abcdef")]] {
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
        assert_eq!(from(&[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")]), Some(403));
        assert_eq!(from(&[("host", "localhost:8080"), ("origin", "null")]), Some(403));
    }
}
