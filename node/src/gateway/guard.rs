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
    let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?));
    let detail = match given {
        None => "send `Authorization: Bearer KEY` with a key of security.api_keys_file",
        Some(key) if keys.verify(key.trim()).is_none() => "the key is not one of security.api_keys_file",
        Some(_) => return None,
    };
    Some(Problem::new(401, "unauthorized", "an API key is needed", detail))
}

/// The credentials of the scheme `Bearer`, in whatever case it is written (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, credentials) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(credentials)
}

/// Refuses what a web page of another origin makes somebody's browser send. The Host tells of a page that
/// has pointed its own name at loopback: browsers send no Origin with the reads of such a page.
fn from_another_origin(headers: &HeaderMap) -> Option<Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        let detail = format!(
            "`{host}` is not a loopback name: a node without security.api_keys_file answers only as localhost, 127.0.0.1 or [::1]"
        );
        return Some(Problem::new(403, "foreign_host", "the request was meant for another host", detail));
    }
    let origin = text(header::ORIGIN)?;
    let is_same = origin.strip_prefix("http://").is_some_and(|authority| authority == host);
    (!is_same).then(|| {
        let detail = format!("a page of {origin} may not use a node without API keys");
        Problem::new(403, "foreign_origin", "the request comes from another web page", detail)
    })
}

/// Whether `host` (a Host header, with or without port) names this machine for itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
        for good in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER  0123456789abcdef"] {
            assert!(without_key(&keys, &headers(&[("authorization", good)])).is_none(), "{good}");
        }
        for pairs in [
            &[][..],
            &[("authorization", "Bearer 0123456789abcdeg")],
            &[("authorization", "0123456789abcdef")],
            &[("authorization", "Basic 0123456789abcdef")],
        ] {
            assert_eq!(without_key(&keys, &headers(pairs)).unwrap().status, 401);
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let from = |pairs: &[(&'static str, &'static str)]| {
            from_another_origin(&headers(pairs)).map(|problem| problem.status)
        };
        assert_eq!(from(&[("host", "localhost:8080")]), None);
        assert_eq!(from(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")]), None);
        assert_eq!(from(&[("host", "localhost:8080"), ("origin", "https://evil.example")]), Some(403));
        assert_eq!(from(&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")]), Some(403));
        assert_eq!(
            from(&[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")]),
            Some(403)
        );
        assert_eq!(from(&[("host", "localhost:8080"), ("origin", "null")]), Some(403));
        // A page that has pointed its name here reads without an Origin.
        assert_eq!(from(&[("host", "evil.example:8080")]), Some(403));
        assert_eq!(from(&[("host", "10.0.0.1:8080")]), Some(403));
        assert_eq!(from(&[]), Some(403));
        for host in ["127.0.0.1", "127.0.0.2:1", "[::1]:8080", "LOCALHOST"] {
            assert_eq!(from(&[("host", host)][..]), None, "{host}");
        }
    }
}
