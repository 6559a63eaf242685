//! The store's host: takes requests in the order in which they arrive, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::guards::Guards;
use super::state::StoreState;
use crate::history::History;

/// A request on its way: changes the state and answers, if anybody still listens.
pub type Request = Box<dyn FnOnce(&mut StoreState) + Send>;

/// The store. Its state is on its disk: it survives a crash of the host.
pub struct StoreHost {
    state: Mutex<StoreState>,
    /// By arrival, since the start of the world; the number keeps apart what arrives together.
    arriving: Mutex<BTreeMap<(Duration, u64), Request>>,
    sent: AtomicU64,
    bell: Notify,
}

impl StoreHost {
    /// An empty store. It forgets what has ended, and lines of the ledger, after `keep`.
    #[must_use]
    pub fn new(history: History, guards: Guards, keep: Duration) -> Self {
        Self {
            state: Mutex::new(StoreState::new(history, guards, keep)),
            arriving: Mutex::default(),
            sent: AtomicU64::new(0),
            bell: Notify::new(),
        }
    }

    /// The state, for properties after the run.
    pub fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock()
    }

    /// Sends a request that arrives after `way`.
    pub(super) fn send(&self, way: Duration, request: Request) {
        let now = turmoil::sim_elapsed().expect("requests are sent by hosts");
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.arriving.lock().insert((now + way, number), request);
        self.bell.notify_one();
    }

    /// Serves for ever: the software of the store's host.
    ///
    /// # Errors
    /// None; turmoil wants the type.
    pub async fn serve(self: Arc<Self>) -> turmoil::Result {
        // turmoil knows the host's time only inside its first step.
        tokio::time::sleep(Duration::from_millis(1)).await;
        loop {
            let now = turmoil::sim_elapsed().expect("this is a host's software");
            let next = self.arriving.lock().first_key_value().map(|((at, _), _)| *at);
            match next {
                None => self.bell.notified().await,
                Some(at) if at > now => {
                    let _ = tokio::time::timeout(at - now, self.bell.notified()).await;
                }
                Some(_) => {
                    let arrived = self.arriving.lock().pop_first();
                    let (_, request) = arrived.expect("only this task takes requests");
                    let mut state = self.state.lock();
                    state.look_at_clock();
                    request(&mut state);
                }
            }
        }
    }
}
