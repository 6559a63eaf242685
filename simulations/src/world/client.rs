//! An HTTP client on its own host: one connection per request, and a deadline, because a connection that
//! lives through a crash hears nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use turmoil::net::TcpStream;

use super::node::{API_KEY, HTTP_PORT};

/// A healthy node answers within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Sends a request to a node and reads the answer; a body that is no JSON comes back as `null`.
///
/// # Errors
/// No connection, or no answer in time. The node may have done what it was asked.
pub async fn send(
    node: IpAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<(StatusCode, Value)> {
    let mut request = Request::builder().method(method).uri(path).header("Host", "node");
    request = request.header("Authorization", format!("Bearer {API_KEY}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).context("a request that the caller made up")?;
    let exchange = async {
        let stream = TcpStream::connect(SocketAddr::new(node, HTTP_PORT)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let answering = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        let (mut answering, mut connection) = (std::pin::pin!(answering), std::pin::pin!(connection));
        tokio::select! {
            biased;
            answer = &mut answering => answer,
            ended = &mut connection => {
                ended?;
                // What it brought before its end is still on the way to us.
                answering.await
            }
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.context("no answer in time")?
}
