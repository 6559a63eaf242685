//! The catalogue as this node knows it: read from the store, kept when the store is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};

use super::entry::{Catalogue, FunctionEntry};
use super::name::FunctionName;
use crate::queue::StoreError;
use crate::store::CatalogueStore;

/// How often the store is asked for edits. Edits are also told through the mesh at once; this is the net
/// below, and one indexed read.
const POLL: Duration = Duration::from_secs(1);

/// The catalogue's latest known state.
pub struct CatalogueCache {
    store: Arc<dyn CatalogueStore>,
    current: watch::Sender<Arc<Catalogue>>,
    /// One reader at a time.
    reading: Mutex<Reading>,
    /// How many readings have begun.
    begun: AtomicU64,
    nudge: Notify,
}

/// The last reading: which one it was, and what came of it.
struct Reading {
    number: u64,
    /// Whether one has succeeded.
    has_read: bool,
    outcome: Result<(), StoreError>,
}

impl CatalogueCache {
    /// An empty cache; [`CatalogueCache::refresh`] fills it.
    #[must_use]
    pub fn new(store: Arc<dyn CatalogueStore>) -> Self {
        Self {
            store,
            current: watch::Sender::default(),
            reading: Mutex::new(Reading { number: 0, has_read: false, outcome: Ok(()) }),
            begun: AtomicU64::new(0),
            nudge: Notify::new(),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn current(&self) -> Arc<Catalogue> {
        self.current.borrow().clone()
    }

    /// Follows what is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.current.subscribe()
    }

    /// A function; the store is asked when this node does not know it, or knows less than `revision`.
    /// `None` is the store's word: there is none of this name. When the store is away, what is known
    /// counts.
    ///
    /// # Errors
    /// [`StoreError`] when the function is not known here and the store cannot be asked: a node that has
    /// just started beside a store in trouble knows nothing, and must not take that for an empty catalogue.
    pub async fn function(
        &self,
        name: &FunctionName,
        revision: u64,
    ) -> Result<Option<FunctionEntry>, StoreError> {
        let known = self.current();
        if let Some(entry) = known.functions.get(name)
            && known.revision >= revision
        {
            return Ok(Some(entry.clone()));
        }
        let refreshed = self.refresh().await;
        match (self.current().functions.get(name), refreshed) {
            (Some(entry), Ok(())) => Ok(Some(entry.clone())),
            (Some(entry), Err(error)) => {
                tracing::debug!(%error, "the catalogue could not be read; going on with what is known");
                Ok(Some(entry.clone()))
            }
            (None, refreshed) => refreshed.map(|()| None),
        }
    }

    /// Reads the catalogue if it has changed. Whoever waits here while others read shares what they get:
    /// a burst of unknown names costs the store one read, and a silent store costs each caller one wait.
    ///
    /// # Errors
    /// [`StoreError`]; what was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let came_after = self.begun.load(Ordering::Acquire);
        let mut reading = self.reading.lock().await;
        if reading.number > came_after {
            // It began after this call, so it saw every edit that this call has to see.
            return reading.outcome.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let outcome = self.read_if_changed(reading.has_read).await;
        let has_read = reading.has_read || outcome.is_ok();
        *reading = Reading { number, has_read, outcome: outcome.clone() };
        outcome
    }

    /// `has_read`: whether what is known was read at all; an empty catalogue has the revision 0 as well.
    async fn read_if_changed(&self, has_read: bool) -> Result<(), StoreError> {
        let known = self.current();
        if self.store.revision().await? == known.revision && has_read {
            return Ok(());
        }
        let catalogue =
            if has_read { self.store.read_after(&known).await? } else { self.store.read().await? };
        if catalogue != *known {
            self.current.send_replace(Arc::new(catalogue));
        }
        Ok(())
    }

    /// Makes [`CatalogueCache::follow`] look now.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Keeps the cache fresh, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut away = false;
        loop {
            let refreshed = self.refresh().await;
            match &refreshed {
                Err(error) if !away => {
                    tracing::warn!(%error, "the catalogue cannot be read; going on with what is known")
                }
                Ok(()) if away => tracing::info!("the catalogue can be read again"),
                _ => {}
            }
            away = refreshed.is_err();
            let _ = tokio::time::timeout(POLL, self.nudge.notified()).await;
        }
    }
}
