//! Requests and answers. An answer of any status is an answer; only a connection that fails is an error.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Longer than anything that a node lets a client wait for.
const PATIENCE: Duration = Duration::from_secs(90);

/// Talks to one node.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    inner: reqwest::Client,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

impl Client {
    /// A client with connections of its own.
    ///
    /// # Panics
    /// Never: the settings are constant.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self::with_headers(addr, HeaderMap::new())
    }

    /// A client that shows this API key with each request.
    ///
    /// # Panics
    /// When a header cannot hold the key.
    #[must_use]
    pub fn with_key(addr: SocketAddr, key: &str) -> Self {
        let value = format!("Bearer {key}").parse().expect("keys are plain text");
        Self::with_headers(addr, HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn with_headers(addr: SocketAddr, headers: HeaderMap) -> Self {
        let inner = reqwest::Client::builder().timeout(PATIENCE).no_proxy().default_headers(headers).build();
        Self { base: format!("http://{addr}"), inner: inner.expect("the settings are good") }
    }

    /// The address as a URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to build on.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.inner.request(method, format!("{}{path}", self.base))
    }

    /// `GET`.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn get(&self, path: &str) -> Answer {
        self.expect(Method::GET, path, Vec::new()).await
    }

    /// `POST` with a body as it is.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.expect(Method::POST, path, body.into()).await
    }

    /// `PUT` of JSON.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.expect(Method::PUT, path, body.to_string().into_bytes()).await
    }

    /// `DELETE`.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn delete(&self, path: &str) -> Answer {
        self.expect(Method::DELETE, path, Vec::new()).await
    }

    async fn expect(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let sent = send(self.request(method.clone(), path).body(body)).await;
        sent.unwrap_or_else(|error| panic!("{method} {}{path}: {error:?}", self.base))
    }

    /// Deploys a function, which must work.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn deploy(&self, function: &str, definition: &Value) {
        self.put(&format!("/v1/functions/{function}"), definition).await.ok();
    }

    /// Calls a function.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn call(&self, function: &str, input: impl Into<Vec<u8>>) -> Answer {
        self.post(&format!("/v1/functions/{function}/call"), input).await
    }

    /// Enqueues a task, which must be taken; answers its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enqueue(&self, function: &str, query: &str, input: impl Into<Vec<u8>>) -> String {
        let answer = self.post(&format!("/v1/functions/{function}/tasks{query}"), input).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["task_id"].as_str().expect("a task has an id").to_owned()
    }

    /// Waits for the end of a task.
    ///
    /// # Panics
    /// When it does not come within a minute.
    pub async fn finished(&self, task: &str) -> Value {
        let answer = self.get(&format!("/v1/tasks/{task}?wait=60s")).await.ok();
        let task = answer.json();
        let is_final = ["done", "failed", "dead", "cancelled", "expired"].map(Value::from);
        assert!(is_final.contains(&task["state"]), "it has not ended within a minute: {task:#}");
        task
    }
}

/// Sends a request and reads all of the answer.
///
/// # Errors
/// The connection could not be made, or broke off.
pub async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}

impl Answer {
    /// The answer, which must be one of success; may be called for this check alone.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        self
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// A header as text; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The node that ran the function.
    #[must_use]
    pub fn node(&self) -> &str {
        self.header("beatmesh-node")
    }

    /// The answer as a problem object (RFC 9457) of this status and type.
    ///
    /// # Panics
    /// When it is anything else.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["type"], kind, "{problem:#}");
        assert_eq!(problem["status"], status, "{problem:#}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem:#}");
        problem
    }
}
