//! Takes HTTP connections: as many as allowed, none that dawdles over its headers, all of them to their
//! end when the node stops.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use beatmesh_mesh::env::{ByteStream, Env, Listener, OnExit};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::impatient::Impatient;
use super::patience::{Allowed, Patience};

/// What one connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// All headers of one request, in bytes.
    pub headers: usize,
    /// A client that needs longer to send its headers is cut off.
    pub header_timeout: Duration,
    /// And one that idles longer between two requests.
    pub idle_timeout: Duration,
}

/// After an accept that failed (file descriptors used up): long enough for some to come free.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves `routes` on `listener` until `stop`, then lets open requests finish.
pub async fn serve(
    env: Env,
    mut listener: Box<dyn Listener>,
    routes: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
    open: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("this semaphore is never closed"),
            () = stop.cancelled() => return,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let allowed = Allowed { headers: limits.header_timeout, idle: limits.idle_timeout };
        let patience = Patience::new(env.clock.clone(), allowed);
        let (routes, stop) = (routes.clone(), stop.clone());
        let serving = open.track_future(async move {
            tokio::select! {
                () = serve_one(stream, routes, limits.headers, &patience, stop) => {}
                () = patience.end() => {}
            }
            drop(place);
        });
        env.spawner.spawn("http connection", OnExit::Fine, Box::pin(serving));
    }
}

/// Serves one connection to its end; dropping this closes it.
async fn serve_one(
    stream: Box<dyn ByteStream>,
    routes: Router,
    headers: usize,
    patience: &Arc<Patience>,
    stop: CancellationToken,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request| {
        let serving = patience.begin();
        let answering = routes.call(request);
        async move { answering.await.map(|answer| answer.map(|body| serving.until_sent(body))) }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(headers.max(8_192));
    let stream = TokioIo::new(Impatient::new(stream, patience.clone()));
    let mut connection = std::pin::pin!(http.serve_connection(stream, service));
    // Errors here are a client's: it went away, or sent what is not HTTP.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
