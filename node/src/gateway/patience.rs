//! How long a client may take over its next request: little once it has begun one, longer between two.
//!
//! hyper has one timeout for both, from the end of one request to the end of the next one's headers. A
//! proxy keeps connections for a minute or more, and must not find that the node has just closed the one
//! it sends on; a client that dawdles over its headers must go much sooner.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use beatmesh_mesh::env::Clock;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The times that a client is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// From the first byte of a request, and from the beginning of a connection, to the end of the headers.
    pub(super) headers: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// What one connection is at.
pub(super) struct Patience {
    clock: Arc<dyn Clock>,
    allowed: Allowed,
    phase: Mutex<Phase>,
}

/// When patience ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request has come.
    Idle { until: Instant },
    /// Some of the headers have come.
    Headers { until: Instant },
    /// The request is served: other limits count.
    Serving,
}

impl Patience {
    /// A connection that has just begun: one that sends nothing at all is no connection kept for later.
    pub(super) fn new(clock: Arc<dyn Clock>, allowed: Allowed) -> Arc<Self> {
        let phase = Mutex::new(Phase::Idle { until: clock.now() + allowed.headers });
        Arc::new(Self { clock, allowed, phase })
    }

    /// Bytes have come.
    pub(super) fn on_read(&self) {
        let mut phase = self.phase.lock();
        if let Phase::Idle { .. } = *phase {
            *phase = Phase::Headers { until: self.clock.now() + self.allowed.headers };
        }
    }

    /// The headers of a request are complete. It is served until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Serving {
        *self.phase.lock() = Phase::Serving;
        Serving(self.clone())
    }

    /// Resolves when patience has ended; late by a quarter of the time for headers at most. It looks now
    /// and then instead of being told, because that costs a request nothing.
    pub(super) async fn end(&self) {
        let look_every = (self.allowed.headers / 4).max(SHORTEST_LOOK);
        loop {
            let now = self.clock.now();
            let next = now + look_every;
            let next = match *self.phase.lock() {
                Phase::Serving => next,
                Phase::Idle { until } | Phase::Headers { until } if until <= now => return,
                Phase::Idle { until } | Phase::Headers { until } => next.min(until),
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

/// However short the time for headers is set.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);

/// A request that is served; dropping it begins the wait for the next one.
pub(super) struct Serving(Arc<Patience>);

impl Serving {
    /// An answer's body that is served until its end.
    pub(super) fn until_sent(self, body: Body) -> Sending {
        Sending { body, _serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let until = self.0.clock.now() + self.0.allowed.idle;
        *self.0.phase.lock() = Phase::Idle { until };
    }
}

/// The body of an answer on its way.
pub(super) struct Sending {
    body: Body,
    _serving: Serving,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beatmesh_mesh::system::SystemClock;

    const HEADERS: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    fn patience() -> Arc<Patience> {
        Patience::new(Arc::new(SystemClock), Allowed { headers: HEADERS, idle: IDLE })
    }

    /// Seconds until patience ends; `None` when it outlasts an hour.
    async fn lasts(patience: &Patience) -> Option<u64> {
        let begin = patience.clock.now();
        let ended = tokio::time::timeout(Duration::from_secs(3_600), patience.end()).await;
        ended.ok().map(|()| patience.clock.now().duration_since(begin).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_request_has_less_time_than_a_kept_connection_and_a_served_one_has_all() {
        assert_eq!(lasts(&patience()).await, Some(10), "a connection that says nothing");
        let kept = patience();
        kept.on_read();
        let serving = kept.begin();
        assert_eq!(lasts(&kept).await, None, "a request that is served");
        kept.on_read();
        assert_eq!(lasts(&kept).await, None, "its body is no further request");
        drop(serving);
        assert_eq!(lasts(&kept).await, Some(75), "between two requests");
        drop(kept.begin());
        tokio::time::sleep(Duration::from_secs(60)).await;
        kept.on_read();
        tokio::time::sleep(Duration::from_secs(8)).await;
        kept.on_read();
        assert_eq!(lasts(&kept).await, Some(2), "a further byte of the headers gives no further time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_begins_while_somebody_waits_is_noticed_in_time() {
        let kept = patience();
        drop(kept.begin());
        let begins = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            kept.on_read();
        };
        let (lasted, ()) = tokio::join!(lasts(&kept), begins);
        assert_eq!(lasted, Some(11), "it had been looking forward to 75 s");
    }
}
