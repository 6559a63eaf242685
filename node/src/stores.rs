//! The stores of a node in production: a database, and a Redis if the queue is in one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beatmesh_mesh::env::Env;

use crate::assembly::StartError;
use crate::config::{Settings, StoreUrl};
use crate::queue::redis::{RedisQueue, RedisSettings};
use crate::queue::{StoreError, TaskQueue};
use crate::store::CatalogueStore;
use crate::store::fenced::FencedCatalogue;
use crate::store::sql::{OpenError, Retention, SqlStore};

/// Open stores.
pub(crate) struct Stores {
    /// Catalogue and node table; tasks as well, unless there is a Redis.
    pub(crate) database: Arc<SqlStore>,
    redis: Option<Arc<RedisQueue>>,
}

impl Stores {
    /// Opens what the settings name. A server that does not answer is waited for, because machines that start
    /// together do so in any order; what waiting does not change ends the start.
    pub(crate) async fn open(env: &Env, settings: &Settings) -> Result<Self, StartError> {
        let (keep_tasks, keep_ticks) = (settings.queue.keep_tasks.0, settings.queue.keep_ticks.0);
        let max_kept_tasks = settings.queue.max_kept_tasks;
        let retention = Retention { tasks: keep_tasks, most_tasks: max_kept_tasks, ticks: keep_ticks };
        let database = open_database(env, &settings.seeds.database, retention).await;
        let database = database.map_err(|error| StartError::Store(error.to_string()))?;
        let Some(url) = settings.queue.url.redis() else {
            if let Err(error) = agree_on_queue(&database, settings).await {
                database.close().await;
                return Err(error);
            }
            return Ok(Self { database: Arc::new(database), redis: None });
        };
        let database = Arc::new(database.without_queue());
        let wanted = RedisSettings {
            url: url.clone(),
            mesh: settings.mesh.name.to_string(),
            store_id: database.id().to_owned(),
            durability: settings.queue.durability,
            replicas: settings.queue.replicas,
            keep_tasks,
            max_kept_tasks,
            keep_ticks,
        };
        match RedisQueue::open(env, wanted).await {
            // Only now: it may have waited for its Redis, and the others may have agreed otherwise meanwhile.
            Ok(queue) => match agree_on_queue(&database, settings).await {
                Ok(()) => Ok(Self { database, redis: Some(Arc::new(queue)) }),
                Err(error) => {
                    queue.close().await;
                    database.close().await;
                    Err(error)
                }
            },
            Err(error) => {
                database.close().await;
                Err(StartError::Queue(error.to_string()))
            }
        }
    }

    /// Definitions; with a Redis, every edit of a schedule reaches it before it is acknowledged.
    pub(crate) fn catalogue(&self) -> Arc<dyn CatalogueStore> {
        match &self.redis {
            None => self.database.clone(),
            Some(queue) => Arc::new(FencedCatalogue::new(self.database.clone(), queue.clone())),
        }
    }

    /// Tasks and ticks.
    pub(crate) fn queue(&self) -> Arc<dyn TaskQueue> {
        match &self.redis {
            None => self.database.clone(),
            Some(queue) => queue.clone(),
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        if let Some(queue) = &self.redis {
            queue.close().await;
        }
        self.database.close().await;
    }
}

/// The kinds of stores that a queue may be in, as people read them; the database keeps these words.
const DATABASE: &str = "the database";
const REDIS: &str = "a Redis";

/// How soon a database server is tried again that did not answer, at first; each time twice as long.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// The longest of these pauses: a node is there soon after its database, and a server that comes up is not stormed
/// by those that wait for it.
const TRY_AGAIN_AT_MOST: Duration = Duration::from_secs(5);

async fn open_database(env: &Env, database: &StoreUrl, retention: Retention) -> Result<SqlStore, OpenError> {
    let url = match database {
        StoreUrl::Sqlite { path } => sqlite_url(path),
        StoreUrl::Server(server) => server.expose().to_owned(),
    };
    let mut pause = TRY_AGAIN;
    loop {
        match SqlStore::open(env, &url, retention).await {
            Err(error @ OpenError::Unreachable { .. }) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(TRY_AGAIN_AT_MOST);
            }
            outcome => return outcome,
        }
    }
}

/// Two nodes of one database whose queues are two would fire everything twice.
async fn agree_on_queue(database: &SqlStore, settings: &Settings) -> Result<(), StartError> {
    let kind = if settings.queue.url.redis().is_some() { REDIS } else { DATABASE };
    let mut pause = TRY_AGAIN;
    loop {
        match database.agree_on_queue(settings.node.name.as_str(), kind).await {
            Ok(None) => return Ok(()),
            Ok(Some(other)) => {
                return Err(StartError::Queue(format!(
                    "it names {kind}, but nodes that run on this database keep their tasks in {other}; make queue.url equal on all nodes, or stop all of them before it changes (a killed one is waited for 90 s)"
                )));
            }
            Err(StoreError::Refused(reason)) => return Err(StartError::Store(reason)),
            Err(error) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(TRY_AGAIN_AT_MOST);
            }
        }
    }
}

/// The URL of a file; what means something in a URL is escaped.
fn sqlite_url(path: &Path) -> String {
    let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{escaped}")
}
