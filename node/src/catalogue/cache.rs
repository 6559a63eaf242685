//! The catalogue as this node knows it: read from the store, kept when the store is away.

use std::sync::Arc;
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
    /// One reader at a time: a burst of unknown names costs the store one read.
    reading: Mutex<()>,
    nudge: Notify,
}

impl CatalogueCache {
    /// An empty cache; [`CatalogueCache::refresh`] fills it.
    #[must_use]
    pub fn new(store: Arc<dyn CatalogueStore>) -> Self {
        Self { store, current: watch::Sender::default(), reading: Mutex::default(), nudge: Notify::new() }
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

    /// Reads the catalogue if it has changed.
    ///
    /// # Errors
    /// [`StoreError`]; what was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _one = self.reading.lock().await;
        let known = self.current();
        if self.store.revision().await? == known.revision && known.revision != 0 {
            return Ok(());
        }
        let catalogue = self.store.read().await?;
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
