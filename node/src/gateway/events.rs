//! `GET /v1/mesh/events`: whoever follows the mesh is told of each change, as server-sent events.
//!
//! Nothing waits for a client: each stream compares the view that it told of last with the one that is so now,
//! whenever its client has taken what came before.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use beatmesh_mesh::View;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Gateway;
use super::changes::{Change, changes};
use super::reply::{self, ApiError, Parameters};
use crate::problem::Problem;

/// A comment goes out when nothing else did for so long, for clients and proxies to know that the node lives.
/// Proxies usually give up after a minute, this node's own command after three missed ones.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Each stream keeps a connection to itself; the others are for everybody else.
const SHARE_OF_CONNECTIONS: usize = 4;

/// A page or an alarm follows one stream. More than this are a mistake, and every change wakes them all.
const MOST_STREAMS: usize = 256;

/// How many streams there may be at the same time, of so many connections.
pub fn places(connections: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((connections / SHARE_OF_CONNECTIONS).clamp(1, MOST_STREAMS)))
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {}

/// `GET /v1/mesh/events`.
pub(super) async fn follow(
    State(gateway): State<Arc<Gateway>>,
    Parameters(Plain {}): Parameters<Plain>,
) -> Result<Response, ApiError> {
    let place = gateway.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "this node serves as many event streams as it can; ask another node, or GET /v1/mesh now and then";
        Problem::new(503, "too_many_streams", "too many event streams", detail).with("retry_after_s", 5)
    })?;
    let mut views = gateway.mesh.watch();
    let told = views.borrow_and_update().clone();
    let snapshot = super::mesh::overview_of(&gateway, &told);
    let first = event(1, "snapshot", &snapshot);
    let following = Following { gateway, views, told, waiting: [first].into(), last_id: 1, _place: place };
    let events = stream::unfold(following, Following::next);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that gather answers would hold events back; nginx and its like know this word.
    response.headers_mut().insert("X-Accel-Buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One client's stream.
struct Following {
    gateway: Arc<Gateway>,
    views: watch::Receiver<Arc<View>>,
    /// What the client knows, or will when it has taken what waits.
    told: Arc<View>,
    /// At most one event for each member, and two.
    waiting: VecDeque<Event>,
    last_id: u64,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// The next event; `None` when the node stops.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                biased;
                () = self.gateway.stop.cancelled() => return None,
                // An error means that the mesh has stopped.
                changed = self.views.changed() => changed.ok()?,
            }
            let now = self.views.borrow_and_update().clone();
            let at = reply::time(self.gateway.env.clock.wall());
            for change in changes(&self.told, &now) {
                self.last_id += 1;
                self.waiting.push_back(event(
                    self.last_id,
                    change.name(),
                    &Told { at: &at, change: &change },
                ));
            }
            self.told = now;
        }
    }
}

/// A change and when this node saw it.
#[derive(Serialize)]
struct Told<'a> {
    at: &'a str,
    #[serde(flatten)]
    change: &'a Change,
}

fn event(id: u64, name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().id(id.to_string()).event(name).json_data(data);
    event.expect("what the API answers holds only texts, numbers and JSON")
}
