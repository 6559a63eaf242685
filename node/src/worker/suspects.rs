//! The one place for a suspect: a task that has lost so many leases that it may be what takes down its
//! nodes. A guilty one takes down with it whatever runs beside it. So that this is not, time after time, the
//! same innocent task, which came back together with it and is claimed together with it again, a node has
//! one suspect in hand at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A node's place for a suspect.
pub(super) struct SuspectPlace {
    taken: AtomicBool,
    bell: Arc<Notify>,
}

/// It is taken until this is dropped.
pub(super) struct SuspectInHand(Arc<SuspectPlace>);

impl SuspectPlace {
    /// A free one. The bell is rung each time that it becomes free again: suspects may have been left out
    /// meanwhile.
    pub(super) fn new(bell: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { taken: AtomicBool::new(false), bell })
    }

    /// Whether a suspect may be claimed.
    pub(super) fn is_free(&self) -> bool {
        !self.taken.load(Ordering::SeqCst)
    }

    /// Takes it for a suspect; `None` when another one has it.
    pub(super) fn take(self: &Arc<Self>) -> Option<SuspectInHand> {
        (!self.taken.swap(true, Ordering::SeqCst)).then(|| SuspectInHand(self.clone()))
    }
}

impl Drop for SuspectInHand {
    fn drop(&mut self) {
        // First free, then rung for: who hears the bell must find it.
        self.0.taken.store(false, Ordering::SeqCst);
        self.0.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_place_is_taken_once_and_rung_for_when_it_is_free_again() {
        let bell = Arc::new(Notify::new());
        let place = SuspectPlace::new(bell.clone());
        assert!(place.is_free());
        let in_hand = place.take().expect("it is free");
        assert!(!place.is_free() && place.take().is_none(), "another one has it");
        assert!(!place.is_free(), "who did not get it does not free it");
        assert!(bell.notified().now_or_never().is_none());
        drop(in_hand);
        assert!(place.is_free() && bell.notified().now_or_never().is_some());
    }
}
