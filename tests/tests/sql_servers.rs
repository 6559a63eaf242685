//! The SQL store on real servers: the stories of every store, each in a database of its own, and what only servers
//! can do to a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use beatmesh_node::queue::conformance::{FOREVER, NODES, Node, Subject};
use beatmesh_node::queue::task::{Completion, NewTask, TaskId, TaskOutcome};
use beatmesh_node::queue::{Claimant, StoreError, TaskQueue};
use beatmesh_node::store::sql::scratch::here;
use beatmesh_node::store::sql::{OpenError, Retention, SqlStore};
use beatmesh_tests::servers::{MariaDb, PASSWORD, Postgres, SqlServer, USER};
use beatmesh_tests::stories::tell_all;
use beatmesh_tests::{Scratch, Signal, until};
use futures_util::future::join_all;

/// Enough connections for all stories that are told at once.
fn postgres() -> Postgres {
    Postgres::start_with(&[("max_connections", "200")])
}

fn mariadb() -> MariaDb {
    MariaDb::start_with(&[("max-connections", "200")])
}

async fn try_open(url: &str, keep: Duration, most: u32) -> Result<Arc<SqlStore>, OpenError> {
    let retention = Retention { tasks: keep, most_tasks: most, ticks: keep };
    SqlStore::open(&here(), url, retention).await.map(Arc::new)
}

async fn open(url: &str) -> Arc<SqlStore> {
    try_open(url, FOREVER, u32::MAX).await.expect("opened")
}

fn task() -> NewTask {
    static TASKS: AtomicU32 = AtomicU32::new(1);
    let number = TASKS.fetch_add(1, Ordering::Relaxed);
    let id: TaskId = format!("00000000-0000-8000-8000-{number:012x}").parse().expect("a task id");
    NewTask { input: vec![7; 300].into(), ..NewTask::new(id, "f".parse().expect("a name")) }
}

/// Each fresh store is a database of its own.
struct Databases<'s> {
    server: &'s dyn SqlServer,
    made: AtomicU32,
}

#[async_trait]
impl Subject for Databases<'_> {
    async fn fresh_with(&self, keep: Duration, most: u32) -> Vec<Node> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let url = self.server.create(&format!("story_{number}"));
        let mut nodes = Vec::new();
        for store in join_all((0..NODES).map(|_| try_open(&url, keep, most))).await {
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

async fn tell(server: &dyn SqlServer) {
    tell_all(&Databases { server, made: AtomicU32::new(0) }).await;
}

#[tokio::test]
async fn postgresql_keeps_every_promise_of_a_store() {
    tell(&postgres()).await;
}

#[tokio::test]
async fn mariadb_keeps_every_promise_of_a_store() {
    tell(&mariadb()).await;
}

/// What cannot be opened is refused in words that name it and what to do, and what may come up is told apart.
async fn what_cannot_be_opened_says_why(server: &mut dyn SqlServer) {
    let url = server.create("mesh");
    let refused = async |url: &str, words: &[&str]| {
        let error =
            try_open(url, FOREVER, u32::MAX).await.err().unwrap_or_else(|| panic!("{words:?} is opened"));
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
        println!("{text}");
        error
    };
    let wrong = url.replace(PASSWORD, "canary-of-nobody");
    let error = refused(&wrong, &["are the user and the password of the URL right"]).await;
    assert!(matches!(error, OpenError::Open { .. }) && !error.to_string().contains("canary"), "{error:?}");
    let missing = url.replace("/mesh", "/nowhere");
    let error = refused(&missing, &["nowhere", "CREATE DATABASE"]).await;
    assert!(matches!(error, OpenError::Open { .. }), "{error:?}");

    open(&url).await.close().await;
    let later = server.ask("mesh", "UPDATE beatmesh SET value = '99' WHERE name = 'schema'");
    later.expect("updated");
    let error = refused(&url, &["version 99", "start a newer beatmesh"]).await;
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");

    server.daemon().kill();
    let error = refused(&url, &["does not answer"]).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let (scheme, _) = url.split_once("://").expect("an URL");
    let nobody = format!("{scheme}://{USER}:{PASSWORD}@no-such-host.invalid/mesh");
    let error = refused(&nobody, &["does not answer", "no-such-host.invalid"]).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_postgresql_that_cannot_be_opened_says_why() {
    what_cannot_be_opened_says_why(&mut postgres()).await;
}

#[tokio::test]
async fn a_mariadb_that_cannot_be_opened_says_why() {
    what_cannot_be_opened_says_why(&mut mariadb()).await;
}

/// Whatever programs print, and inputs as long as anybody may send.
async fn texts_and_inputs_of_all_sorts_are_kept(server: &dyn SqlServer, longest: usize) {
    let store = open(&server.create("mesh")).await;
    let odd = NewTask {
        input: (0..=255).collect::<Vec<u8>>().into(),
        content_type: format!("text/plain; note={}", "x".repeat(3_000)),
        ..task()
    };
    store.enqueue(vec![odd.clone()]).await.expect("enqueued");
    let claimed = store.claim(&Claimant::new("w"), 1, Duration::from_secs(60)).await.expect("claimed");
    assert_eq!(
        (claimed[0].id, &claimed[0].input, &claimed[0].content_type),
        (odd.id, &odd.input, &odd.content_type)
    );
    let outcome = TaskOutcome::Done { output: vec![0; 70_000].into(), content_type: "a/b".to_owned() };
    let log = "a NUL \0, a smile \u{1f642}, 'quotes' \"and\" \\ a backslash?".to_owned();
    let ended = store.complete(odd.id, claimed[0].attempt, outcome, log.clone()).await.expect("completed");
    assert!(matches!(ended, Completion::Recorded(_)), "{ended:?}");
    let record = store.task(odd.id).await.expect("read").expect("there");
    assert_eq!(record.output.expect("an output").len(), 70_000);
    assert_eq!(record.log_tail.expect("a log").replace('\0', ""), log.replace('\0', ""));

    let long = NewTask { input: vec![1; longest].into(), ..task() };
    store.enqueue(vec![long.clone()]).await.expect("enqueued");
    let claimed = store.claim(&Claimant::new("w"), 1, Duration::from_secs(60)).await.expect("claimed");
    assert_eq!(claimed[0].input.len(), longest);
    store.close().await;
}

#[tokio::test]
async fn texts_and_inputs_of_all_sorts_are_kept_in_postgresql() {
    texts_and_inputs_of_all_sorts_are_kept(&postgres(), 16 << 20).await;
}

#[tokio::test]
async fn texts_and_inputs_of_all_sorts_are_kept_in_mariadb() {
    let server = mariadb();
    // As much as the server takes in one packet (`max_allowed_packet`, 16 MiB by default) with what stands around it.
    texts_and_inputs_of_all_sorts_are_kept(&server, (16 << 20) - (128 << 10)).await;
    let store = open(&server.url("mesh")).await;
    let too_long = store.enqueue(vec![NewTask { input: vec![1; 17 << 20].into(), ..task() }]).await;
    assert!(
        matches!(&too_long, Err(StoreError::Refused(why)) if why.contains("max_allowed_packet")),
        "{too_long:?}"
    );
    store.enqueue(vec![task()]).await.expect("the next one is not harmed");
}

/// Two nodes that wait for each other's rows: the server lets one of them pass, and the other one tries again.
async fn nodes_that_wait_for_each_other_all_get_through(server: &dyn SqlServer) {
    let url = server.create("mesh");
    let (one, other) = tokio::join!(open(&url), open(&url));
    for _ in 0..5 {
        let tasks: Vec<NewTask> = (0..200).map(|_| task()).collect();
        let reversed = tasks.iter().rev().cloned().collect();
        let outcomes = tokio::join!(one.enqueue(tasks.clone()), other.enqueue(reversed));
        assert_eq!(outcomes, (Ok(vec![]), Ok(vec![])));
    }
    assert_eq!(server.ask("mesh", "SELECT COUNT(*) FROM tasks").as_deref().map(str::trim), Ok("1000"));
}

#[tokio::test]
async fn nodes_that_wait_for_each_other_in_postgresql_all_get_through() {
    nodes_that_wait_for_each_other_all_get_through(&postgres()).await;
}

#[tokio::test]
async fn nodes_that_wait_for_each_other_in_mariadb_all_get_through() {
    nodes_that_wait_for_each_other_all_get_through(&mariadb()).await;
}

/// A server that is killed, that hangs, and that is back: a clear answer in time, and the same store works on.
async fn a_store_outlives_its_server(server: &mut dyn SqlServer) {
    let url = server.create("mesh");
    let store = open(&url).await;
    let before = task();
    store.enqueue(vec![before.clone()]).await.expect("enqueued");
    assert!(store.task(before.id).await.expect("read").is_some(), "a reader has a connection");

    server.daemon().kill();
    let refused = task();
    let outcome = store.enqueue(vec![refused.clone()]).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert!(matches!(store.now().await, Err(StoreError::Unavailable(_))));
    server.daemon().start_again();
    let after = task();
    store.enqueue(vec![after.clone()]).await.expect("the first one already, on a new connection");
    for (id, is_there) in [(before.id, true), (refused.id, false), (after.id, true)] {
        assert_eq!(store.task(id).await.expect("read").is_some(), is_there);
    }

    // Restarted while nobody asks anything: the connections that are left are replaced without a word.
    server.daemon().kill();
    server.daemon().start_again();
    store.enqueue(vec![task()]).await.expect("enqueued");

    // Whatever connection is left over from before says so once.
    for _ in 0..8 {
        let _ = store.task(before.id).await;
    }
    server.daemon().signal(Signal::Stop);
    let began = Instant::now();
    let (write, read) = tokio::join!(store.enqueue(vec![task()]), store.task(before.id));
    assert!(matches!(write, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{write:?}");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    println!("an answer of a server that hangs: {:?}: {write:?}, {read:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    server.daemon().signal(Signal::Continue);
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.enqueue(vec![task()]).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.task(before.id).await.expect("read").is_some());
    store.close().await;
}

#[tokio::test]
async fn a_store_outlives_its_postgresql() {
    a_store_outlives_its_server(&mut postgres()).await;
}

#[tokio::test]
async fn a_store_outlives_its_mariadb() {
    a_store_outlives_its_server(&mut mariadb()).await;
}

/// A certificate for the loopback, and its key.
fn papers() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned()];
    let certificate =
        rcgen::CertificateParams::new(names).expect("a name").self_signed(&key).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

/// Opened with TLS and the right certificate; refused without, and with another one.
async fn tls_is_demanded_and_checked(url: &str, modes: [&str; 3], certificate: &std::path::Path) {
    let [none, some, checked] = modes;
    let ca = certificate.display();
    for way in [some.to_owned(), format!("{checked}&ssl-ca={ca}")] {
        let store = open(&format!("{url}?ssl-mode={way}")).await;
        store.enqueue(vec![task()]).await.expect("enqueued");
        store.close().await;
    }
    let dir = Scratch::new();
    let other = dir.file("other.pem", papers().0);
    for way in [none.to_owned(), format!("{checked}&ssl-ca={}", other.display()), checked.to_owned()] {
        let error =
            try_open(&format!("{url}?ssl-mode={way}"), FOREVER, u32::MAX).await.err().expect("refused");
        println!("{way}: {error}");
        assert!(matches!(error, OpenError::Open { .. }), "{way}: {error:?}");
    }
}

#[tokio::test]
async fn a_mariadb_is_reached_over_tls() {
    let dir = Scratch::new();
    let (certificate, key) = papers();
    let (certificate, key) = (dir.file("cert.pem", certificate), dir.file("key.pem", key));
    let shown = |path: &std::path::Path| path.display().to_string();
    let server = MariaDb::start_with(&[("ssl-cert", &shown(&certificate)), ("ssl-key", &shown(&key))]);
    let url = server.create("mesh");
    server.sql("mysql", "SET GLOBAL require_secure_transport = ON");
    tls_is_demanded_and_checked(&url, ["DISABLED", "REQUIRED", "VERIFY_CA"], &certificate).await;
}

#[tokio::test]
async fn a_postgresql_is_reached_over_tls() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let server = Postgres::start();
    let url = server.create("mesh");
    let (certificate, key) = papers();
    let data = server.data_dir();
    let owner = std::fs::metadata(&data).expect("it is there");
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let path = data.join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changed");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("given to the server");
    }
    let only_tls = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
    let rules = data.join("pg_hba.conf");
    server.sql("mesh", "ALTER SYSTEM SET ssl = on");
    std::fs::write(&rules, only_tls).expect("written");
    server.sql("mesh", "SELECT pg_reload_conf()");
    let look = async || server.try_sql("mesh", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    let said = until("it speaks TLS", Duration::from_secs(10), look, |said| said.as_deref() == Ok("t")).await;
    said.expect("it answers");
    tls_is_demanded_and_checked(&url, ["disable", "require", "verify-ca"], &data.join("server.crt")).await;
}
