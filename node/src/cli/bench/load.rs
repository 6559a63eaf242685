//! A closed loop of HTTP clients: each sends its next request when it has its answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cli::failure::Failure;

/// Where requests go, and how many at once.
pub(super) struct Load {
    pub(super) addr: SocketAddr,
    pub(super) path: &'static str,
    pub(super) clients: usize,
}

/// What came of it.
pub(super) struct Measured {
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Answers other than 2xx.
    pub(super) errors: usize,
}

impl Load {
    /// Sends requests for `time`.
    pub(super) async fn run_for(&self, time: Duration) -> Result<Measured, Failure> {
        let until = now() + time;
        self.run(move |_| now() < until).await
    }

    /// Sends `count` requests.
    pub(super) async fn run_count(&self, count: u32) -> Result<Measured, Failure> {
        let clients = self.clients;
        self.run(move |sent| sent < (count as usize).div_ceil(clients)).await
    }

    async fn run(&self, go_on: impl Fn(usize) -> bool + Copy + Send + 'static) -> Result<Measured, Failure> {
        let began = now();
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (addr, path) = (self.addr, self.path);
            clients.spawn(client(addr, path, go_on));
        }
        let (mut times, mut errors) = (Vec::new(), 0);
        while let Some(client) = clients.join_next().await {
            let client = client
                .map_err(|error| Failure::failed(format!("a client of the benchmark ended: {error}")))?;
            let (its_times, its_errors) =
                client.map_err(|error| Failure::failed(format!("a client of the benchmark: {error}")))?;
            times.extend(its_times);
            errors += its_errors;
        }
        let took = began.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |part: f64| {
            times.get((times.len() as f64 * part) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Ok(Measured { rate: times.len() as f64 / took, p50_us: at(0.5), p99_us: at(0.99), errors })
    }
}

/// The benchmark measures this machine: its clock is the machine's.
fn now() -> Instant {
    Instant::now()
}

async fn client(
    addr: SocketAddr,
    path: &'static str,
    go_on: impl Fn(usize) -> bool,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let mut requests = std::pin::pin!(requests(&mut sender, addr, path, go_on));
    tokio::select! {
        outcome = &mut requests => outcome,
        // It ends with the sender, or early with an error that the request sees as well.
        _ = &mut connection => requests.await,
    }
}

async fn requests(
    sender: &mut SendRequest<Empty<Bytes>>,
    addr: SocketAddr,
    path: &'static str,
    go_on: impl Fn(usize) -> bool,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let (mut times, mut errors) = (Vec::new(), 0);
    while go_on(times.len()) {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, addr.to_string())
            .body(Empty::new())?;
        let began = now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let good = response.status().is_success();
        response.into_body().collect().await?;
        times.push(began.elapsed());
        errors += usize::from(!good);
    }
    Ok((times, errors))
}
