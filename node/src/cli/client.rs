//! The client of a node's HTTP API. Any node will do: of several URLs the next is tried when one does not connect,
//! or connects and says nothing (the kernel takes connections for a process that is stopped). A request that did
//! connect is never sent again, because it may have been done.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::args::ClientOptions;
use super::failure::Failure;
use crate::config::redact;

/// A node on the same machine or network answers a connection within milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Of several nodes, one that does not say within this time that it lives is passed over. A node says so within a
/// millisecond, on a machine that is far too busy within some tenths of a second.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// For everything that does not wait for a function: longer than a node's own limits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one mesh.
pub(super) struct Client {
    http: reqwest::Client,
    urls: Vec<Url>,
    key: Option<SecretString>,
}

/// A request.
pub(super) struct Request {
    /// What is asked, for messages: `call of hello`.
    pub(super) context: String,
    pub(super) method: Method,
    /// With a leading slash.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    pub(super) content_type: &'static str,
    /// `None` waits as long as the node does.
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// A request without a body.
    pub(super) fn new(context: impl Into<String>, method: Method, path: impl Into<String>) -> Self {
        Self {
            context: context.into(),
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            content_type: "",
            timeout: Some(ANSWER_TIMEOUT),
        }
    }

    /// Adds a parameter when it has a value.
    pub(super) fn query(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    /// Adds a JSON body.
    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self.content_type = "application/json";
        self
    }
}

impl Client {
    /// Reads the options; nothing is sent yet.
    pub(super) fn new(options: &ClientOptions) -> Result<Self, Failure> {
        let urls = options
            .url
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(node_url)
            .collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(Failure::usage("--url: it is empty; write for example http://127.0.0.1:8080"));
        }
        Ok(Self { http: http_client()?, urls, key: api_key(options.api_key_file.as_deref())? })
    }

    /// A client of one node on this machine that asks for no key.
    pub(super) fn of_node(http: reqwest::Client, address: std::net::SocketAddr) -> Result<Self, Failure> {
        Ok(Self { http, urls: vec![node_url(&format!("http://{address}"))?], key: None })
    }

    /// Asks and expects JSON.
    pub(super) async fn json(&self, request: Request) -> Result<Value, Failure> {
        let context = request.context.clone();
        let answer = self.send(request).await?;
        let body = read_body(&context, answer).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!("{context}: the answer is not JSON ({error}); is this a beatmesh node?"))
        })
    }

    /// Short for a GET that expects JSON.
    pub(super) async fn get(&self, context: &str, path: impl Into<String>) -> Result<Value, Failure> {
        self.json(Request::new(context, Method::GET, path)).await
    }

    /// Sends a request; an answer that is no success becomes a failure.
    pub(super) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let mut refused = Vec::new();
        for url in &self.urls {
            if self.urls.len() > 1
                && let Err(error) = self.sign_of_life(url).await
            {
                refused.push(format!("{url} ({error})"));
                continue;
            }
            let mut target = url.clone();
            target.set_path(&request.path);
            if !request.query.is_empty() {
                target.query_pairs_mut().extend_pairs(&request.query);
            }
            let mut sending =
                self.http.request(request.method.clone(), target).headers(self.headers(&request)?);
            if !request.body.is_empty() {
                sending = sending.body(request.body.clone());
            }
            if let Some(timeout) = request.timeout {
                sending = sending.timeout(timeout);
            }
            match sending.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => return Err(problem(&request.context, answer).await),
                Err(error) if error.is_connect() => refused.push(format!("{url} ({})", cause(&error))),
                Err(error) if error.is_timeout() => {
                    return Err(Failure::failed(format!(
                        "{}: {url} did not answer in time; it may or may not have been done",
                        request.context
                    )));
                }
                Err(error) => {
                    return Err(Failure::failed(format!(
                        "{}: the connection to {url} was lost: {}; it may or may not have been done",
                        request.context,
                        cause(&error)
                    )));
                }
            }
        }
        Err(Failure::failed(format!(
            "no node answers at {}; is one running? `beatmesh dev` starts some, --url or BEATMESH_URL names another",
            refused.join(" nor at ")
        )))
    }

    /// Asks whether the node runs at all, before it is given something that cannot be given to another one after.
    async fn sign_of_life(&self, url: &Url) -> Result<(), String> {
        let mut target = url.clone();
        target.set_path("/livez");
        match self.http.get(target).timeout(SIGN_OF_LIFE).send().await {
            Err(error) if error.is_timeout() && !error.is_connect() => {
                Err("it takes connections and does not answer".to_owned())
            }
            Err(error) => Err(cause(&error)),
            // Whatever it is, it answers; what it says to the request itself is for the user to see.
            Ok(_) => Ok(()),
        }
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if !request.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        }
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value).map_err(|_| {
                Failure::usage(format!("`{value}` holds a character that no HTTP header can carry"))
            })?;
            headers.insert(HeaderName::from_static(name), value);
        }
        if let Some(key) = &self.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                .map_err(|_| Failure::usage("the API key holds a character that no HTTP header can carry"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// What sends requests.
pub(super) fn http_client() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // A proxy for the web does not know the way to a node.
        .no_proxy()
        .build()
        .map_err(|error| Failure::failed(format!("the HTTP client cannot start: {error}")))
}

/// Reads an answer to its end.
pub(super) async fn read_body(context: &str, answer: Response) -> Result<Bytes, Failure> {
    answer
        .bytes()
        .await
        .map_err(|error| Failure::failed(format!("{context}: the answer broke off: {}", cause(&error))))
}

fn node_url(text: &str) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("--url: `{}` {why}; write for example http://127.0.0.1:8080", redact(text)))
    };
    let url: Url = text.parse().map_err(|_| wrong("is not an URL"))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(wrong("asks for TLS, which nodes speak in a later version")),
        _ => return Err(wrong("is not an URL of a node")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a password; nodes take keys: --api-key-file or BEATMESH_API_KEY"));
    }
    Ok(url)
}

/// The key to show: a file that holds only the key, or `BEATMESH_API_KEY`.
fn api_key(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    let Some(path) = file else {
        let key = std::env::var("BEATMESH_API_KEY").unwrap_or_default();
        return Ok((!key.trim().is_empty()).then(|| key.trim().to_owned().into()));
    };
    let wrong = |why: String| Failure::usage(format!("--api-key-file: {} {why}", path.display()));
    let text = SecretString::from(
        std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?,
    );
    let key = text.expose_secret().trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(wrong("must hold one key and nothing else".to_owned()));
    }
    Ok(Some(key.to_owned().into()))
}

/// What a node says about a request that it did not fulfil.
async fn problem(context: &str, answer: Response) -> Failure {
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_default();
    let problem = match serde_json::from_slice::<Value>(&body) {
        Ok(problem @ Value::Object(_)) => problem,
        _ => {
            let start: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or("an error"),
                "status": status.as_u16(),
                "detail": format!("HTTP status {status} {}", start.trim()).trim_end(),
            })
        }
    };
    Failure::Problem { context: context.to_owned(), problem }
}

/// The innermost reason: the outer ones only say that sending failed.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn urls_of_nodes_are_plain_http_without_a_password() {
        assert!(node_url("http://127.0.0.1:8080").is_ok());
        for (text, part) in [
            ("localhost:8080", "not an URL of a node"),
            ("127.0.0.1:8080", "not an URL"),
            ("https://a", "later version"),
            ("http://user:canary@a", "holds a password"),
        ] {
            let Err(Failure::Usage(lines)) = node_url(text) else { panic!("{text} was taken") };
            assert!(lines[0].contains(part) && !lines[0].contains("canary"), "{lines:?}");
        }
    }

    /// Answers one request with this status line and body.
    async fn answer_one(listener: &TcpListener, status: &str, body: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0_u8; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_node_is_asked_when_one_cannot_be_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let client = Client {
            http: http_client().unwrap(),
            urls: vec![
                node_url(&format!("http://{gone}")).unwrap(),
                node_url(&format!("http://{}", listener.local_addr().unwrap())).unwrap(),
            ],
            key: None,
        };
        let lives_and_answers = async |status: &str, body: &str| {
            answer_one(&listener, "200 OK", "").await;
            answer_one(&listener, status, body).await;
        };
        let (answer, ()) =
            tokio::join!(client.get("members", "/v1/mesh"), lives_and_answers("200 OK", "{\"mesh\":\"m\"}"));
        assert_eq!(answer.unwrap()["mesh"], "m");

        let problem = "{\"type\":\"not_found\",\"detail\":\"there is none\"}";
        let (answer, ()) =
            tokio::join!(client.get("members", "/v1/mesh"), lives_and_answers("404 Not Found", problem));
        assert!(
            matches!(answer, Err(Failure::Problem { problem, .. }) if problem["detail"] == "there is none")
        );

        drop(listener);
        let Err(Failure::Failed(message)) = client.get("members", "/v1/mesh").await else {
            panic!("nobody is there")
        };
        assert!(message.contains(&gone.to_string()) && message.contains(" nor at "), "{message}");
    }

    #[tokio::test]
    async fn a_node_that_takes_connections_and_says_nothing_is_passed_over() {
        let (frozen, living) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let url =
            |listener: &TcpListener| node_url(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let urls = vec![url(&frozen), url(&living)];
        let client = Client { http: http_client().unwrap(), urls, key: None };
        let (answer, ()) = tokio::join!(client.get("members", "/v1/mesh"), async {
            answer_one(&living, "200 OK", "").await;
            answer_one(&living, "200 OK", "{\"mesh\":\"m\"}").await;
        });
        assert_eq!(answer.unwrap()["mesh"], "m");
    }
}
