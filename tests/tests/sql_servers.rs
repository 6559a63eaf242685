//! The SQL store on real servers: the stories of every store, each in a database of its own, and what only servers
//! can do to a store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use beatmesh_mesh::env::UnixMs;
use beatmesh_node::for_each_story;
use beatmesh_node::queue::conformance::{self, FOREVER, NODES, Node, Subject};
use beatmesh_node::queue::task::{NewTask, TaskId, TaskOutcome};
use beatmesh_node::queue::{Claimant, StoreError, TaskFilter, TaskQueue};
use beatmesh_node::store::CatalogueStore;
use beatmesh_node::store::sql::scratch::here;
use beatmesh_node::store::sql::{OpenError, Retention, SqlStore};
use beatmesh_tests::Signal;
use beatmesh_tests::servers::{Daemon, MariaDb, PASSWORD, Postgres};
use futures_util::future::join_all;
use futures_util::stream::iter;
use futures_util::{FutureExt, StreamExt};

/// Longer than any story takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Stories that are told at once: they wait more than they work, but each is three nodes.
const AT_ONCE: usize = 4;

/// A kind of server.
trait Kind: Sync {
    /// Makes an empty database; answers its address.
    fn database(&self, name: &str) -> String;
    fn sql(&self, database: &str, sql: &str) -> String;
    fn daemon(&mut self) -> &mut Daemon;
}

impl Kind for Postgres {
    fn database(&self, name: &str) -> String {
        self.create_database(name)
    }
    fn sql(&self, database: &str, sql: &str) -> String {
        Postgres::sql(self, database, sql)
    }
    fn daemon(&mut self) -> &mut Daemon {
        self
    }
}

impl Kind for MariaDb {
    fn database(&self, name: &str) -> String {
        self.create_database(name)
    }
    fn sql(&self, database: &str, sql: &str) -> String {
        MariaDb::sql(self, database, sql)
    }
    fn daemon(&mut self) -> &mut Daemon {
        self
    }
}

/// Enough connections for all stories that are told at once.
fn postgres() -> Postgres {
    Postgres::start_with(&[("max_connections", "200")])
}

fn mariadb() -> MariaDb {
    MariaDb::start_with(&[("max-connections", "200")])
}

async fn try_open(url: &str, keep: Duration) -> Result<Arc<SqlStore>, OpenError> {
    SqlStore::open(&here(), url, Retention { tasks: keep, ticks: keep }).await.map(Arc::new)
}

async fn open(url: &str) -> Arc<SqlStore> {
    try_open(url, FOREVER).await.expect("opened")
}

fn task() -> NewTask {
    static TASKS: AtomicU32 = AtomicU32::new(1);
    let id = TaskId::new(UnixMs(1), u128::from(TASKS.fetch_add(1, Ordering::Relaxed)));
    NewTask { input: vec![7; 300].into(), ..NewTask::new(id, "f".parse().expect("a name")) }
}

/// Each fresh store is a database of its own.
struct Databases<'s> {
    server: &'s dyn Kind,
    made: AtomicU32,
}

#[async_trait]
impl Subject for Databases<'_> {
    async fn fresh(&self, keep: Duration) -> Vec<Node> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let url = self.server.database(&format!("story_{number}"));
        let mut nodes = Vec::new();
        for store in join_all((0..NODES).map(|_| try_open(&url, keep))).await {
            let store = store.expect("several nodes open a new database at once");
            nodes.push(Node { queue: store.clone(), catalogue: store.clone(), seeds: store });
        }
        nodes
    }

    async fn pass(&self, span: Duration) {
        // The store's clock counts in milliseconds and is the machine's.
        tokio::time::sleep(span + Duration::from_millis(1)).await;
    }
}

/// Tells all stories; `BEATMESH_STORY` picks those whose names hold it.
async fn tell_all(server: &dyn Kind) {
    let wanted = std::env::var("BEATMESH_STORY").unwrap_or_default();
    let databases = Databases { server, made: AtomicU32::new(0) };
    let mut stories = Vec::new();
    macro_rules! collect {
        ($($file:ident::$story:ident,)*) => {
            $(if stringify!($story).contains(&wanted) {
                let databases = &databases;
                let story = async move {
                    let began = Instant::now();
                    let story = tokio::time::timeout(DEADLINE, conformance::$file::$story(databases));
                    let is_green = matches!(AssertUnwindSafe(story).catch_unwind().await, Ok(Ok(())));
                    println!("{} {} {:?}", if is_green { "ok " } else { "RED" }, stringify!($story), began.elapsed());
                    (stringify!($story), is_green)
                };
                stories.push(story.boxed_local());
            })*
        };
    }
    for_each_story!(collect);
    let told: Vec<(&str, bool)> = iter(stories).buffer_unordered(AT_ONCE).collect().await;
    let red: Vec<&str> = told.iter().filter(|(_, is_green)| !is_green).map(|(story, _)| *story).collect();
    assert!(red.is_empty(), "of {} stories these are red: {red:#?}", told.len());
    assert!(!told.is_empty());
}

#[tokio::test]
async fn postgresql_keeps_every_promise_of_a_store() {
    tell_all(&postgres()).await;
}

#[tokio::test]
async fn mariadb_keeps_every_promise_of_a_store() {
    tell_all(&mariadb()).await;
}
